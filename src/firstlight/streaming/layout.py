"""Which tensor stands where in which file: all of it is known before a number is drawn.

The format is that of safetensors: the length of a JSON header in eight bytes, the header, the
tensors one after the other; several files come with an index, as transformers reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from numpy.typing import NDArray

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1}
SIZES |= {"U8": 1, "BOOL": 1}
"""Bytes of an element, by safetensors' word for its type."""

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """One tensor that is to be written.

    Args:
        name: as in ``state_dict``.
        shape: of it.
        kind: safetensors' word for its type.
        blocks: its elements in order, block by block, in the type's own bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    blocks: Callable[[], Iterator[NDArray[Any]]]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * SIZES[self.kind]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file.

    Args:
        name: of the file.
        pieces: in the order in which they are stored.
        mark: what tells this start from every other; it stands in the header.
    """

    name: str
    pieces: tuple[Piece, ...]
    mark: str

    @cached_property
    def header(self) -> bytes:
        """The first bytes of the file, padded so that the tensors begin at a multiple of eight."""
        about: dict[str, Any] = {"__metadata__": {"format": "pt", "firstlight": self.mark}}
        at = 0
        for piece in self.pieces:
            places = [at, at + piece.size]
            about[piece.name] = {
                "dtype": piece.kind,
                "shape": list(piece.shape),
                "data_offsets": places,
            }
            at += piece.size
        text = json.dumps(about, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + sum(piece.size for piece in self.pieces)


def shards_of(pieces: Sequence[Piece], most: int, mark: str) -> tuple[Shard, ...]:
    """Tensors to files of at most ``most`` bytes each; a larger tensor has a file of its own."""
    groups: list[list[Piece]] = [[]]
    room = most
    for piece in pieces:
        if groups[-1] and piece.size > room:
            groups.append([])
            room = most
        groups[-1].append(piece)
        room -= piece.size
    number = len(groups)
    if number == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{i + 1:05d}-of-{number:05d}.safetensors" for i in range(number)]
    return tuple(
        Shard(name=name, pieces=tuple(group), mark=mark)
        for name, group in zip(names, groups, strict=True)
    )


def index_of(shards: Sequence[Shard]) -> str:
    """The index of several files."""
    total = sum(piece.size for shard in shards for piece in shard.pieces)
    where = {piece.name: shard.name for shard in shards for piece in shard.pieces}
    about = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    return json.dumps(about, indent=2) + "\n"
