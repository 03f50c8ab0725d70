"""The generator against its authors' known answers, and coordinates against the plain counter."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.laws.philox import philox4x32, words

# Random123's kat_vectors for philox4x32-10: counter, key, result.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected):
    lanes = tuple(np.array([word], np.uint64) for word in counter)
    found = tuple(int(lane[0]) for lane in philox4x32(lanes, key))
    assert found == expected


def test_words_are_the_counter_of_block_and_row():
    key = (123, 456)
    table = words(key, range(3, 6), range(2, 11))
    for i, row in enumerate(range(3, 6)):
        for j, column in enumerate(range(2, 11)):
            counter = tuple(np.array([w], np.uint64) for w in (column // 4, 0, row, 0))
            assert table[i, j] == int(philox4x32(counter, key)[column % 4][0])


def test_rows_and_columns_past_32_bits_use_the_high_words():
    key = (1, 2)
    row, column = (1 << 32) + 7, 4 * ((1 << 32) + 5)
    counter = tuple(np.array([w], np.uint64) for w in (5, 1, 7, 1))
    found = words(key, range(row, row + 1), range(column, column + 1))[0, 0]
    assert found == int(philox4x32(counter, key)[0][0])


def test_words_look_random():
    """Bit counts of 4 million words: each of 32 bits is set half of the time, within 5 s.e."""
    table = words((7, 8), range(1000), range(4000))
    count = table.size
    shares = [(float(((table >> np.uint32(bit)) & np.uint32(1)).mean())) for bit in range(32)]
    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / np.sqrt(count)
