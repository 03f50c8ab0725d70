"""Functions never seen before: kinks found, derivatives computed, bad ones refused in one line."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import ndtr

from firstlight.errors import BadInputError
from firstlight.theory.activations import Activation, activation
from firstlight.theory.adaptive import settled
from firstlight.theory.gains import backward_gain, forward_gain, moments
from firstlight.theory.mean_field import depth_scales, derivative_kernel, kernel

# A user's own spelling, the table's name.
SPELLINGS = {
    "relu": lambda x: np.maximum(x, 0.0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0.0)) - 1),
    "gelu": lambda x: x * ndtr(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "relu_squared": lambda x: np.maximum(x, 0.0) ** 2,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sin": np.sin,
}


@pytest.mark.parametrize("q", [0.01, 1.0, 9.0, 400.0])
@pytest.mark.parametrize("name", SPELLINGS)
def test_equal_to_the_table(name, q):
    got, expected = moments(SPELLINGS[name], q), moments(name, q)
    assert got.mean == pytest.approx(expected.mean, rel=1e-9, abs=1e-12)
    assert got.second_moment == pytest.approx(expected.second_moment, rel=1e-9)
    assert got.derivative_second_moment == pytest.approx(
        expected.derivative_second_moment, rel=1e-8
    )


def strange(x):
    return np.maximum(x, 0.3 * x) + 0.1 * np.sin(3 * x)


def strange_derivative(x):
    return np.where(x > 0, 1.0, 0.3) + 0.3 * np.cos(3 * x)


def shifted(x):
    return np.abs(x - 1 / 3) - 0.5 * np.maximum(x + math.sqrt(2), 0.0)


def shifted_derivative(x):
    return np.sign(x - 1 / 3) - 0.5 * (x > -math.sqrt(2))


def steep(x):
    return np.tanh(50 * (x - 0.1234)) + 0.1 * x


def steep_derivative(x):
    return 50 / np.cosh(np.clip(50 * (x - 0.1234), -300, 300)) ** 2 + 0.1


@pytest.mark.parametrize(
    ("function", "derivative", "points"),
    [
        (strange, strange_derivative, (0.0,)),
        (shifted, shifted_derivative, (1 / 3, -math.sqrt(2))),
        (steep, steep_derivative, (0.0234, 0.1234, 0.2234)),
    ],
    ids=["strange", "shifted", "steep"],
)
def test_equal_to_adaptive_integration(function, derivative, points):
    def mean(f):
        edges = [-12.0, *sorted(points), 12.0]
        return sum(
            integrate.quad(
                lambda z: float(f(z)) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
                low,
                high,
                epsabs=1e-11,
                epsrel=1e-11,
                limit=200,
            )[0]
            for low, high in itertools.pairwise(edges)
        )

    got = moments(function)
    assert got.mean == pytest.approx(mean(function), abs=1e-9)
    assert got.second_moment == pytest.approx(mean(lambda z: function(z) ** 2), rel=1e-9)
    exact = mean(lambda z: derivative(z) ** 2)
    assert got.derivative_second_moment == pytest.approx(exact, rel=1e-8)


def test_kinks_are_localised():
    found = np.array(settled(activation(shifted)).kinks)
    for kink in (1 / 3, -math.sqrt(2)):
        assert np.min(np.abs(found - kink)) < 4e-9


@given(
    # anywhere, and close to the edges of the panels that the search starts with
    kink=st.floats(-3, 3)
    | st.builds(
        lambda edge, offset: edge + offset,
        st.sampled_from(
            [
                *np.linspace(-1.01371 * 13, 1.00713 * 13, 61)[25:38].tolist(),
                *np.linspace(-1.00417 * 13, 1.01879 * 13, 61)[25:38].tolist(),
            ]
        ),
        st.sampled_from([-1e-3, -1e-4, -1e-6, 0.0, 1e-6, 1e-4, 1e-3]),
    )
)
@settings(deadline=None, max_examples=150, derandomize=True)
def test_a_kink_anywhere_is_found(kink):
    got = moments(lambda x: np.maximum(x - kink, 0.0))
    assert got.derivative_second_moment == pytest.approx(float(ndtr(-kink)), abs=1e-8)


def test_one_kink_costs_few_panels():
    # or two-dimensional integrals would take seconds
    assert len(settled(activation(SPELLINGS["relu"])).kinks) <= 3
    assert len(settled(activation(SPELLINGS["elu"])).kinks) <= 3
    assert settled(activation(np.tanh)).kinks == ()


def test_given_derivative_and_given_kinks_are_used():
    slope = settled(activation(strange, derivative=strange_derivative)).derivative
    x = np.linspace(-3, 3, 50)
    np.testing.assert_array_equal(slope(x), strange_derivative(x))
    known = Activation("own", strange, None, (0.0,), None)
    expected = float(moments(activation(strange, derivative=strange_derivative)).variance)
    assert moments(known).variance == pytest.approx(expected, rel=1e-12)
    full = Activation("own", strange, strange_derivative, (0.0,), None)
    assert settled(full) is full


def test_kernels_of_unseen_functions():
    for name in ("elu", "tanh", "hardtanh"):
        for point in ((1.0, 1.0, 0.3), (0.5, 2.0, -0.95)):
            own = SPELLINGS[name]
            assert kernel(own, *point) == pytest.approx(kernel(name, *point), abs=1e-10)
            assert derivative_kernel(own, *point) == pytest.approx(
                derivative_kernel(name, *point), abs=1e-8
            )


def test_depth_scales_of_an_unseen_function():
    got, expected = depth_scales(SPELLINGS["tanh"], 2.5, 0.05), depth_scales("tanh", 2.5, 0.05)
    assert got.correlation == pytest.approx(expected.correlation, rel=1e-7)
    assert got.gradient == pytest.approx(expected.gradient, rel=1e-7)


def test_float32_inside():
    def single(x):
        return np.tanh(x.astype(np.float32))

    # Rounding of 6e-8 in φ is amplified in φ′ by up to 24²·2/width, then averages out.
    assert forward_gain(single) == pytest.approx(forward_gain("tanh"), rel=1e-7)
    assert backward_gain(single) == pytest.approx(backward_gain("tanh"), rel=1e-5)


def test_steps_have_slope_zero():
    got = moments(lambda x: np.round(x * 2))
    assert got.derivative_second_moment == 0
    exact = sum(k * k * 2 * (ndtr((k + 0.5) / 2) - ndtr((k - 0.5) / 2)) for k in range(1, 30))
    assert got.second_moment == pytest.approx(float(exact), rel=1e-8)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def noisy(x):
    return x + np.random.default_rng().standard_normal(x.shape)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (np.log, r"activation 'log': value nan at x = -"),
        (
            lambda x: np.where(np.abs(x) > 5, np.inf, x),
            r"value inf at x = -?5\.\d+, must be finite",
        ),
        (lambda x: 1 / x, "grows without bound near x = -?[0-9.]+e-1"),
        (lambda x: np.exp(x**2), "does not converge"),
        (softmax, "'softmax': not a fixed elementwise function"),
        (noisy, "'noisy': not a fixed elementwise function"),
        (lambda x: np.round(x * 200), "too rough to integrate"),
        (lambda x: x.sum(), r"returned shape \(\) for shape"),
        (math.tanh, "'tanh': raised TypeError on a float64 NumPy array"),
    ],
)
def test_refusals_are_one_clear_line(function, words):
    with pytest.raises(BadInputError, match=words) as caught:
        moments(function)
    assert "\n" not in str(caught.value)
