"""Patterns of whole matrices: isometries, mirrors, the identity, equal counts of zeros.

A random matrix fails at its first rows, so the costly test of all pairs runs for the others only.
"""

from __future__ import annotations

import math
from math import prod

import numpy as np
from numpy.typing import NDArray

from firstlight.records.law import (
    DeltaOrthogonal,
    Identity,
    Law,
    Mirrored,
    Orthogonal,
    Sparse,
)
from firstlight.records.network import Layout
from firstlight.records.patterned import Hadamard, PaddedIdentity, Sinusoidal
from firstlight.verdicts.audit_patterns import fixed_pattern

_EXACT = 1e-4
"""How far an isometry may be from one: float32 products of thousands of terms."""

_SCREENED = 8
"""Vectors of which all pairs are looked at first."""

_FEWEST_COLUMNS = 8
"""A row of fewer says nothing by its count of zeros."""

TECHNIQUES: dict[type, str] = {
    Orthogonal: "orthogonal",
    DeltaOrthogonal: "delta_orthogonal",
    Mirrored: "mirrored",
    Identity: "identity",
    Sparse: "sparse",
    Hadamard: "zero_hadamard",
    PaddedIdentity: "idinit",
    Sinusoidal: "sinusoidal",
}
"""What a structured law is called."""

Matrix = NDArray[np.floating]


def logical_matrices(values: NDArray[np.floating], layout: Layout) -> Matrix:
    """The stacked matrices of a tensor as (stack, out, in, kernel elements)."""
    logical = values.reshape(layout.view).transpose(layout.order)
    stacked = prod(n for _, n in layout.stacks)
    plain = layout.logical[len(layout.stacks) :]
    return logical.reshape(stacked, plain[0], plain[1] if len(plain) > 1 else 1, -1)


def _gain_of(short: Matrix, tolerance: float) -> float | None:
    square = short @ short.T
    scale = float(np.trace(square)) / len(square)
    if scale <= 0 or np.abs(square - scale * np.eye(len(square))).max() > tolerance * scale:
        return None
    return math.sqrt(scale)


def _isometry_gain(matrix: Matrix, tolerance: float) -> float | None:
    """The gain of a matrix with orthogonal rows or columns of equal length, else None."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    if _gain_of(short[:_SCREENED].astype(np.float64), tolerance) is None:
        return None
    return _gain_of(short.astype(np.float64), tolerance)


def _mirror(matrix: Matrix, tolerance: float) -> Mirrored | None:
    rows, columns = matrix.shape
    top, left = -(-rows // 2), -(-columns // 2)

    def twins(a: Matrix, b: Matrix) -> bool:
        return len(a) > 0 and np.array_equal(a[0], -b[0]) and np.array_equal(a, -b)

    outputs = twins(matrix[top:], matrix[: rows - top])
    inputs = twins(matrix[:, left:].T, matrix[:, : columns - left].T)
    if not (outputs or inputs):
        return None
    part = matrix[: top if outputs else rows, : left if inputs else columns]
    gain = _isometry_gain(part, tolerance)
    if gain is None:
        return None
    return Mirrored(gain=_four_digits(gain), inputs=inputs, outputs=outputs)


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")


def _plain_isometry(matrix: Matrix, tolerance: float, *, delta: bool) -> Law | None:
    if min(matrix.shape) < 2:
        return None
    gain = _isometry_gain(matrix, tolerance)
    if gain is None:
        return None
    return (DeltaOrthogonal if delta else Orthogonal)(gain=_four_digits(gain))


def _centre_law(matrix: Matrix, tolerance: float, *, delta: bool) -> Law | None:
    gain = float(matrix[0, 0])
    single = gain != 0 and np.count_nonzero(matrix[0]) == 1
    if single and np.array_equal(matrix, gain * np.eye(*matrix.shape)):
        return Identity(gain=_four_digits(gain))
    mirrored = _mirror(matrix, tolerance)
    return mirrored or _plain_isometry(matrix, tolerance, delta=delta)


def structure_of(
    values: NDArray[np.floating], layout: Layout, *, resolution: float = 0.0
) -> Law | None:
    """The structured law whose pattern a tensor has, with its gain to four digits; None if none.

    Identity, mirrored, delta-orthogonal and the fixed patterns come before orthogonal, of which
    they are special cases.

    Args:
        values: in storage order, finite.
        layout: the tensor's axes.
        resolution: relative spacing of the tensor's type where that is coarse.
    """
    if len(layout.logical) - len(layout.stacks) < 2:
        return None
    tolerance = max(_EXACT, 2 * resolution)
    matrices = logical_matrices(values, layout)
    stacked, rows, columns, taps = matrices.shape
    if rows < 2 and columns * taps < 2:
        return None
    centre = 0
    if layout.kernel:
        middle = [size // 2 for size in layout.kernel]
        centre = int(np.ravel_multi_index(middle, layout.kernel))
    found: list[Law] = []
    for index in range(stacked):
        law = _whole_law(matrices[index], centre, tolerance)
        if law is None or (found and type(law) is not type(found[0])):
            return None
        found.append(law)
    return _common(found)


def _whole_law(matrix: Matrix, centre: int, tolerance: float) -> Law | None:
    """The law of one matrix or kernel (out, in, kernel elements)."""
    pattern = fixed_pattern(matrix, centre, tolerance)
    if pattern is not None:
        return pattern
    kernel = matrix.shape[2] > 1
    if kernel and np.any(np.delete(matrix, centre, axis=2)):
        return _plain_isometry(matrix.reshape(len(matrix), -1), tolerance, delta=False)
    return _centre_law(matrix[:, :, centre], tolerance, delta=kernel)


def _common(laws: list[Law]) -> Law | None:
    """The one law of all stacked matrices; None if they differ in more than estimated noise."""
    padded = [law for law in laws if isinstance(law, PaddedIdentity)]
    if padded and len({law.gain for law in padded}) == 1:
        square = sum(law.noise**2 for law in padded) / len(padded)
        return PaddedIdentity(gain=padded[0].gain, noise=_four_digits(math.sqrt(square)))
    return laws[0] if len(set(laws)) == 1 else None


def stored_isometry(
    values: NDArray[np.floating], layout: Layout, *, resolution: float = 0.0
) -> Orthogonal | None:
    """Gates or groups that are one isometry together, as torch's ``orthogonal_`` makes them."""
    if not layout.stacks or len(layout.shape) < 2:
        return None
    matrix = values.reshape(layout.shape[0], -1)
    law = _plain_isometry(matrix, max(_EXACT, 2 * resolution), delta=False)
    return law if isinstance(law, Orthogonal) else None


def sparse_law(values: NDArray[np.floating], layout: Layout) -> Sparse | None:
    """Equal counts of zeros in every row, normal otherwise."""
    columns = layout.matrix[2]
    if columns < _FEWEST_COLUMNS or len(layout.logical) < 2:
        return None
    matrix = logical_matrices(values, layout).reshape(-1, columns)
    first = int((matrix[0] == 0).sum())
    if not 0 < first < columns or not ((matrix == 0).sum(axis=1) == first).all():
        return None
    kept = matrix[matrix != 0].astype(np.float64)
    return Sparse(std=_four_digits(float(kept.std())), zero_fraction=first / columns)
