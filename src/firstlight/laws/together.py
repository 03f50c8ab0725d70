"""Many small tensors at once: drawn one by one, their time goes into calls, not into numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray

from firstlight.laws.draw import checked_memory, draw, matrices
from firstlight.laws.elementwise import fill_several
from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Layout

_SMALL = 1 << 12
"""Elements up to which NumPy's calls take longer than its arithmetic."""

_ENOUGH = 1 << 14
"""Elements that are drawn at once: what they take fits the cache."""

_Random = Normal | Uniform | TruncatedNormal


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One tensor to draw: what `draw` takes.

    Args:
        law: what to draw from.
        layout: the tensor's axes.
        name: the parameter's name.
        out: memory of the tensor's shape, written to.
    """

    law: Law
    layout: Layout
    name: str
    out: NDArray[Any]


def is_small(law: Law | None, layout: Layout) -> bool:
    """Whether a tensor is drawn faster among others."""
    return (
        isinstance(law, _Random)
        and 0 < prod(layout.shape) <= _SMALL
        and layout.view == layout.shape
    )


class _Waiting:
    """Matrices of one law that are not drawn yet."""

    def __init__(self, law: _Random) -> None:
        self.law = law
        self.keys: list[tuple[int, int]] = []
        self.outs: list[NDArray[Any]] = []
        self.elements = 0

    def add(self, key: tuple[int, int], out: NDArray[Any]) -> None:
        self.keys.append(key)
        self.outs.append(out)
        self.elements += out.size
        if self.elements >= _ENOUGH:
            self.draw()

    def draw(self) -> None:
        if self.keys:
            fill_several(self.law, self.keys, self.outs)
            self.keys, self.outs, self.elements = [], [], 0


def draw_together(tensors: Iterable[Asked], *, seed: int, namespace: str = "") -> None:
    """Draw tensors, bit for bit what `draw` gives for each; small ones of one law as one.

    Args:
        tensors: what to draw, and where to; all is written when the call returns.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.
    """
    waiting: dict[_Random, _Waiting] = {}
    for one in tensors:
        law, out = one.law, one.out
        if not is_small(law, one.layout):
            draw(law, one.layout, name=one.name, seed=seed, namespace=namespace, out=out)
            continue
        memory = checked_memory(out, one.layout.shape)
        of_tensor = matrices(law, one.layout, memory, name=one.name, seed=seed, namespace=namespace)
        for of_matrix, address, target in of_tensor:
            assert isinstance(of_matrix, _Random)
            if of_matrix not in waiting:
                waiting[of_matrix] = _Waiting(of_matrix)
            waiting[of_matrix].add(address.key(), target)
    for rest in waiting.values():
        rest.draw()
