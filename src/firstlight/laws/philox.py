"""Philox4x32-10 in NumPy (Salmon et al. 2011), the generator of PyTorch's and NVIDIA's GPU streams.

A counter-based generator: the bits at a counter need no other bits. Our counter is
(column block, row) of the logical tensor, both as 64-bit numbers; a block holds four columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
_Wide = NDArray[np.uint64]

_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_INCREMENTS = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
_STEPS = np.arange(10, dtype=np.uint64)[:, None, None] * _INCREMENTS
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(
    counter: tuple[_Wide, _Wide, _Wide, _Wide], key: tuple[int, int]
) -> tuple[_Wide, _Wide, _Wide, _Wide]:
    """Ten rounds over arrays of counters, with 32-bit words held in 64-bit lanes.

    The two halves of a round are rows of one array: half as many calls, which is what a small
    tensor pays for.

    Args:
        counter: four arrays of words that broadcast together.
        key: two 32-bit words.

    Returns:
        Four arrays of 32-bit words, in 64-bit lanes.
    """
    shape = np.broadcast(*counter).shape
    even, odd = np.empty((2, *shape), np.uint64), np.empty((2, *shape), np.uint64)
    even[0], odd[0], even[1], odd[1] = counter
    flat_even, flat_odd = even.reshape(2, -1), odd.reshape(2, -1)
    product = np.empty_like(flat_even)
    swapped = product[::-1]
    for of_round in (np.array(key, np.uint64)[:, None] + _STEPS) & _LOW:
        np.multiply(flat_even, _MULTIPLIERS, out=product)
        np.right_shift(swapped, _HALF, out=flat_even)
        flat_even ^= flat_odd
        flat_even ^= of_round
        np.bitwise_and(swapped, _LOW, out=flat_odd)
    return even[0], odd[0], even[1], odd[1]


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
    block = np.arange(first, last, dtype=np.uint64)
    row = np.arange(rows.start, rows.stop, dtype=np.uint64)[:, None]
    lanes = philox4x32((block & _LOW, block >> _HALF, row & _LOW, row >> _HALF), key)
    interleaved = np.empty((len(rows), last - first, 4), np.uint32)
    for index, lane in enumerate(lanes):
        interleaved[..., index] = lane
    skip = columns.start - 4 * first
    return interleaved.reshape(len(rows), 4 * (last - first))[:, skip : skip + len(columns)]
