"""What arrives where under a plan: mean and second moment of every operation's result.

Each weighted operation is given the second moment that the plan wants of it; everything between is
carried by the moments of what it does, and what meets at an addition is taken as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from firstlight.network.attention import SCALING
from firstlight.records.network import ActivationRef, Operation
from firstlight.theory.activations import activation
from firstlight.theory.quadrature import gaussian_rule


class Signal(NamedTuple):
    """Mean and second moment of a result."""

    mean: float
    square: float


Given = Callable[[Operation, Sequence[Signal]], Signal | None]
"""What the plan sets an operation's result to; None if it follows from its inputs."""


def activated(reference: ActivationRef, signal: Signal) -> Signal:
    """E φ and E φ² of a normal pre-activation."""
    z, weights = gaussian_rule()
    spread = np.sqrt(max(signal.square - signal.mean**2, 0.0))
    values = activation(reference).function(signal.mean + spread * z)
    return Signal(float(weights @ values), float(weights @ values**2))


def _added(signals: Sequence[Signal]) -> Signal:
    mean = sum(signal.mean for signal in signals)
    return Signal(mean, sum(signal.square - signal.mean**2 for signal in signals) + mean**2)


def _attended(signals: Sequence[Signal], keys: int) -> Signal:
    """Values averaged with weights ∝ eˣ, x of unit variance: Σp² ≈ e/keys of their variance."""
    mean, square = signals[-1]
    return Signal(mean, mean**2 + (square - mean**2) * min(1.0, np.e / max(keys, 1)))


def _result(
    operation: Operation, inputs: Sequence[Signal], operations: Sequence[Operation]
) -> Signal:
    if operation.kind == "activation" and operation.activation is not None:
        return activated(operation.activation, inputs[0])
    if operation.kind == "add":
        return _added(inputs)
    if operation.kind == "multiply":
        return Signal(prod(s.mean for s in inputs), prod(s.square for s in inputs))
    if operation.kind == "dropout" and operation.rate:
        mean, square = inputs[0]
        return Signal(mean, square / max(1 - operation.rate, 1e-6))
    if operation.score_scale is not None and len(inputs) == 3:
        shape = operations[operation.inputs[1]].shape
        return _attended(inputs, shape[-2] if len(shape) > 1 else 1)
    if operation.kind == "other" and operation.function in SCALING and operation.option("constant"):
        mean, square = operation.option("constant")[:2]
        if "div" in operation.function:
            mean, square = (1 / mean, 1 / square) if mean and square else (1.0, 1.0)
        return Signal(inputs[0].mean * mean, inputs[0].square * square)
    if operation.kind == "concatenate":
        sizes = [prod(operations[i].shape) for i in operation.inputs]
        shares = [size / max(1, sum(sizes)) for size in sizes]
        pairs = list(zip(shares, inputs, strict=True))
        return Signal(sum(p * s.mean for p, s in pairs), sum(p * s.square for p, s in pairs))
    return inputs[0]


def propagated(operations: Sequence[Operation], given: Given) -> tuple[Signal, ...]:
    """The signal of every operation, in the order of execution.

    Args:
        operations: of the network.
        given: what the plan sets, asked first for each operation, with the signals before it.

    Returns:
        One signal for each operation; what cannot be told is taken as (0, 1).
    """
    signals: list[Signal] = []
    for operation in operations:
        signal = given(operation, signals)
        if signal is None:
            inputs = [signals[i] for i in operation.inputs]
            signal = _result(operation, inputs, operations) if inputs else Signal(0.0, 1.0)
            if not np.isfinite(signal.square):
                signal = Signal(0.0, 1.0)
        signals.append(signal)
    return tuple(signals)
