"""Activation functions and their derivatives, written so that no |x| overflows.

Each builder takes the parameter of its family (a leaky slope, say) and returns a `Formula`. The
names under which they are found are in `FAMILIES`; `activations` does the looking up. At a kink
the derivative takes one of its one-sided values, as automatic differentiation does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Elementwise = Callable[[Array], Array]


class Formula(NamedTuple):
    """φ, φ′, the points where φ is not smooth, and the output range that is not saturated."""

    function: Elementwise
    derivative: Elementwise
    kinks: tuple[float, ...] = ()
    saturated: tuple[float, float] | None = None


class Family(NamedTuple):
    """A builder, the default of its parameter (None: it has none), and whether that must be > 0."""

    build: Callable[..., Formula]
    default: float | None = None
    positive: bool = False


# From Klambauer et al. 2017: the solution of E φ = 0, E φ² = 1 for z ~ N(0, 1).
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

# Saturation: where the slope is about 2 % of its largest, so that hardly any gradient passes.
_TANH_ENDS, _SIGMOID_ENDS, _ERF_ENDS, _SOFTSIGN_ENDS = 0.99, 0.0067, 0.995, 0.86
# Piecewise linear ends are exactly flat; the margin only absorbs rounding.
_FLAT_MARGIN = 1e-4


def _density(x: Array) -> Array:
    """Standard normal density; beyond 40 it is zero in float64, and x² could overflow."""
    return np.exp(-0.5 * np.minimum(np.abs(x), 40.0) ** 2) / math.sqrt(2 * math.pi)


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _linear() -> Formula:
    return Formula(lambda x: x * 1.0, np.ones_like)


def _leaky(slope: float) -> Formula:
    return Formula(
        lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1.0, slope), (0.0,)
    )


def _relu() -> Formula:
    return _leaky(0.0)._replace(function=lambda x: np.maximum(x, 0.0))


def _exponential(scale: float, alpha: float, width: float = 1.0) -> Formula:
    """φ = scale · (x for x > 0, else alpha·(exp(x/width) − 1)): ELU, SELU and CELU."""
    return Formula(
        lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / width)),
        lambda x: scale * np.where(x > 0, 1.0, alpha / width * np.exp(np.minimum(x, 0.0) / width)),
        (0.0,),
    )


def _gelu() -> Formula:
    return Formula(
        lambda x: x * special.ndtr(x), lambda x: special.ndtr(x) + np.clip(x, -40, 40) * _density(x)
    )


def _gelu_tanh() -> Formula:
    def bend(x: Array) -> Array:
        x = np.clip(x, -1e3, 1e3)  # the tanh of the cubic is ±1 long before
        return np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))

    def derivative(x: Array) -> Array:
        t, x = bend(x), np.clip(x, -1e3, 1e3)
        inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner

    return Formula(lambda x: 0.5 * x * (1 + bend(x)), derivative)


def _silu(beta: float = 1.0) -> Formula:
    def derivative(x: Array) -> Array:
        s = special.expit(beta * x)
        slope: Array = s * (1 + beta * x * special.expit(-beta * x))
        return slope

    return Formula(lambda x: x * special.expit(beta * x), derivative)


def _mish() -> Formula:
    def derivative(x: Array) -> Array:
        t = np.tanh(_softplus(x))
        slope: Array = t + x * (1 - t**2) * special.expit(x)
        return slope

    return Formula(lambda x: x * np.tanh(_softplus(x)), derivative)


def _hardswish() -> Formula:
    return Formula(
        lambda x: x * (np.clip(x + 3, 0.0, 6.0) / 6),
        lambda x: np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * np.clip(x, -3, 3) + 3) / 6)),
        (-3.0, 3.0),
    )


def _softplus_of(beta: float) -> Formula:
    return Formula(lambda x: _softplus(beta * x) / beta, lambda x: special.expit(beta * x))


def _tanh() -> Formula:
    return Formula(np.tanh, lambda x: 1 - np.tanh(x) ** 2, (), (-_TANH_ENDS, _TANH_ENDS))


def _sigmoid() -> Formula:
    return Formula(
        special.expit,
        lambda x: special.expit(x) * special.expit(-x),
        (),
        (_SIGMOID_ENDS, 1 - _SIGMOID_ENDS),
    )


def _erf() -> Formula:
    return Formula(
        special.erf,
        lambda x: 2 / math.sqrt(math.pi) * np.exp(-(np.minimum(np.abs(x), 40.0) ** 2)),
        (),
        (-_ERF_ENDS, _ERF_ENDS),
    )


def _softsign() -> Formula:
    return Formula(
        lambda x: x / (1 + np.abs(x)),
        lambda x: (1 / (1 + np.abs(x))) ** 2,
        (0.0,),
        (-_SOFTSIGN_ENDS, _SOFTSIGN_ENDS),
    )


def _clipped(scale: float, shift: float, low: float, high: float) -> Formula:
    """clip(scale·x + shift, low, high): hardtanh, hardsigmoid and ReLU6."""
    ends = (low - shift) / scale, (high - shift) / scale
    return Formula(
        lambda x: np.clip(scale * x + shift, low, high),
        lambda x: np.where((x > ends[0]) & (x < ends[1]), scale, 0.0),
        ends,
        (low + _FLAT_MARGIN, high - _FLAT_MARGIN),
    )


def _relu6() -> Formula:
    # Zero is the dead side of a ReLU, not a saturated one.
    return _clipped(1.0, 0.0, 0.0, 6.0)._replace(saturated=(-math.inf, 6 - _FLAT_MARGIN))


def _relu_squared() -> Formula:
    return Formula(lambda x: np.maximum(x, 0.0) ** 2, lambda x: 2 * np.maximum(x, 0.0), (0.0,))


def _sin(frequency: float) -> Formula:
    return Formula(lambda x: np.sin(frequency * x), lambda x: frequency * np.cos(frequency * x))


def _logsigmoid() -> Formula:
    return Formula(special.log_expit, lambda x: special.expit(-x))


def _tanhshrink() -> Formula:
    return Formula(lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2)


def _softshrink(width: float) -> Formula:
    return Formula(
        lambda x: x - np.clip(x, -width, width),
        lambda x: np.where(np.abs(x) > width, 1.0, 0.0),
        (-width, width),
    )


FAMILIES: dict[str, Family] = {
    "linear": Family(_linear),
    "relu": Family(_relu),
    "leaky_relu": Family(_leaky, 0.01),
    "prelu": Family(_leaky, 0.25),
    # torch draws the slope from U(1/8, 1/3) in training and uses its mean in evaluation.
    "rrelu": Family(_leaky, (1 / 8 + 1 / 3) / 2),
    "elu": Family(lambda alpha: _exponential(1.0, alpha), 1.0),
    "selu": Family(lambda: _exponential(_SELU_SCALE, _SELU_ALPHA)),
    "celu": Family(lambda alpha: _exponential(1.0, alpha, alpha), 1.0, positive=True),
    "gelu": Family(_gelu),
    "gelu_tanh": Family(_gelu_tanh),
    "quick_gelu": Family(lambda: _silu(1.702)),
    "silu": Family(_silu),
    "mish": Family(_mish),
    "hardswish": Family(_hardswish),
    "softplus": Family(_softplus_of, 1.0, positive=True),
    "tanh": Family(_tanh),
    "sigmoid": Family(_sigmoid),
    "erf": Family(_erf),
    "softsign": Family(_softsign),
    "relu6": Family(_relu6),
    "relu_squared": Family(_relu_squared),
    "sin": Family(_sin, 1.0, positive=True),
    "hardtanh": Family(lambda: _clipped(1.0, 0.0, -1.0, 1.0)),
    # torch's and today's Keras's slope is 1/6; Keras 2 had 0.2.
    "hardsigmoid": Family(lambda: _clipped(1 / 6, 0.5, 0.0, 1.0)),
    "logsigmoid": Family(_logsigmoid),
    "tanhshrink": Family(_tanhshrink),
    "softshrink": Family(_softshrink, 0.5, positive=True),
}
