"""Which activation a run of elementwise steps is: one of the table's, or one of the model's own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from firstlight.frameworks.torch.replay import Program, derivative_of, function_of
from firstlight.frameworks.torch.steps import Scalar, Step
from firstlight.records.network import ActivationRef
from firstlight.theory.activations import activation
from firstlight.theory.formulas import Array
from firstlight.theory.quadrature import REACH
from firstlight.theory.seen import admit

_GRID = np.linspace(-REACH, REACH, 521)  # with 0, ±1 and ±13 on it
_SAME = 1e-7
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

_OPERATOR = {
    f"{way}{name}": {"truediv": "div", "multiply": "mul", "subtract": "sub"}.get(name, name)
    for name in ("add", "sub", "mul", "div", "truediv", "pow", "multiply", "subtract")
    for way in ("", "r", "i")
}
_MOST_NAMES = 6
_GROWTH = 16.0
"""Growth of |φ| from half the reach to the whole of it that a fourth power has. An exponential
(decays, softmax written out) grows faster: its moments say nothing of signals that are not quite
normal."""


@lru_cache(maxsize=512)
def reference(program: Program, module: str | None) -> ActivationRef | None:
    """The activation that some steps compute; a new one is made known to the theory.

    Args:
        program: the steps.
        module: the class of the module that does just this, if there is one.

    Returns:
        A name of the table where the values are the same (a GELU written by hand), else
        ``custom:`` with the module's class or the functions' names. None for straight lines, for
        exponentials, for what is not finite within 13 standard deviations, and for what theory
        cannot compute with.
    """
    try:
        values = function_of(program)(_GRID)
    except Exception:  # a function that does not take float64, say: it stays unknown
        return None
    if values.shape != _GRID.shape or not np.isfinite(values).all() or _is_straight(values):
        return None
    size, half = np.abs(values), len(_GRID) // 4
    if max(size[0], size[-1]) > _GROWTH * (1 + max(size[half], size[-1 - half])):
        return None
    derivative = derivative_of(program)
    for ref in _candidates(values, float(derivative(np.zeros(1))[0])):
        if _same(values, activation(ref).function(_GRID), _SAME):
            return ref
    learned = {o for step in program for o in _scalars(step) if o.parameter is not None}
    ref = ActivationRef(
        name="custom:" + (module or _functions(program)),
        parameter=next(iter(learned)).value if len(learned) == 1 else None,
        digest=_digest(values),
    )
    return ref if admit(ref, function_of(program), derivative) else None


def _same(first: Array, second: Array, tolerance: float) -> bool:
    return bool(np.max(np.abs(first - second)) <= tolerance * np.max(np.abs(first)))


def _is_straight(values: Array) -> bool:
    """Whether φ(x) = a·x + b: no activation."""
    slope = (values[-1] - values[0]) / (_GRID[-1] - _GRID[0])
    middle = values[len(values) // 2]
    return not values.any() or _same(values, middle + slope * _GRID, _STRAIGHT)


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


def _scalars(step: Step) -> Iterator[Scalar]:
    for operand in step.operands:
        if isinstance(operand, Scalar):
            yield operand
        elif isinstance(operand, Step):
            yield from _scalars(operand)


def _functions(program: Program) -> str:
    """``sin·pow·add``; a single function with its numbers, ``hardtanh(-2, 2)``."""
    names = [_OPERATOR.get(step.name, step.name) for step in program]
    if len(names) == 1:
        numbers = ", ".join(f"{number:g}" for number in _numbers(program[0]))
        return f"{names[0]}({numbers})" if numbers else names[0]
    more = "…" if len(names) > _MOST_NAMES else ""
    return "·".join(names[:_MOST_NAMES]) + more


def _numbers(step: Step) -> Iterator[float]:
    for operand in step.operands:
        value: Any = operand.value if isinstance(operand, Scalar) else operand
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value)


def _digest(values: Array) -> str:
    text = ",".join(f"{value:.8e}" for value in values[::8].tolist())
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
