"""Gaussian means in one and two dimensions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import BadInputError
from firstlight.theory.quadrature import bivariate_mean, gaussian_mean, gaussian_rule


@pytest.mark.parametrize("power", range(0, 13, 2))
def test_even_moments_are_double_factorials(power):
    expected = math.prod(range(1, power, 2))
    assert gaussian_mean(lambda z: z**power) == pytest.approx(expected, rel=1e-13)


@given(kink=st.floats(-6, 6))
@settings(deadline=None)
def test_kink_anywhere(kink):
    # E max(z − k, 0) = ϕ(k) − k·(1 − Φ(k))
    expected = math.exp(-kink * kink / 2) / math.sqrt(2 * math.pi) - kink * 0.5 * math.erfc(
        kink / math.sqrt(2)
    )
    got = gaussian_mean(lambda z: np.maximum(z - kink, 0.0), kinks=(kink,))
    assert got == pytest.approx(expected, abs=1e-14)


def test_without_the_kink_it_is_much_worse():
    step = lambda z: np.where(np.abs(z) < 1, 1.0, 0.0)  # noqa: E731
    exact = math.erf(1 / math.sqrt(2))
    assert abs(gaussian_mean(step, kinks=(-1.0, 1.0)) - exact) < 1e-14
    assert abs(gaussian_mean(step) - exact) > 1e-4


@pytest.mark.parametrize("scale", [1e-12, 0.1, 1.0, 7.0, 20.0, 500.0])
def test_weights_add_up_at_every_scale(scale):
    z, weights = gaussian_rule((0.0, 6.0, -3.0), scale)
    assert weights.sum() == pytest.approx(1.0, abs=1e-13)
    assert weights @ z**2 == pytest.approx(1.0, abs=1e-13)


def test_not_finite_is_said():
    words = r"the integrand: value .* at x = "
    with np.errstate(all="ignore"), pytest.raises(BadInputError, match=words):
        gaussian_mean(np.log)


@pytest.mark.parametrize("c", [-1.0, -0.999, -0.6, 0.0, 0.3, 0.99, 0.9999999, 1.0])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 2.0), (0.01, 9.0)])
def test_bivariate_polynomials(a, b, c):
    # Isserlis: E u₁²u₂² = ab + 2q², with q = c·√(ab)
    got = bivariate_mean(lambda x: x**2, a, b, c)
    assert got == pytest.approx(a * b * (1 + 2 * c * c), rel=1e-12)


def test_bivariate_refuses_impossible_arguments():
    with pytest.raises(BadInputError, match=r"between -1 and 1, got 1\.5"):
        bivariate_mean(np.tanh, 1.0, 1.0, 1.5)
    with pytest.raises(BadInputError, match="q_bb must be"):
        bivariate_mean(np.tanh, 1.0, -1.0, 0.5)
