"""What a mirrored start leaves of an activation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firstlight.theory.activations import activation, activation_names
from firstlight.theory.gains import backward_gain, moments
from firstlight.theory.mean_field import chi, edge_of_chaos
from firstlight.theory.odd_part import OddPart, odd_activation, odd_part

LINEAR = {
    "relu": 1.0, "leaky_relu": 1.01, "prelu": 1.25, "rrelu": 1 + 11 / 48, "gelu": 1.0,
    "gelu_tanh": 1.0, "quick_gelu": 1.0, "silu": 1.0, "softplus": 1.0, "hardswish": 1.0,
    "logsigmoid": 1.0,
}  # fmt: skip
SELU_SLOPE = 1.0507009873554805 * (1 + 1.6732632423543772)
CURVED = {
    # name: slope, order
    "mish": (1.2, 3), "sigmoid": (0.5, 3), "hardsigmoid": (1 / 3, 3), "relu6": (1.0, 3),
    "elu": (2.0, 2), "celu": (2.0, 2), "selu": (SELU_SLOPE, 2), "relu_squared": (0.0, 2),
}  # fmt: skip
ODD = {
    "tanh": (1.0, 3), "erf": (2 / math.sqrt(math.pi), 3), "sin": (1.0, 3), "softsign": (1.0, 2),
    "hardtanh": (1.0, 3), "tanhshrink": (0.0, 3), "softshrink": (0.0, 3),
}  # fmt: skip


def test_every_name_is_covered():
    assert {*LINEAR, *CURVED, *ODD, "linear"} == set(activation_names())


@pytest.mark.parametrize("name", activation_names())
def test_shape_of_the_odd_part(name):
    got = odd_part(name)
    if name == "linear":
        assert got == OddPart(slope=1.0, linear=True, order=1, is_odd=True)
    elif name in LINEAR:
        assert (got.linear, got.order, got.is_odd) == (True, 1, False)
        assert got.slope == pytest.approx(LINEAR[name], abs=1e-11)
    else:
        slope, order = (CURVED | ODD)[name]
        assert (got.linear, got.order, got.is_odd) == (False, order, name in ODD)
        assert got.slope == pytest.approx(slope, abs=2e-11)


@pytest.mark.parametrize("name", [*CURVED, *ODD])
def test_order_is_the_rate_of_departure(name):
    # ψ(x)/(slope·x) − 1 at x and x/2: the ratio is 2 for order 2 and 4 for order 3.
    got, psi = odd_part(name), odd_activation(name)
    if got.slope == 0 or name in ("relu6", "hardtanh", "hardsigmoid"):
        return  # nothing of first order, or exactly linear near zero
    x = np.array([0.02, 0.01])
    departure = psi.function(x) / (got.slope * x) - 1
    assert departure[0] / departure[1] == pytest.approx(2.0 ** (got.order - 1), rel=0.02)


def test_odd_activation_of_sigmoid_is_a_tanh():
    psi = odd_activation("sigmoid")
    x = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(psi.function(x), np.tanh(x / 2), atol=1e-15)
    np.testing.assert_allclose(psi.derivative(x), 0.5 / np.cosh(x / 2) ** 2, atol=1e-15)
    low, high = psi.saturated
    assert low == -high and 0.98 < high < 1
    assert chi(psi, 0.0, 4.0) == pytest.approx(1.0, rel=1e-9)  # critical gain 1/ψ′(0) = 2


def test_odd_activation_keeps_kinks_and_odd_functions():
    assert odd_activation("tanh") is activation("tanh")
    assert odd_activation("hardsigmoid").kinks == (-3.0, 3.0)
    assert odd_activation("relu6").kinks == (-6.0, 0.0, 6.0)
    assert odd_activation("elu") is odd_activation("elu")


def test_mirrored_chains_of_linear_kind_have_gain_one():
    for name in LINEAR:
        psi, slope = odd_activation(name), LINEAR[name]
        assert moments(psi, 2.0).second_moment == pytest.approx(2.0 * slope**2, rel=1e-12)
        assert backward_gain(psi) == pytest.approx(1 / slope, rel=1e-12)
    assert edge_of_chaos(odd_activation("softplus")) == pytest.approx((1.0, 0.0), abs=1e-12)


def test_unseen_functions():
    def even_and_odd(x):
        return np.tanh(x) + x**2

    got = odd_part(even_and_odd)
    assert (got.linear, got.order, got.is_odd) == (False, 3, False)
    assert got.slope == pytest.approx(2.0, abs=1e-10)
    psi = odd_activation(lambda x: np.maximum(x, 0.3 * x) + 0.1 * np.sin(3 * x))
    assert psi.kinks is None and psi.derivative is None
    # ψ = 1.3x + 0.2·sin 3x
    exact = 1.3**2 + 0.04 * (1 - math.exp(-18)) / 2 + 2 * 1.3 * 0.2 * 3 * math.exp(-4.5)
    assert moments(psi).second_moment == pytest.approx(exact, rel=1e-9)
    assert odd_part(lambda x: x**2) == OddPart(slope=0.0, linear=False, order=3, is_odd=False)
