"""Samples out of safetensors files: a few rows of each tensor, nothing else is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.streaming.layout import INDEX, SIZES

_LONGEST_HEADER = 1 << 27


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One tensor in a file.

    Args:
        file: where.
        name: as stored.
        kind: safetensors' word for its type.
        shape: of it.
        start: its first byte in the file.
    """

    file: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    start: int

    def rows(self) -> NDArray[Any]:
        """All its bytes as a matrix of its rows, mapped and not read."""
        height = self.shape[0] if self.shape else 1
        width = int(np.prod(self.shape[1:], dtype=np.int64)) * SIZES[self.kind]
        if not height * width:
            return np.empty((height, width), np.uint8)
        return np.memmap(self.file, np.uint8, "r", offset=self.start, shape=(height, width))


def tensors_in(path: Path) -> Iterator[Kept]:
    """The tensors of a safetensors file, an index, or a folder with either.

    Raises:
        BadInputError: no such file, or no safetensors.
    """
    for file in _files(path):
        try:
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                if not 0 < length <= _LONGEST_HEADER:
                    raise ValueError("no header")
                header = json.loads(opened.read(length))
            found = [
                Kept(
                    file=file,
                    name=name,
                    kind=about["dtype"],
                    shape=tuple(about["shape"]),
                    start=8 + length + about["data_offsets"][0],
                )
                for name, about in header.items()
                if name != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInputError(f"{file}: not a safetensors file") from error
        yield from found


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        index = path / INDEX
        if index.is_file():
            return _files(index)
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise BadInputError(f"{path}: no .safetensors file in this folder")
        return files
    if not path.is_file():
        raise BadInputError(f"{path}: no such file or folder")
    if path.name.endswith(".index.json"):
        try:
            names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise BadInputError(f"{path}: not an index of safetensors files") from error
        return [path.parent / name for name in sorted(names)]
    return [path]
