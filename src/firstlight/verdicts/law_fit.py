"""Which laws the numbers in a tensor do not reject.

Several laws can be the same law (Glorot and LeCun on a square matrix), and small tensors tell
little, so the answer is a set, best first. A law is rejected if its mean, its standard deviation,
its bounds or tails, or its distribution (Kolmogorov–Smirnov) does not fit at 1 % for all tests
together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.elementwise import parent_of
from firstlight.laws.moments import moments
from firstlight.records.law import (
    Constant,
    DeltaOrthogonal,
    Identity,
    Law,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout

REJECT = 0.01
"""Family-wise level: the true law stays in the set 99 times of 100."""

_TESTS = 4
_LARGEST_SAMPLE = 200_000
_EXACT = 1e-4
"""How far an isometry may be from one: float32 products of thousands of terms."""

_TECHNIQUES: dict[type, str] = {
    Orthogonal: "orthogonal",
    DeltaOrthogonal: "delta_orthogonal",
    Mirrored: "mirrored",
    Identity: "identity",
    Sparse: "sparse",
}

Reals = NDArray[np.float64]
Candidate = tuple[str | None, str, Law]
"""Technique, words, law."""


def _cdf(law: Normal | Uniform | TruncatedNormal) -> Callable[[Reals], Reals]:
    from scipy.special import ndtr
    from scipy.stats import truncnorm

    match law:
        case Normal(mean=mean, std=std):
            return lambda x: np.asarray(ndtr((x - mean) / std))
        case Uniform(low=low, high=high):
            return lambda x: np.clip((x - low) / (high - low), 0, 1)
        case TruncatedNormal(low_sigma=a, high_sigma=b):
            centre, sigma = parent_of(law)
            return lambda x: np.asarray(truncnorm.cdf((x - centre) / sigma, a, b))


def _kurtosis(law: Normal | Uniform | TruncatedNormal) -> float:
    from scipy.stats import truncnorm

    match law:
        case Normal():
            return 3.0
        case Uniform():
            return 1.8
        case TruncatedNormal(low_sigma=a, high_sigma=b):
            return 3.0 + float(truncnorm.stats(a, b, moments="k"))


def _elementwise_p(
    values: Reals, law: Normal | Uniform | TruncatedNormal, layout: Layout, resolution: float
) -> float:
    """The smallest of the p-values, corrected for their number; 0 where a bound is broken."""
    from scipy.special import ndtr
    from scipy.stats import kstest

    expected = moments(law, layout)
    if expected.std == 0:
        return float(bool((values == expected.mean).all()))
    slack = 1e-6 * expected.std + resolution * float(np.abs(values).max())
    if expected.low is not None and values.min() < expected.low - slack:
        return 0.0
    if expected.high is not None and values.max() > expected.high + slack:
        return 0.0
    n = values.size
    z_mean = (values.mean() - expected.mean) / (expected.std / math.sqrt(n))
    # About the law's own mean, so that n = 1 says something too.
    observed = float(np.mean((values - expected.mean) ** 2)) / expected.std**2
    z_std = (observed - 1) / math.sqrt((_kurtosis(law) - 1) / n)
    two_sided = [2 * float(ndtr(-abs(z))) for z in (z_mean, z_std)]
    sample = values if n <= _LARGEST_SAMPLE else values[:: -(-n // _LARGEST_SAMPLE)]
    distribution = float(kstest(sample, _cdf(law)).pvalue)
    tails = _tail_p(values, law) if isinstance(law, Normal) else 1.0
    return min(1.0, _TESTS * min(*two_sided, distribution, tails))


def _tail_p(values: Reals, law: Normal) -> float:
    """Two-sided p-value of the largest deviation: P(max|z| ≤ m) = (2Φ(m) − 1)^n.

    Without it a normal law cut at ±2σ passes for the whole one: their distribution functions
    differ by 0.02 only, but of 4,096 whole ones 187 lie beyond.
    """
    from scipy.special import ndtr

    largest = float(np.abs(values - law.mean).max()) / law.std
    shorter = math.exp(values.size * math.log1p(-2 * float(ndtr(-largest))))
    return 2 * min(shorter, 1 - shorter)


def fit_p(
    values: NDArray[np.floating], law: Law, layout: Layout, *, resolution: float = 0.0
) -> float:
    """The p-value of a law for a tensor: 1 or 0 for exact laws.

    Args:
        values: in storage order, finite.
        law: which.
        layout: the tensor's axes.
        resolution: relative spacing of the tensor's type where that is coarse (2⁻⁸ for bfloat16):
            rounding may carry a number over a bound.

    Returns:
        In [0, 1]; below `REJECT` the law is rejected.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    match law:
        case Constant(value=value):
            return float(bool((flat == value).all()))
        case Normal() | Uniform() | TruncatedNormal():
            return _elementwise_p(flat, law, layout, resolution)
        case _:
            return float(structure_of(values, layout) == law)


def logical_matrices(values: NDArray[np.floating], layout: Layout) -> Reals:
    """The stacked matrices of a tensor as (stack, out, in, kernel elements)."""
    logical = np.asarray(values, np.float64).reshape(layout.view).transpose(layout.order)
    stacked = prod(n for _, n in layout.stacks)
    plain = layout.logical[len(layout.stacks) :]
    return logical.reshape(stacked, plain[0], plain[1] if len(plain) > 1 else 1, -1)


