"""Fixed patterns in a matrix: Hadamard corners, repeated identities, sine rows.

Only a scale is free, so that a match is no chance. The first rows decide about most matrices; the
pattern of the others is never made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.patterns import (
    hadamard_order,
    hadamard_signs,
    padded_identity,
    sine_rows,
)
from firstlight.records.patterned import Hadamard, PaddedIdentity, Sinusoidal

_SCREENED = 8
"""Rows that are looked at first."""

_FEWEST_SIGNS = 16
"""A pattern of fewer signs comes up among random ones once in 2¹⁵ or more often."""

Matrix = NDArray[np.floating]


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")


def _hadamard(matrix: Matrix, tolerance: float) -> Hadamard | None:
    rows, columns = matrix.shape
    each = float(matrix[0, 0])
    if rows <= columns or columns < 2 or matrix.size < _FEWEST_SIGNS or each == 0:
        return None
    for part in (range(min(rows, _SCREENED)), range(rows)):
        signs = hadamard_signs(part, columns)
        if np.abs(matrix[: len(part)] - each * signs).max() > tolerance * abs(each):
            return None
    return Hadamard(gain=_four_digits(each * hadamard_order(rows, columns) ** 0.5))


def _padded(matrix: Matrix, tolerance: float) -> PaddedIdentity | None:
    rows, columns = matrix.shape
    gain = float(np.diagonal(matrix).mean())
    if min(rows, columns) < 2 or gain == 0:
        return None
    for part in (range(min(rows, _SCREENED)), range(rows)):
        expected = gain * padded_identity(part, columns, rows)
        rest = matrix[: len(part)] - expected
        if np.abs(rest).max() > tolerance * abs(gain):
            return None
    around = rest[expected == 0]
    noise = float(np.sqrt(np.mean(around**2))) if around.size else 0.0
    return PaddedIdentity(gain=_four_digits(gain), noise=_four_digits(noise))


def _sinusoidal(matrix: Matrix, tolerance: float) -> Sinusoidal | None:
    rows, columns = matrix.shape
    if columns < 3 or rows < 2:
        return None
    std = float(np.sqrt(np.mean(matrix**2)))
    if std == 0:
        return None
    for part in (range(min(rows, _SCREENED)), range(rows)):
        waves = std * sine_rows(part, columns, rows)
        if np.abs(matrix[: len(part)] - waves).max() > tolerance * std:
            return None
    return Sinusoidal(std=_four_digits(std))


def fixed_pattern(
    matrix: Matrix, centre: int, tolerance: float
) -> Hadamard | PaddedIdentity | Sinusoidal | None:
    """The law with a fixed pattern that a matrix or kernel follows; None if none.

    Args:
        matrix: (out, in, kernel elements), finite.
        centre: which kernel element is the middle one.
        tolerance: largest difference, relative to the scale.

    Returns:
        The law with its numbers to four digits. A plain identity is left to its own name.
    """
    rows = len(matrix)
    flat = matrix.reshape(rows, -1).astype(np.float64)
    if not flat.size or not np.any(flat[0]):
        return None
    padded = _padded(flat, tolerance)
    if padded is not None:
        plain = rows == flat.shape[1] and padded.noise == 0
        return None if plain else padded
    waves = _sinusoidal(flat, tolerance)
    if waves is not None:
        return waves
    if np.any(np.delete(matrix[0], centre, axis=1)):
        return None
    found = _hadamard(flat.reshape(matrix.shape)[:, :, centre], tolerance)
    return None if np.any(np.delete(matrix, centre, axis=2)) else found
