"""Fixed matrices: Hadamard corners, padded identities, sine waves. No random number enters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.quantile import Reals


def hadamard_order(rows: int, columns: int) -> int:
    """The smallest power of two that holds both.

    >>> hadamard_order(5, 3)
    8
    """
    return 1 << (max(rows, columns, 1) - 1).bit_length()


def hadamard_signs(rows: range, columns: int) -> NDArray[np.int8]:
    """Rows of Sylvester's Hadamard matrix: (−1)^(number of ones that i and j have in common).

    >>> hadamard_signs(range(2), 2).tolist()
    [[1, 1], [1, -1]]
    """
    common = np.asarray(rows)[:, None] & np.arange(columns)[None, :]
    for shift in (32, 16, 8, 4, 2, 1):  # the parity of the ones
        common ^= common >> shift
    return (1 - 2 * (common & 1)).astype(np.int8)


def hadamard_sum(rows: int, columns: int) -> int:
    """The sum of the signs of the upper left corner, without making it.

    From H₂ₕ = [[Hₕ, Hₕ], [Hₕ, −Hₕ]], of which only the first row and column have a sum.

    >>> hadamard_sum(2, 2), hadamard_sum(3, 2)
    (2, 4)
    """
    if rows == 0 or columns == 0:
        return 0
    if rows == 1 or columns == 1:
        return max(rows, columns)
    half = hadamard_order(rows, columns) // 2
    if rows > half and columns > half:
        return 3 * half - hadamard_sum(rows - half, columns - half)
    rest = (rows - half, columns) if rows > half else (rows, columns - half)
    return half + hadamard_sum(*rest)


def padded_identity(rows: range, columns: int, height: int) -> NDArray[np.bool_]:
    """Where row ≡ column modulo the shorter side of a matrix of ``height`` rows.

    >>> padded_identity(range(3), 2, 3).astype(int).tolist()
    [[1, 0], [0, 1], [1, 0]]
    """
    short = min(height, columns)
    pattern: NDArray[np.bool_] = (
        np.asarray(rows)[:, None] % short == np.arange(columns)[None, :] % short
    )
    return pattern


def sine_rows(rows: range, columns: int, height: int) -> Reals:
    """Rows of the matrix of sine waves with mean square one; see `records.patterned.Sinusoidal`.

    Args:
        rows: which of them.
        columns: at least three: a wave has two points at least, and Nyquist's has no phase.
        height: rows of the whole matrix, which decides on the phases.

    Returns:
        float64 of shape (len(rows), columns).
    """
    frequencies = (columns - 1) // 2
    shared = -(-height // frequencies)
    unit = np.asarray(rows)[:, None]
    turns = ((1 + unit % frequencies) * np.arange(columns)[None, :]) % columns  # exact integers
    phase = (unit + 0.5) / (frequencies * shared)
    waves: Reals = np.sqrt(2.0) * np.sin(np.pi * (2 * turns / columns + phase))
    return waves
