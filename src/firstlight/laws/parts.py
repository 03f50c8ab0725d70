"""Any box of a tensor alone, as if the whole had been drawn: what a shard holds.

A part is ranges along the axes as stored. Storage may split what is one logical axis (heads × units
of an attention) or fuse what are several (q, k and v in one): both are refined until each stored
and each logical axis is a run of the same finer axes, on which a part is a few boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.laws.addresses import canonical_name, checked_seed, stack_labels
from firstlight.laws.draw import checked_memory, draw, fill_structured
from firstlight.laws.elementwise import fill
from firstlight.laws.structured import Address, check_drawable
from firstlight.records.law import ELEMENTWISE, Law, Stacked
from firstlight.records.network import Layout

Part = tuple[range, ...]
"""Consecutive places along each stored axis."""


@lru_cache(maxsize=1 << 10)
def _refined(shape: tuple[int, ...], view: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
    """For each stored axis the finer axes that it is made of; None where there are none such.

    >>> _refined((12, 5), (3, 4, 5)), _refined((2, 4, 5), (8, 5)), _refined((4, 9), (6, 6))
    (((3, 4), (5,)), ((2,), (4,), (5,)), None)
    """
    finer: list[tuple[int, ...]] = []
    left, rest = 1, list(view)  # of the view's axis that is being taken apart
    for size in shape:
        mine = []
        while size > 1:
            if left == 1:
                if not rest:
                    return None
                left = rest.pop(0)
            step = min(left, size)
            if left % step or size % step:
                return None
            if step > 1:
                mine.append(step)
            left, size = left // step, size // step
        finer.append(tuple(mine))
    return tuple(finer)


def _boxes(start: int, stop: int, sizes: tuple[int, ...]) -> Iterator[tuple[range, ...]]:
    """A run of one axis as boxes of its finer axes, each again one run.

    >>> [tuple((r.start, r.stop) for r in box) for box in _boxes(2, 11, (3, 4))]
    [((0, 1), (2, 4)), ((2, 3), (0, 3)), ((1, 2), (0, 4))]
    """
    if len(sizes) <= 1:
        if start < stop:
            yield (range(start, stop),) if sizes else ()
        return
    inner = prod(sizes[1:])
    first, last = -(-start // inner), stop // inner
    if first > last:  # within one place of the first axis
        first = last = start // inner
        ends = [(start, stop)]
    else:
        ends = [(start, first * inner), (last * inner, stop)]
    for a, b in ends:
        if a < b:
            at = a // inner
            for box in _boxes(a - at * inner, b - at * inner, sizes[1:]):
                yield (range(at, at + 1), *box)
    if first < last:
        yield (range(first, last), *map(range, sizes[1:]))


def _flat(index: Sequence[int], sizes: Sequence[int]) -> int:
    place = 0
    for at, size in zip(index, sizes, strict=True):
        place = place * size + at
    return place


def checked_part(part: Sequence[range | slice], shape: tuple[int, ...]) -> Part:
    """Ranges within a shape, one for each axis.

    >>> checked_part((slice(1, None), range(2)), (3, 2))
    (range(1, 3), range(0, 2))
    """
    found = []
    for axis, (each, size) in enumerate(zip(part, shape, strict=False)):
        run = range(*each.indices(size)) if isinstance(each, slice) else each
        if run.step != 1 or not 0 <= run.start <= max(run.start, run.stop) <= size:
            raise BadInputError(
                f"draw: axis {axis} of a part must be consecutive and within 0…{size}, got {each}"
            )
        found.append(range(run.start, max(run.start, run.stop)))
    if len(part) != len(shape):
        raise BadInputError(
            f"draw: a part of shape {shape} has {len(shape)} ranges, got {len(part)}"
        )
    return tuple(found)


def draw_part(
    law: Law,
    layout: Layout,
    part: Sequence[range | slice],
    *,
    name: str,
    seed: int,
    namespace: str = "",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """What `draw` of the whole tensor has in a box of it, bit for bit.

    Elementwise laws compute the box alone; the others each stacked matrix that it touches.

    Args:
        law: what to draw from.
        layout: the axes of the whole tensor.
        part: along each axis as stored, consecutive places.
        name: the parameter's name.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.
        out: memory of the part's shape to write to, as in `draw`.

    Returns:
        ``out``, or new float32.

    >>> from firstlight.records.law import Normal
    >>> from firstlight.records.network import plain_layout
    >>> layout, to = plain_layout((4, 6)), {"name": "fc.weight", "seed": 0}
    >>> whole = draw(Normal(std=1), layout, **to)
    >>> bool((draw_part(Normal(std=1), layout, (range(2, 4), range(1, 5)), **to)
    ...       == whole[2:4, 1:5]).all())
    True
    """
    ranges = checked_part(part, layout.shape)
    lengths = tuple(map(len, ranges))
    if out is None:
        out = np.empty(lengths, np.float32)
    memory = checked_memory(out, lengths)
    check_drawable(law, layout)
    to: dict[str, Any] = {
        "name": canonical_name(name),
        "seed": checked_seed(seed),
        "namespace": namespace,
    }
    finer = _refined(layout.shape, layout.view)
    if finer is None:  # no axes in common: the whole, once
        memory[...] = draw(law, layout, **to, out=np.empty(layout.shape, memory.dtype))[
            tuple(slice(r.start, r.stop) for r in ranges)
        ]
        return out
    if memory.size:
        plan = _Logical(law, layout, finer, to, memory.dtype)
        per_axis = [list(_boxes(r.start, r.stop, f)) for r, f in zip(ranges, finer, strict=True)]
        for boxes in product(*per_axis):
            places: list[Any] = []
            for box, sizes, whole in zip(boxes, finer, ranges, strict=True):
                first = _flat([r.start for r in box], sizes) - whole.start
                places.append(slice(first, first + prod(map(len, box))))
            target = memory[(*places, ...)]  # with the dots a view, were it of one number
            box = tuple(run for each in boxes for run in each)
            plan.fill(box, target.reshape(tuple(map(len, box))))
    return out


class _Logical:
    """Fills boxes of the finer axes in their logical order."""

    def __init__(
        self,
        law: Law,
        layout: Layout,
        finer: tuple[tuple[int, ...], ...],
        to: dict[str, Any],
        dtype: np.dtype[Any],
    ) -> None:
        self.law, self.layout, self.to, self.dtype = law, layout, to, dtype
        sizes = [size for each in finer for size in each]
        axes: list[list[int]] = []  # finer axes of each axis of the view
        at = 0
        for whole in layout.view:
            mine: list[int] = []
            while prod(sizes[i] for i in mine) < whole:
                mine.append(at)
                at += 1
            axes.append(mine)
        number = len(layout.stacks)
        ordered = [axes[i] for i in layout.order]
        self.stack_axes = [i for each in ordered[:number] for i in each]
        plain = ordered[number:]
        self.row_axes = plain[0] if plain else []
        self.column_axes = [i for each in plain[1:] for i in each]
        self.sizes = sizes
        self.labels = stack_labels(layout.stacks)
        self._drawn: tuple[int, NDArray[Any]] | None = None

    def fill(self, box: tuple[range, ...], target: NDArray[Any]) -> None:
        """Write one box; ``target`` has its shape."""
        for index in product(*(box[i] for i in self.stack_axes)):
            stack = _flat(index, [self.sizes[i] for i in self.stack_axes])
            where: list[Any] = [slice(None)] * target.ndim
            for axis, at in zip(self.stack_axes, index, strict=True):
                where[axis] = at - box[axis].start
            kept = [i for i in range(target.ndim) if i not in self.stack_axes]
            order = [kept.index(i) for i in (*self.row_axes, *self.column_axes)]
            plain = target[(*where, ...)].transpose(order)  # as above
            rows, columns = ([box[i] for i in axes] for axes in (self.row_axes, self.column_axes))
            law = self.law.laws[stack] if isinstance(self.law, Stacked) else self.law
            if isinstance(law, ELEMENTWISE):
                key = Address(**self.to, stack=self.labels[stack]).key()
                self._runs(law, key, rows, columns, plain)
            else:
                whole = self._whole(law, stack)
                plain[...] = whole[tuple(slice(r.start, r.stop) for r in (*rows, *columns))]

    def _whole(self, law: Any, stack: int) -> NDArray[Any]:
        if self._drawn is None or self._drawn[0] != stack:
            whole = np.empty(self.layout.logical[len(self.layout.stacks) :], self.dtype)
            fill_structured(
                law, self.layout, stack, Address(**self.to, stack=self.labels[stack]), whole
            )
            sizes = [self.sizes[i] for i in (*self.row_axes, *self.column_axes)]
            self._drawn = stack, whole.reshape(sizes)
        return self._drawn[1]

    def _runs(
        self,
        law: Any,
        key: tuple[int, int],
        rows: list[range],
        columns: list[range],
        plain: NDArray[Any],
    ) -> None:
        """Consecutive rows × consecutive columns at a time."""
        heights = [self.sizes[i] for i in self.row_axes]
        widths = [self.sizes[i] for i in self.column_axes]
        # Columns follow each other from the last axis that is not whole.
        split = len(columns)
        while split and len(columns[split - 1]) == widths[split - 1]:
            split -= 1
        outer = columns[: max(0, split - 1)]
        inner = columns[len(outer) :]
        within = widths[len(outer) :]
        length = prod(map(len, inner))
        above, last = rows[:-1], rows[-1] if rows else range(1)
        for index in product(*map(range, map(len, (*above, *outer)))):
            up, left = index[: len(above)], index[len(above) :]
            row = _flat([r[i] for r, i in zip(above, up, strict=True)], heights[:-1])
            first = row * (heights[-1] if heights else 1) + last.start
            column = _flat([r[i] for r, i in zip(outer, left, strict=True)], widths[: len(outer)])
            column = column * prod(within) + _flat([r.start for r in inner], within)
            target = plain[(*up, slice(None) if rows else None, *left, ...)]
            fill(law, key, range(first, first + len(last)), range(column, column + length), target)
