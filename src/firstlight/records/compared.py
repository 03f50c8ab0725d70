"""A checkpoint beside the start that a plan and a seed give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from firstlight.records.late import Shown

Standing = Literal["initial", "partly initial", "changed", "not drawn", "missing", "extra"]


@dataclass(frozen=True, kw_only=True)
class ComparedTensor:
    """One tensor of a checkpoint.

    Args:
        name: as in the plan; of extra ones as stored.
        standing: ``initial`` if every sample has its initial bits; ``partly initial`` if whole
            rows have; ``not drawn`` where the plan keeps what was there.
        samples: numbers that were looked at.
        equal: share of them with their initial bits.
        constant: whether the start is one number, so that an equal value says little.
    """

    name: str
    standing: Standing
    samples: int = 0
    equal: float = 0.0
    constant: bool = False


@dataclass(frozen=True, kw_only=True)
class Compared(Shown):
    """Which tensors of a checkpoint still are at their initial value.

    Args:
        path: of the checkpoint.
        seed: that the start was drawn with.
        namespace: likewise.
        entries: one per tensor.
    """

    path: str
    seed: int
    namespace: str
    entries: tuple[ComparedTensor, ...]

    def __iter__(self) -> Iterator[ComparedTensor]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> ComparedTensor:
        return next(entry for entry in self.entries if entry.name == name)

    def named(self, standing: Standing) -> tuple[str, ...]:
        """Names of the tensors of this standing."""
        return tuple(entry.name for entry in self.entries if entry.standing == standing)

    @property
    def untrained(self) -> tuple[str, ...]:
        """Drawn tensors that are at their start to the bit: nothing has trained or loaded them."""
        return tuple(e.name for e in self.entries if e.standing == "initial" and not e.constant)
