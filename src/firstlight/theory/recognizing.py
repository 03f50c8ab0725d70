"""Which activation a function read from a model is: a table's, or one of the model's own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np

from firstlight.records.network import ActivationRef
from firstlight.theory.activations import activation
from firstlight.theory.formulas import Array, Elementwise
from firstlight.theory.quadrature import REACH
from firstlight.theory.seen import admit

_GRID = np.linspace(-REACH, REACH, 521)  # with 0, ±1 and ±13 on it
SAME = 1e-7
"""Largest difference, relative to the largest value, between two spellings of one function: some
write √(2/π) with eight digits."""
_STRAIGHT = 1e-12
"""The same between φ and a straight line: float64 rounding."""

_TABLE = [
    "relu",
    "gelu",
    "gelu_tanh",
    "silu",
    "relu_squared",
    "tanh",
    "sigmoid",
    "quick_gelu",
    "hardswish",
    "hardsigmoid",
    "relu6",
    "hardtanh",
    "softsign",
    "softplus",
    "mish",
    "elu",
    "selu",
    "erf",
    "logsigmoid",
    "tanhshrink",
]

_GROWTH = 16.0
"""Growth of |φ| from half the reach to the whole of it that a fourth power has. An exponential
(decays, softmax written out) grows faster: its moments say nothing of signals that are not quite
normal."""


def recognized(
    function: Elementwise,
    derivative: Elementwise | None,
    name: str,
    *,
    learned: float | None = None,
    same: float = SAME,
) -> ActivationRef | None:
    """The activation that a function is; a new one is made known to the theory.

    Args:
        function: φ, from a float64 array to one of the same shape.
        derivative: φ′; None if it has to be found numerically.
        name: for one that no table has: it is then called ``custom:`` and this.
        learned: the value of its one learned number, if it has one.
        same: largest difference from a table's function, relative to the largest value.

    Returns:
        A name of the table where the values are the same (a GELU written by hand), else the custom
        one. None for straight lines, for exponentials, for what is not finite within 13 standard
        deviations, and for what theory cannot compute with.

    >>> recognized(lambda x: x / (1 + np.exp(-1.702 * x)), None, "mine").name
    'quick_gelu'
    """
    try:
        with np.errstate(all="ignore"):
            values = function(_GRID)
    except Exception:  # a function that does not take float64, say: it stays unknown
        return None
    if values.shape != _GRID.shape or not np.isfinite(values).all() or _is_straight(values):
        return None
    size, half = np.abs(values), len(_GRID) // 4
    if max(size[0], size[-1]) > _GROWTH * (1 + max(size[half], size[-1 - half])):
        return None
    at_zero = _slope_at_zero(function) if derivative is None else float(derivative(np.zeros(1))[0])
    closest, known = min(
        (
            (_distance(values, activation(ref).function(_GRID)), ref)
            for ref in _candidates(values, at_zero)
        ),
        key=lambda pair: pair[0],
    )
    if closest <= same:
        return known
    ref = ActivationRef(name=f"custom:{name}", parameter=learned, digest=_digest(values))
    return ref if admit(ref, function, derivative) else None


def _slope_at_zero(function: Elementwise) -> float:
    """By a central difference of eighth order."""
    h = 1e-3
    steps, weights = (
        np.array([h, 2 * h, 3 * h, 4 * h]),
        np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280]),
    )
    with np.errstate(all="ignore"):
        return float(weights @ (function(steps) - function(-steps)) / h)


def _distance(first: Array, second: Array) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.max(np.abs(first - second)) / np.max(np.abs(first)))


def _is_straight(values: Array) -> bool:
    """Whether φ(x) = a·x + b: no activation."""
    slope = (values[-1] - values[0]) / (_GRID[-1] - _GRID[0])
    middle = values[len(values) // 2]
    return not values.any() or _distance(values, middle + slope * _GRID) <= _STRAIGHT


def _candidates(values: Array, slope_at_zero: float) -> Iterator[ActivationRef]:
    """Names of the table, with the parameter that the values would need."""
    yield from (ActivationRef(name=name) for name in _TABLE)
    at = dict(zip(_GRID.tolist(), values.tolist(), strict=True))
    yield ActivationRef(name="leaky_relu", parameter=-at[-1.0])
    yield ActivationRef(name="elu", parameter=-at[-REACH] / -math.expm1(-REACH))
    if slope_at_zero > 0 and math.isfinite(slope_at_zero):
        yield ActivationRef(name="sin", parameter=slope_at_zero)
    if at[0.0] > 0:
        yield ActivationRef(name="softplus", parameter=math.log(2) / at[0.0])


def _digest(values: Array) -> str:
    text = ",".join(f"{value:.8e}" for value in values[::8].tolist())
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
