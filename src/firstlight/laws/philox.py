"""Philox4x32-10 in NumPy (Salmon et al. 2011), the generator of PyTorch's and NVIDIA's GPU streams.

A counter-based generator: the bits at a counter need no other bits. Our counter is
(column block, row) of the logical tensor, both as 64-bit numbers; a block holds four columns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
_Wide = NDArray[np.uint64]

_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_INCREMENTS = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
_STEPS = np.arange(10, dtype=np.uint64)[:, None, None] * _INCREMENTS
_LOWER = int(sys.byteorder == "big")  # of the two words of a product in memory
_SHORT = 1 << 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ZERO = np.zeros((), np.uint64)


def philox4x32(
    counter: tuple[_Wide, _Wide, _Wide, _Wide], key: tuple[int, int] | _Wide
) -> tuple[Words, Words, Words, Words]:
    """Ten rounds over arrays of counters.

    The two halves of a round are rows of one array and the halves of a product are looked at in
    place: a round is three calls, which is what a small tensor pays for.

    Args:
        counter: four arrays of words that broadcast together.
        key: two 32-bit words, or (2, counters): two for each.

    Returns:
        Four arrays of words.
    """
    shape = np.broadcast(*counter).shape
    even, odd = np.zeros((2, *shape), np.uint64), np.empty((2, *shape), np.uint32)
    even[0], odd[0], even[1], odd[1] = counter
    flat_even, flat_odd = even.reshape(2, -1), odd.reshape(2, -1)
    written = flat_even.view(np.uint32)[:, _LOWER::2]  # what is above stays zero
    products = np.empty((2, *flat_even.shape), np.uint64)  # of this round and the last
    halves = products.view(np.uint32)[:, ::-1]
    upper, lower = halves[..., 1 - _LOWER :: 2], halves[..., _LOWER::2]
    # NumPy is slow to broadcast short rows.
    count = flat_even.shape[1]
    repeats = count if count <= _SHORT else 1
    multipliers = _MULTIPLIERS.repeat(repeats, 1)
    keys = (np.asarray(key, np.uint64).reshape(2, -1) + _STEPS) & _LOW
    if keys.shape[2] == 1:
        keys = keys.repeat(repeats, 2)
    for number, of_round in enumerate(keys):
        now = number % 2
        np.multiply(flat_even, multipliers, out=products[now])
        np.bitwise_xor(upper[now], flat_odd, out=written)
        flat_even ^= of_round
        flat_odd = lower[now]
    first, last = written.reshape(odd.shape), flat_odd.reshape(odd.shape)
    return first[0], last[0], first[1], last[1]


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
    if max(last, rows.stop) <= 1 << 32:
        lanes = philox4x32((block, _ZERO, row, _ZERO), key)
    else:
        lanes = philox4x32((block & _LOW, block >> _HALF, row & _LOW, row >> _HALF), key)
    interleaved = np.empty((len(rows), last - first, 4), np.uint32)
    for index, lane in enumerate(lanes):
        interleaved[..., index] = lane
    skip = columns.start - 4 * first
    return interleaved.reshape(len(rows), 4 * (last - first))[:, skip : skip + len(columns)]


def words_of_several(keys: Sequence[tuple[int, int]], shapes: Sequence[tuple[int, int]]) -> Words:
    """The words of whole small matrices of several streams, drawn as one.

    Args:
        keys: of each stream.
        shapes: rows and columns of each, below 2³².

    Returns:
        uint32 of shape (all blocks of four columns, 4): matrix after matrix, row after row; a row
        of a matrix ends in a block of its own.
    """
    blocks, rows = (np.concatenate(of) for of in zip(*map(_counters, shapes), strict=True))
    counts = [high * -(-wide // 4) for high, wide in shapes]
    each = np.array(keys, np.uint64).T.repeat(counts, 1)
    return np.stack(philox4x32((blocks, _ZERO, rows, _ZERO), each), -1)


@lru_cache(maxsize=1 << 8)  # models repeat a few shapes
def _counters(shape: tuple[int, int]) -> tuple[_Wide, _Wide]:
    high, wide = shape[0], -(-shape[1] // 4)
    block, row = np.arange(wide, dtype=np.uint64), np.arange(high, dtype=np.uint64)
    return np.tile(block, high), row.repeat(wide)
