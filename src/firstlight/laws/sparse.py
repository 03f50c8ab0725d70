"""Sparse matrices: each row keeps the same number of its elements, where its words are smallest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.elementwise import fill, stream_words
from firstlight.records.law import Normal, Sparse

_STRIP_ELEMENTS = 1 << 18
"""Words that are looked at together: 1 MB."""


def _kept(key: tuple[int, int], rows: range, columns: int, count: int) -> NDArray[np.bool_]:
    """Where the ``count`` smallest words of each row are; of equal ones the first come first."""
    drawn = stream_words(key, rows, range(columns))
    # Partitioning is much faster than sorting; a row where words tie at the border is sorted.
    border = np.partition(drawn, count - 1, axis=1)[:, count - 1 : count]
    kept: NDArray[np.bool_] = drawn <= border
    for row in np.flatnonzero(np.count_nonzero(kept, axis=1) != count):
        kept[row] = False
        kept[row, np.argsort(drawn[row], kind="stable")[:count]] = True
    return kept


def fill_sparse(
    law: Sparse, value_key: tuple[int, int], pattern_key: tuple[int, int], out: NDArray[Any]
) -> None:
    """Write a matrix whose rows keep exactly round((1 − zero_fraction)·columns) elements each.

    Args:
        law: the share of zeros and the std of the rest.
        value_key: of the stream of the values.
        pattern_key: of the stream that decides on the places.
        out: float32, float64, float16 or, for bfloat16, uint16 with its bits; of shape
            (rows, axes of the columns …), in any order in memory.
    """
    rows = len(out)
    columns = out.size // rows if rows else 0
    count = round((1 - law.zero_fraction) * columns)
    if not count:
        out[...] = 0
        return
    fill(Normal(std=law.std), value_key, range(rows), range(columns), out)
    bits = out.view(f"u{out.itemsize}")  # times 0 they are +0, whatever the sign was
    step = max(1, _STRIP_ELEMENTS // columns)
    for row in range(0, rows, step):
        strip = bits[row : row + step]
        kept = _kept(pattern_key, range(row, row + len(strip)), columns, count)
        kept = kept.reshape(strip.shape)
        if strip.strides[0] < strip.strides[-1]:  # both in one order in memory: six times as fast
            kept = np.asfortranarray(kept)
        strip *= kept
