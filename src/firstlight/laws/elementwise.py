"""Laws whose elements are drawn one by one, at any coordinates, in blocks that fit the cache.

The canonical value of an element is fl32(fl32(std)·z + fl32(mean)), computed in float64 and rounded
once. Types of 16 bits round that value once more; float64 copies it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.philox import words
from firstlight.laws.quantile import Reals, normal_quantile, signed_fraction
from firstlight.records.exact import nine_digits
from firstlight.records.law import Constant, Normal, TruncatedNormal, Uniform

Values = NDArray[np.float32]
_BLOCK_ELEMENTS = 1 << 15


def _single(value: float) -> float:
    return float(np.float32(value))


def parent_of(law: TruncatedNormal) -> tuple[float, float]:
    """Mean and std of the normal that, cut at the law's bounds, has the law's mean and std.

    With a, b the bounds in σ and Z = Φ(b) − Φ(a): the cut standard normal has mean
    (ϕ(a) − ϕ(b))/Z and variance 1 + (aϕ(a) − bϕ(b))/Z − mean².
    """
    a, b = law.low_sigma, law.high_sigma
    density_a, density_b = (math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (a, b))
    mass = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
    shift = (density_a - density_b) / mass
    variance = 1 + (a * density_a - b * density_b) / mass - shift**2
    sigma = law.std / math.sqrt(variance)
    return nine_digits(law.mean - sigma * shift), nine_digits(sigma)


def _truncated_quantile(law: TruncatedNormal) -> Callable[[Reals], Reals]:
    low, high = (math.erf(x / math.sqrt(2)) for x in (law.low_sigma, law.high_sigma))
    middle, half = nine_digits((high + low) / 2), nine_digits((high - low) / 2)

    def quantile(fraction: Reals) -> Reals:
        z = normal_quantile(middle + half * fraction)
        return np.clip(z, law.low_sigma, law.high_sigma, out=z)

    return quantile


def _shape(law: Normal | Uniform | TruncatedNormal) -> tuple[float, float, Callable[..., Reals]]:
    """The law as location, scale and quantile function of a signed fraction."""
    match law:
        case Normal(mean=mean, std=std):
            return mean, std, normal_quantile
        case Uniform(low=low, high=high):
            half = nine_digits((high - low) / 2)
            return nine_digits((high + low) / 2), half, lambda fraction: fraction
        case TruncatedNormal():
            mean, std = parent_of(law)
            return mean, std, _truncated_quantile(law)


def elements(
    law: Constant | Normal | Uniform | TruncatedNormal,
    key: tuple[int, int],
    rows: range,
    columns: range,
) -> Values:
    """The elements of one matrix at ``rows`` × ``columns``.

    Args:
        law: an elementwise law.
        key: the key of the matrix's stream.
        rows: consecutive rows.
        columns: consecutive columns.

    Returns:
        float32 of shape (len(rows), len(columns)).
    """
    shape = (len(rows), len(columns))
    if isinstance(law, Constant):
        return np.full(shape, law.value, np.float32)
    mean, scale, quantile = _shape(law)
    mean, scale = _single(mean), _single(scale)
    values = np.empty(shape, np.float32)
    for row in range(0, shape[0], step := max(1, _BLOCK_ELEMENTS // max(1, shape[1]))):
        for column in range(0, shape[1], _BLOCK_ELEMENTS):
            block = (rows[row : row + step], columns[column : column + _BLOCK_ELEMENTS])
            drawn = quantile(signed_fraction(words(key, *block)))
            drawn = drawn * scale
            drawn += mean
            values[row : row + step, column : column + _BLOCK_ELEMENTS] = drawn
    return values
