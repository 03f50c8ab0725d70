"""Files that torch.save wrote, read without running any code that they hold."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.errors import BadInputError

NESTED = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "network",
    "net",
    "params",
    "weights",
)
"""Where trainers keep the state dict beside optimizer and counters, in the order of looking."""


_NAMES_CODE = re.compile("global|reduce|class", re.IGNORECASE)


def state_dict(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The floating tensors of a saved state dict, as fields of a stored tensor.

    The file's own mapping counts if it holds tensors by name; otherwise the first of `NESTED` that
    does. Tensors that share their memory are one, under its first name.

    Args:
        path: of the file; read with ``weights_only=True``, and mapped into memory where its form
            allows.

    Returns:
        Fields of tensors in the file's order, and the names that were passed over.

    Raises:
        BadInputError: not such a file, one with other things than tensors, or one without any.
    """
    found = _mapping(_loaded(path), path)
    entries: dict[tuple[Any, ...], dict[str, Any]] = {}
    left_out: list[str] = []
    for name, tensor in found.items():
        if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
            left_out.append(name)
            continue
        shape = tuple(tensor.shape)
        place: tuple[Any, ...] = (tensor.data_ptr(), shape, tensor.stride())
        if tensor.numel() == 0:
            place = (name,)  # no memory to share
        if place in entries:
            entries[place]["ties"] += (name,)
            continue
        entries[place] = {
            "name": name,
            "shape": shape,
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "read": partial(_values, tensor),
            "ties": (),
        }
    return list(entries.values()), left_out


def _values(tensor: Tensor) -> NDArray[np.floating]:
    value = tensor.detach()
    plain = value if value.dtype in (torch.float32, torch.float64) else value.float()
    array: NDArray[np.floating] = plain.numpy()
    return array


def _loaded(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise BadInputError(f"weights '{path}': an empty file; expected what torch.save wrote")
    load: Callable[..., Any] = partial(torch.load, path, map_location="cpu", weights_only=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Only the zipped form, torch's own since 1.6, can be mapped.
            return load(mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # Of text, too, torch says that it refuses something: an opcode, though, and no function.
        if zipfile.is_zipfile(path) or _NAMES_CODE.search(_reason(error)):
            raise BadInputError(
                f"weights '{path}': holds more than tensors, and weights_only=True refuses to run"
                f" its code ({_reason(error)}); save the state_dict alone"
            ) from error
        raise _not_saved(path, error) from error
    except (RuntimeError, ValueError, EOFError, OSError, KeyError, AttributeError) as error:
        raise _not_saved(path, error) from error


def _not_saved(path: Path, error: BaseException) -> BadInputError:
    return BadInputError(
        f"weights '{path}': not a file that torch.save wrote ({_reason(error)}); expected a saved"
        " state_dict"
    )


def _reason(error: BaseException) -> str:
    """The part of torch's long message that names the culprit."""
    text = " ".join(str(error).split())
    _, marker, rest = text.partition("WeightsUnpickler error: ")
    reason = rest.partition(" Please use")[0] if marker else text
    short = reason.partition(". ")[0][:150].rstrip(" .,")
    return short if " " in short else f"{type(error).__name__} {short}".strip()


def _tensors(value: Any) -> dict[str, Tensor]:
    """The tensors of a mapping by name."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name): item.detach() for name, item in value.items() if isinstance(item, Tensor)}


def _mapping(value: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {"tensor": value.detach()}
    tensors = _tensors(value)
    if tensors:
        return tensors
    if isinstance(value, Mapping):
        for key in NESTED:
            tensors = _tensors(value.get(key))
            if tensors:
                return tensors
        held = ", ".join(sorted(str(key) for key in value)[:8]) or "nothing"
    else:
        held = f"a {type(value).__name__}"
    raise BadInputError(
        f"weights '{path}': no tensors by name at its top, nor under {', '.join(NESTED)}; it holds"
        f" {held}"
    )
