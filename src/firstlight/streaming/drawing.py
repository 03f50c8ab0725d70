"""The numbers of one tensor, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.draw import draw
from firstlight.laws.holding import is_elementwise
from firstlight.laws.parts import draw_part
from firstlight.records.plan import PlanEntry

MEMORY = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""What a law is drawn into; uint16 holds the bits of bfloat16."""

BLOCK = 1 << 24
"""Elements that are drawn and written at once: 32 MB in sixteen bits."""


def boxes(shape: tuple[int, ...], most: int = BLOCK) -> Iterator[tuple[range, ...]]:
    """Boxes of at most ``most`` elements that follow each other in memory.

    >>> list(boxes((2, 5), 4))[:2]
    [(range(0, 1), range(0, 4)), (range(0, 1), range(4, 5))]
    >>> list(boxes((5, 2), 4))
    [(range(0, 2), range(0, 2)), (range(2, 4), range(0, 2)), (range(4, 5), range(0, 2))]
    """
    if prod(shape) <= most:
        yield tuple(map(range, shape))
        return
    rest = prod(shape[1:])
    if rest <= most:
        step = most // rest
        for first in range(0, shape[0], step):
            yield (range(first, min(first + step, shape[0])), *map(range, shape[1:]))
        return
    for i in range(shape[0]):
        for box in boxes(shape[1:], most):
            yield (range(i, i + 1), *box)


def blocks_of(entry: PlanEntry, kind: str, seed: int, namespace: str) -> Iterator[NDArray[Any]]:
    """What a plan draws for one parameter: elementwise laws in blocks, the others whole.

    Args:
        entry: with a law.
        kind: safetensors' word for the type, one of `MEMORY`.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.
    """
    assert entry.law is not None
    to: dict[str, Any] = {
        "name": entry.address or entry.name,
        "seed": seed,
        "namespace": namespace,
    }
    shape, memory = entry.layout.shape, np.dtype(MEMORY[kind])
    if not is_elementwise(entry.law):
        whole = draw(entry.law, entry.layout, **to, out=np.empty(shape, memory))
        if entry.zero_row is not None:
            whole[entry.zero_row] = 0
        yield whole
        return
    for box in boxes(shape):
        out = np.empty(tuple(map(len, box)), memory)
        draw_part(entry.law, entry.layout, box, **to, out=out)
        if entry.zero_row is not None and entry.zero_row in box[0]:
            out[entry.zero_row - box[0].start] = 0
        yield out
