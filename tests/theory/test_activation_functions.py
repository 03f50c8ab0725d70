"""The table of activations: values, derivatives, kinks, names, errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from firstlight.errors import BadInputError
from firstlight.records.network import ActivationRef
from firstlight.theory.activations import activation, activation_names
from firstlight.theory.quadrature import NODES

PARAMETERS = {"elu": 0.7, "celu": 1.7, "softplus": 2.5, "sin": 3.0, "softshrink": 0.3}
CASES = [(name, None) for name in activation_names()] + list(PARAMETERS.items())


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_derivative_equals_spectral_derivative_between_kinks(name, parameter):
    act = activation(name, parameter)
    edges = np.unique(np.concatenate([np.linspace(-9, 9, 37), act.kinks]))
    for low, high in itertools.pairwise(edges):
        x = 0.5 * (low + high) + 0.5 * (high - low) * NODES
        fit = np.polynomial.Legendre.fit(x, act.function(x), 23, domain=(low, high))
        # Differentiation amplifies rounding (and that of the fit) by up to 24² · 2 / width.
        tolerance = 24**2 * 2 / (high - low) * 1e-13 * max(1.0, np.abs(act.function(x)).max())
        np.testing.assert_allclose(act.derivative(x), fit.deriv()(x), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_kinks_are_where_a_difference_quotient_jumps(name, parameter):
    act = activation(name, parameter)
    h = 1e-4
    x = np.round(np.arange(-8, 8, h) / h) * h
    second = np.abs(np.diff(act.function(x), 2)) / h**2
    # A slope that jumps by j gives j/h; smooth functions here have |φ″| below 10.
    jumps = x[1:-1][second > 100]
    for jump in jumps:
        assert min(abs(jump - k) for k in act.kinks) < 2 * h


@pytest.mark.parametrize("name", activation_names())
@pytest.mark.parametrize("size", [50.0, 1e4, 1e150])
def test_no_overflow_at_large_arguments(name, size):
    act = activation(name)
    x = np.array([-size, size])
    with np.errstate(all="raise", under="ignore"):
        assert np.all(np.isfinite(act.function(x)))
        assert np.all(np.isfinite(act.derivative(x)))


def test_large_arguments_reach_their_limits():
    x = np.array([-1e3, 1e3])
    for name in ("relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "mish", "softplus"):
        np.testing.assert_allclose(activation(name).function(x), [0.0, 1e3], atol=1e-12)
        np.testing.assert_allclose(activation(name).derivative(x), [0.0, 1.0], atol=1e-12)


# Values by hand, to catch a wrong formula with a consistent derivative.
VALUES = {
    "linear": 1.5, "relu": 1.5, "relu6": 1.5, "relu_squared": 2.25, "tanh": math.tanh(1.5),
    "sigmoid": 1 / (1 + math.exp(-1.5)), "silu": 1.5 / (1 + math.exp(-1.5)),
    "softplus": math.log(1 + math.exp(1.5)), "logsigmoid": -math.log(1 + math.exp(-1.5)),
    "mish": 1.5 * math.tanh(math.log(1 + math.exp(1.5))), "erf": math.erf(1.5),
    "gelu": 0.75 * (1 + math.erf(1.5 / math.sqrt(2))), "softsign": 0.6, "hardtanh": 1.0,
    "gelu_tanh": 0.75 * (1 + math.tanh(math.sqrt(2 / math.pi) * (1.5 + 0.044715 * 1.5**3))),
    "hardswish": 1.125, "hardsigmoid": 0.75, "tanhshrink": 1.5 - math.tanh(1.5),
    "softshrink": 1.0, "sin": math.sin(1.5), "selu": 1.5 * 1.0507009873554805,
}  # fmt: skip
NEGATIVE = {
    "leaky_relu": -0.015, "prelu": -0.375, "rrelu": -1.5 * 11 / 48, "elu": math.exp(-1.5) - 1,
    "celu": math.exp(-1.5) - 1, "relu": 0.0, "relu_squared": 0.0, "hardswish": -0.375,
    "selu": 1.0507009873554805 * 1.6732632423543772 * (math.exp(-1.5) - 1), "hardtanh": -1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "x", "value"),
    [(n, 1.5, v) for n, v in VALUES.items()] + [(n, -1.5, v) for n, v in NEGATIVE.items()],
)
def test_values_by_hand(name, x, value):
    assert activation(name).function(np.array([x]))[0] == pytest.approx(value, abs=1e-14)


def test_values_equal_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = np.linspace(-8, 8, 401)
    for name in activation_names():
        theirs = (
            {
                "linear": lambda t: t,
                "gelu_tanh": lambda t: functional.gelu(t, approximate="tanh"),
                "quick_gelu": lambda t: t * torch.sigmoid(1.702 * t),
                "relu_squared": lambda t: torch.relu(t) ** 2,
                "prelu": lambda t: functional.prelu(t, torch.tensor([0.25], dtype=t.dtype)),
            }.get(name)
            or getattr(functional, name, None)
            or getattr(torch, name)
        )
        tensor = torch.tensor(x, requires_grad=True)
        result = theirs(tensor)
        (slope,) = torch.autograd.grad(result.sum(), tensor)
        act = activation(name)
        np.testing.assert_allclose(act.function(x), result.detach().numpy(), atol=1e-12)
        away = np.all([np.abs(x - k) > 1e-9 for k in act.kinks] or [x == x], axis=0)
        np.testing.assert_allclose(act.derivative(x)[away], slope.numpy()[away], atol=1e-12)


@pytest.mark.parametrize(
    ("alias", "name"),
    [("swish", "silu"), ("SiLU", "silu"), ("logistic", "sigmoid"), ("hard_swish", "hardswish"),
     ("relu^2", "relu_squared"), ("LeakyReLU", "leaky_relu"), ("leaky-relu", "leaky_relu"),
     ("identity", "linear"), ("GELU", "gelu"), ("log_sigmoid", "logsigmoid"),
     ("Hardsigmoid", "hardsigmoid"), ("ReLU6", "relu6"), ("Tanh", "tanh"),
     ("gelu_pytorch_tanh", "gelu_tanh"), ("gelu_new", "gelu_tanh")],
)  # fmt: skip
def test_aliases(alias, name):
    assert activation(alias).function is activation(alias).function
    x = np.linspace(-4, 4, 9)
    np.testing.assert_array_equal(activation(alias).function(x), activation(name).function(x))


def test_reference_carries_its_parameter():
    act = activation(ActivationRef(name="leaky_relu", parameter=0.3))
    assert act.function(np.array([-1.0]))[0] == -0.3
    assert act.name == "leaky_relu(0.3)"
    assert act is activation("leaky_relu", 0.3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gleu",), r"unknown name 'gleu'; did you mean 'gelu'"),
        (("softmax",), "not elementwise"),
        (("tanh", 0.2), "takes no parameter, got 0.2"),
        (("celu", 0.0), "positive and finite, got 0"),
        (("leaky_relu", math.nan), "finite, got nan"),
        ((3.0,), "expected a name or a function"),
        ((np.tanh, 0.2), "goes with a name"),
        (("tanh", None, np.cos), "its derivative is known"),
        ((ActivationRef(name="elu", parameter=1.0), 2.0), "already has a parameter"),
    ],
)
def test_refusals_say_why(arguments, words):
    with pytest.raises(BadInputError, match=words):
        activation(*arguments)


def test_saturated_ends():
    x = np.array([-12.0, 12.0])
    bounded = {n for n in activation_names() if activation(n).saturated is not None}
    assert bounded == {"tanh", "sigmoid", "erf", "softsign", "hardtanh", "hardsigmoid", "relu6"}
    for name in bounded:
        act = activation(name)
        low, high = act.saturated
        values = act.function(x)
        assert values[1] > high
        assert values[0] < low or name == "relu6"  # the zeros of ReLU6 are dead, not saturated
        middle = activation(name).function(np.array([0.5]))[0]
        assert low < middle < high
