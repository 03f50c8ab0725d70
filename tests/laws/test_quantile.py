"""The quantile against scipy's, over the whole range that 32 bits reach."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from firstlight.laws.quantile import _minus_log, normal_quantile, signed_fraction

# Relative error of the published fit (6.1e-11) plus that of its logarithm.
ACCURACY = 1e-10


def _magnitudes() -> np.ndarray:
    edges = np.concatenate([np.arange(3000), np.arange(2**31 - 3000, 2**31)])
    inner = np.random.default_rng(0).integers(0, 2**31, 500_000)
    return np.concatenate([edges, inner]).astype(np.uint32)


def test_normal_quantile_agrees_with_scipy():
    magnitude = _magnitudes()
    z = normal_quantile(signed_fraction(magnitude))
    tail = (2.0**31 - magnitude.astype(float) - 0.5) * 2.0**-32
    expected = -ndtri(tail)
    # Near zero scipy's own tail argument loses digits, so compare absolutely there.
    assert np.abs(z - expected).max() < 1e-9
    large = expected > 1e-4
    assert (np.abs(z[large] / expected[large] - 1)).max() < ACCURACY
    assert z.max() < 6.34
    assert z.min() > 0


def test_near_zero_the_slope_is_that_of_the_density():
    fraction = np.array([2.0**-32, 2.0**-20])
    slope = normal_quantile(fraction) / fraction
    assert np.abs(slope / np.sqrt(np.pi / 2) - 1).max() < ACCURACY


def test_quantile_is_odd_and_monotone():
    word = np.sort(_magnitudes())
    positive = normal_quantile(signed_fraction(word))
    negative = normal_quantile(signed_fraction(word | np.uint32(0x80000000)))
    assert np.array_equal(positive, -negative)
    steps = np.diff(positive.astype(np.float32))
    assert (steps >= 0).all()


def test_signed_fraction_never_reaches_its_ends():
    word = np.array([0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], np.uint32)
    expected = np.array([2.0**-32, 1 - 2.0**-32, -(2.0**-32), -(1 - 2.0**-32)])
    assert np.array_equal(signed_fraction(word), expected)


def test_logarithm_is_accurate_on_every_octave():
    y = np.concatenate([2.0 ** -np.arange(0, 32, 0.013), [1.0]])
    assert np.abs(_minus_log(y) + np.log(y)).max() < 2e-12
