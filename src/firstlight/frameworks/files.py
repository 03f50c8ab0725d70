"""Weights as files: names and arrays, read one at a time, without any model.

Headers are read first, then the values of one tensor after the other; what the axes mean is guessed
in `file_layouts`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.file_layouts import RULE, described
from firstlight.records.network import Network

_SAFE = ".safetensors"
_PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_INDEX = "model.safetensors.index.json"

_FLOATING = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What safetensors calls the types that can be looked at."""

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "inv_freq")


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """One tensor of a file, not yet read.

    Args:
        name: as stored.
        shape: as stored.
        dtype: ``float32``.
        read: its values; 16-bit types widened to float32.
        ties: further names of the same memory.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[np.floating]]
    ties: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file's floating tensors.

    Args:
        network: names and guessed axes; its framework is the kind of file.
        tensors: in the same order.
        remarks: how axes were guessed, and what was passed over.
    """

    network: Network
    tensors: tuple[StoredTensor, ...]
    remarks: tuple[str, ...]

    def values(self) -> Iterator[tuple[str, NDArray[np.floating]]]:
        """Names and values, one tensor in memory at a time."""
        for parameter, tensor in zip(self.network.parameters, self.tensors, strict=True):
            yield parameter.name, tensor.read()


def open_weights(path: str) -> WeightFile:
    """Open a file of weights, or a folder of shards with an index, without reading the values.

    Args:
        path: ``.safetensors``; a folder with ``model.safetensors.index.json`` or with one
            ``.safetensors`` file; that index itself; ``.pt``, ``.pth``, ``.bin`` or ``.ckpt`` as
            torch.save wrote it.

    Raises:
        BadInputError: no such file, not such a file, or none with tensors; one line each.
    """
    place = Path(path)
    if not place.exists():
        raise BadInputError(
            f"weights '{path}': no such file or folder; expected {_SAFE}, a folder of them with"
            f" {_INDEX}, or {', '.join(_PICKLED)}"
        )
    shards = _shards(place)
    if shards:
        found, left_out = _safetensors(shards)
        kind = "safetensors"
    elif place.suffix in _PICKLED:
        found, left_out = _pickled(place)
        kind = "torch.save"
    else:
        raise BadInputError(
            f"weights '{path}': expected {_SAFE}, a folder of them with {_INDEX}, or"
            f" {', '.join(_PICKLED)}"
        )
    kept = [t for t in found if t.name.rpartition(".")[2] not in _BUFFERS]
    left_out += [t.name for t in found if t not in kept]
    if not kept:
        raise BadInputError(
            f"weights '{path}': holds no floating tensors that could be weights; expected a state"
            " dict with at least one"
        )
    remarks = [RULE]
    if left_out:
        remarks.append(
            f"Passed over: {len(left_out)} buffers and tensors that are not floating"
            f" ({', '.join(sorted(left_out)[:3])}{' …' if len(left_out) > 3 else ''})."
        )
    network = Network(name=place.resolve().name, framework=kind, parameters=described(kept))
    return WeightFile(network=network, tensors=tuple(kept), remarks=tuple(remarks))


def _shards(place: Path) -> list[Path]:
    """The safetensors files behind a path; empty if it is of another kind."""
    if place.is_dir():
        index = place / _INDEX
        others = sorted(place.glob(f"*{_SAFE}.index.json"))
        if index.is_file() or len(others) == 1:
            return _indexed(index if index.is_file() else others[0])
        single = sorted(place.glob(f"*{_SAFE}"))
        if len(single) == 1:
            return single
        raise BadInputError(
            f"weights '{place}': a folder with {len(single)} {_SAFE} files and"
            f" {len(others)} indices; name one file, or add {_INDEX}"
        )
    if place.name.endswith(f"{_SAFE}.index.json"):
        return _indexed(place)
    return [place] if place.suffix == _SAFE else []


def _indexed(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        shards = sorted(index.parent / Path(name).name for name in names)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise BadInputError(
            f"weights '{index}': not an index of shards; expected JSON with a weight_map from"
            " names to files"
        ) from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing or not shards:
        what = f"names {missing[0]}, which is not there" if missing else "names no files"
        raise BadInputError(f"weights '{index}': {what}; put all shards beside their index")
    return shards


def _safetensors(shards: Iterable[Path]) -> tuple[list[StoredTensor], list[str]]:
    """Headers only. The values of bfloat16, which NumPy has not, are read as their upper bits."""
    from safetensors import SafetensorError, safe_open

    found: list[StoredTensor] = []
    left_out: list[str] = []
    for shard in shards:
        try:
            with safe_open(str(shard), framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - not a dictionary
                    part = file.get_slice(name)
                    shape, dtype = tuple(part.get_shape()), _FLOATING.get(part.get_dtype())
                    if dtype is None:
                        left_out.append(name)
                        continue
                    read = _Reader(shard, name, shape, dtype)
                    found.append(StoredTensor(name=name, shape=shape, dtype=dtype, read=read))
        except (SafetensorError, OSError) as error:
            what = "cannot be read" if isinstance(error, OSError) else "not a safetensors file"
            what = f"{what} ({_line(error)})" if shard.stat().st_size else "an empty file"
            raise BadInputError(
                f"weights '{shard}': {what}; write one with safetensors, or firstlight init"
            ) from error
    # The format keeps no order: layer 10 would stand before layer 2.
    return sorted(found, key=lambda tensor: _by_number(tensor.name)), left_out


def _by_number(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``2.weight`` before ``10.weight``."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in name.split(".")]


@dataclass(frozen=True)
class _Reader:
    """Reads one tensor of a safetensors file."""

    shard: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    def __call__(self) -> NDArray[np.floating]:
        from safetensors import safe_open

        if self.dtype != "bfloat16":
            with safe_open(str(self.shard), framework="numpy") as file:
                values: NDArray[np.floating] = file.get_tensor(self.name)
                return values
        with self.shard.open("rb") as raw:
            # Eight bytes of length, the header as JSON, then the values, little-endian.
            length = int.from_bytes(raw.read(8), "little")
            first, last = json.loads(raw.read(length))[self.name]["data_offsets"]
            raw.seek(8 + length + first)
            upper = np.frombuffer(raw.read(last - first), "<u2")
        wide: NDArray[np.floating] = np.left_shift(upper, 16, dtype=np.uint32).view(np.float32)
        return wide.reshape(self.shape)


def _pickled(place: Path) -> tuple[list[StoredTensor], list[str]]:
    if find_spec("torch") is None:
        raise BadInputError(f"weights '{place}': reading it needs torch; pip install torch")
    from firstlight.frameworks.torch.files import state_dict

    entries, left_out = state_dict(place)
    return [StoredTensor(**entry) for entry in entries], left_out


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
