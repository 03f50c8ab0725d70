"""Philox4x32-10 in NumPy (Salmon et al. 2011), the generator of PyTorch's and NVIDIA's GPU streams.

A counter-based generator: the bits at a counter need no other bits. Our counter is
(column block, row) of the logical tensor, both as 64-bit numbers; a block holds four columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
_Wide = NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(
    counter: tuple[_Wide, _Wide, _Wide, _Wide], key: tuple[int, int]
) -> tuple[_Wide, _Wide, _Wide, _Wide]:
    """Ten rounds over arrays of counters, with 32-bit words held in 64-bit lanes.

    Args:
        counter: four arrays of words that broadcast together.
        key: two 32-bit words.

    Returns:
        Four arrays of 32-bit words, in 64-bit lanes.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ np.uint64(k0),
            product1 & _LOW,
            (product0 >> _HALF) ^ c3 ^ np.uint64(k1),
            product0 & _LOW,
        )
        k0, k1 = (k0 + _INCREMENTS[0]) & 0xFFFFFFFF, (k1 + _INCREMENTS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def words(key: tuple[int, int], rows: range, columns: range) -> Words:
    """The 32-bit words at the coordinates ``rows`` × ``columns`` of a stream.

    Args:
        key: the stream's key.
        rows: consecutive row indices.
        columns: consecutive column indices.

    Returns:
        uint32 of shape (len(rows), len(columns)).
    """
    first, last = columns.start // 4, -(-columns.stop // 4)
    block = np.arange(first, last, dtype=np.uint64)[None, :]
    row = np.arange(rows.start, rows.stop, dtype=np.uint64)[:, None]
    counter = (block & _LOW, block >> _HALF, row & _LOW, row >> _HALF)
    lanes = np.broadcast_arrays(*philox4x32(counter, key))
    interleaved = np.stack(lanes, axis=-1).astype(np.uint32)
    flat = interleaved.reshape(len(rows), 4 * (last - first))
    skip = columns.start - 4 * first
    return flat[:, skip : skip + len(columns)]
