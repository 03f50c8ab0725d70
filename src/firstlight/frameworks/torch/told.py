"""One call as its options are read from it: arguments by place or name, numbers, axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Told:
    """One call, as the options are read from it.

    Args:
        name: plain name of the function.
        args: positional arguments.
        keywords: keyword arguments.
        operands: the tensors among them.
        sources: for each operand its place in the operation's inputs, −1 for what no operation
            made.
        computed: for each operand whether it is computed from parameters.
        result: what came out.
    """

    name: str
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    operands: Sequence[Tensor]
    sources: Sequence[int]
    computed: Sequence[bool]
    result: Tensor

    def get(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place or by name."""
        if name in self.keywords:
            return self.keywords[name]
        return self.args[place] if len(self.args) > place else default

    @property
    def rank(self) -> int:
        """Axes of the first tensor."""
        return self.operands[0].dim() if self.operands else 0


def numbers(value: Any, count: int = 1) -> tuple[float, ...]:
    """An argument as numbers; one number as often as there are axes."""
    if isinstance(value, bool | int | float):
        return (float(value),) * count
    if isinstance(value, tuple | list | torch.Size):
        found = tuple(float(v) for v in value if isinstance(v, int | float))
        return found * count if len(found) == 1 else found
    return ()


def axes(value: Any, rank: int) -> tuple[float, ...]:
    """Axes counted from the front; all of them for None."""
    if value is None:
        return tuple(float(i) for i in range(rank))
    return tuple(v % rank for v in numbers(value)) if rank else ()
