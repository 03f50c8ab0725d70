"""A law drawn into what one process holds of a tensor, without a word to the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from firstlight.laws.draw import draw
from firstlight.laws.parts import draw_part
from firstlight.records.held import Held
from firstlight.records.law import ELEMENTWISE, Law, Stacked
from firstlight.records.network import Layout


def is_elementwise(law: Law) -> bool:
    """Whether any element can be drawn alone.

    >>> from firstlight.records.law import Normal, Orthogonal
    >>> is_elementwise(Normal(std=1.0)), is_elementwise(Stacked(laws=(Orthogonal(),) * 2))
    (True, False)
    """
    if isinstance(law, Stacked):
        return all(map(is_elementwise, law.laws))
    return isinstance(law, ELEMENTWISE)


def places(runs: tuple[range, ...], within: range | None = None) -> Iterator[tuple[range, slice]]:
    """Each run of one axis and where it lies in the memory, as far as it is ``within``.

    >>> list(places((range(0, 2), range(6, 9)), range(7, 20)))
    [(range(7, 9), slice(3, 5, None))]
    """
    at = 0
    for run in runs:
        low, high = run.start, run.stop
        if within is not None:
            low, high = max(low, within.start), min(high, within.stop)
        if low < high:
            yield range(low, high), slice(at + low - run.start, at + high - run.start)
        at += len(run)


def draw_held(
    law: Law,
    layout: Layout,
    held: Held,
    *,
    name: str,
    seed: int,
    namespace: str = "",
    rows: tuple[int, int] | None = None,
    zero_row: int | None = None,
) -> None:
    """What `draw` of the whole tensor has in the places that are here, bit for bit.

    Elementwise laws draw these places alone; of the others every process draws the whole matrix and
    keeps its part.

    Args:
        law: what to draw from.
        layout: the axes of the whole tensor.
        held: what is here; its memory is written to.
        name: the parameter's name.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.
        rows: along the first stored axis the first place and the one after the last that are
            drawn; None for all.
        zero_row: a place along the first axis that becomes zero.
    """
    within = None if rows is None else range(*rows)
    per_axis = [
        list(places(runs, within if axis == 0 else None)) for axis, runs in enumerate(held.runs)
    ]
    boxes = list(product(*per_axis))
    address: dict[str, Any] = {"name": name, "seed": seed, "namespace": namespace}
    whole = None
    if len(boxes) > 1 and not is_elementwise(law):  # drawn once, not for each box
        whole = draw(law, layout, **address, out=np.empty(layout.shape, held.memory.dtype))
    for box in boxes:
        part = tuple(run for run, _ in box)
        where: list[Any] = [place for _, place in box]
        target = held.memory[(*where, ...)]  # with the dots a view, were it of one number
        if whole is None:
            draw_part(law, layout, part, **address, out=target)
        else:
            target[...] = whole[tuple(slice(run.start, run.stop) for run in part)]
    if zero_row is not None:
        for _, row in places(held.runs[0], range(zero_row, zero_row + 1)):
            held.memory[row] = 0