def _isometry_gain(matrix: Reals) -> float | None:
    """The gain of a matrix with orthogonal rows or columns of equal length, else None."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    square = short @ short.T
    scale = float(np.trace(square)) / len(square)
    if scale <= 0 or np.abs(square - scale * np.eye(len(square))).max() > _EXACT * scale:
        return None
    return math.sqrt(scale)


def _mirror(matrix: Reals) -> Mirrored | None:
    rows, columns = matrix.shape
    top, left = -(-rows // 2), -(-columns // 2)
    outputs = rows > 1 and np.array_equal(matrix[top:], -matrix[: rows - top])
    inputs = columns > 1 and np.array_equal(matrix[:, left:], -matrix[:, : columns - left])
    if not (outputs or inputs):
        return None
    gain = _isometry_gain(matrix[: top if outputs else rows, : left if inputs else columns])
    return None if gain is None else Mirrored(gain=gain, inputs=inputs, outputs=outputs)


def structure_of(values: NDArray[np.floating], layout: Layout) -> Law | None:
    """The structured law whose pattern a tensor has, with its gain to four digits; None if none.

    Identity, mirrored and delta-orthogonal come before orthogonal, of which they are special cases.
    """
    if len(layout.logical) - len(layout.stacks) < 2:
        return None
    matrices = logical_matrices(values, layout)
    stacked, rows, columns, taps = matrices.shape
    if rows < 2 and columns * taps < 2:
        return None
    centre = 0
    if layout.kernel:
        middle = [size // 2 for size in layout.kernel]
        centre = int(np.ravel_multi_index(middle, layout.kernel))
    around = np.delete(matrices, centre, axis=3)
    found: set[Law | None] = set()
    for index in range(stacked):
        if taps > 1 and np.any(around[index]):
            found.add(_plain_isometry(matrices[index].reshape(rows, -1), delta=False))
        else:
            found.add(_centre_law(matrices[index, :, :, centre], delta=taps > 1))
    return found.pop() if len(found) == 1 else None


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")


def _plain_isometry(matrix: Reals, *, delta: bool) -> Law | None:
    gain = _isometry_gain(matrix)
    if gain is None or min(matrix.shape) < 2:
        return None
    return (DeltaOrthogonal if delta else Orthogonal)(gain=_four_digits(gain))


def _centre_law(matrix: Reals, *, delta: bool) -> Law | None:
    gain = float(matrix[0, 0])
    if gain != 0 and np.array_equal(matrix, gain * np.eye(*matrix.shape)):
        return Identity(gain=_four_digits(gain))
    mirrored = _mirror(matrix)
    if mirrored is not None:
        return Mirrored(
            gain=_four_digits(mirrored.gain), inputs=mirrored.inputs, outputs=mirrored.outputs
        )
    return _plain_isometry(matrix, delta=delta)


def _sparse(values: Reals, layout: Layout) -> Sparse | None:
    """Equal counts of zeros in every row, normal otherwise."""
    columns = layout.matrix[2]
    if columns < 8 or len(layout.logical) < 2:
        return None
    matrix = logical_matrices(values, layout).reshape(-1, columns)
    zeros = (matrix == 0).sum(axis=1)
    if zeros.min() != zeros.max() or not 0 < zeros[0] < columns:
        return None
    kept = matrix[matrix != 0]
    return Sparse(std=_four_digits(float(kept.std())), zero_fraction=float(zeros[0]) / columns)


def _estimated(values: Reals) -> Iterable[Candidate]:
    """Families with the scale taken from the numbers, for laws that no technique names."""
    mean, std = float(values.mean()), float(values.std())
    if abs(mean) < 3 * std / math.sqrt(values.size):
        mean = 0.0
    if values.size < 20 or std == 0:
        return
    words = f"N({mean:.3g}, {std:.3g}²)"
    yield None, words, Normal(mean=mean, std=std)
    low, high = float(values.min()), float(values.max())
    # The range of n uniform numbers falls short of the law's by 2/(n + 1) of it.
    widened = (high - low) * (values.size + 1) / max(1, values.size - 1)
    middle = 0.0 if abs(high + low) < 0.05 * (high - low) else (high + low) / 2
    law = Uniform(low=middle - widened / 2, high=middle + widened / 2)
    yield None, f"U({law.low:.3g}, {law.high:.3g})", law


def fitting_laws(
    values: NDArray[np.floating],
    layout: Layout,
    candidates: Iterable[Candidate],
    *,
    resolution: float = 0.0,
) -> list[tuple[Candidate, float]]:
    """The candidates that a tensor does not reject, best first.

    Args:
        values: in storage order, finite.
        layout: the tensor's axes.
        candidates: named laws at this tensor.
        resolution: as for `fit_p`.

    Returns:
        Candidates with their p-values. Where no named law fits, structures and families with the
        scale estimated from the numbers are tried.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    # One number alone is equal to itself under any law; only zero and one speak for themselves.
    if (flat == flat[0]).all() and (flat.size > 1 or flat[0] in (0.0, 1.0)):
        law = Constant(value=float(flat[0]))
        return [(("constant" if law.value not in (0, 1) else str(law), str(law), law), 1.0)]
    structure = structure_of(values, layout) or _sparse(flat, layout)
    if structure is not None:
        return [((_TECHNIQUES[type(structure)], str(structure), structure), 1.0)]

    def kept(laws: Iterable[Candidate]) -> list[tuple[Candidate, float]]:
        tested = [(law, fit_p(values, law[2], layout, resolution=resolution)) for law in laws]
        return [fit for fit in tested if fit[1] >= REJECT]

    fits = kept(candidates) or kept(_estimated(flat))
    return sorted(fits, key=lambda fit: -fit[1])
