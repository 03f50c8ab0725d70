"""What arrives at a head that reads a residual stream: its second moment under the planned start.

Every addition makes the stream larger, and behind a ReLU a positive mean adds up too. Mean and
second moment are carried through the graph, with each weighted operation at unit second moment (as
the rules plan it) and what meets at an addition taken as independent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from firstlight.network.graph import Graph
from firstlight.records.network import ActivationRef, Operation
from firstlight.theory.activations import activation
from firstlight.theory.quadrature import gaussian_rule

Signal = tuple[float, float]
"""Mean and second moment."""


def _activated(reference: ActivationRef, signal: Signal) -> Signal:
    """E φ and E φ² of a normal pre-activation."""
    mean, square = signal
    z, weights = gaussian_rule()
    values = activation(reference).function(mean + np.sqrt(max(square - mean**2, 0.0)) * z)
    return float(weights @ values), float(weights @ values**2)


def _added(signals: list[Signal]) -> Signal:
    mean = sum(signal[0] for signal in signals)
    variance = sum(square - m**2 for m, square in signals)
    return mean, variance + mean**2


def second_moment_at(
    operation: Operation, graph: Graph, given: Mapping[int, float], input_square: float
) -> float:
    """The planned second moment of what enters an operation.

    Args:
        operation: a head.
        graph: the network.
        given: second moments of results that are not planned to be one, by index of operation: ends
            of bare residual branches, norms whose scale is zero.
        input_square: measured second moment of the inputs.

    Returns:
        The second moment of its first input; 1 if it has none.
    """
    signals: list[Signal] = []
    for op in graph.operations[: operation.index]:
        inputs = [signals[i] for i in op.inputs]
        if op.index in given:
            signal = (0.0, given[op.index])
        elif op.kind == "input":
            signal = (0.0, input_square)
        elif op.kind in ("weighted", "norm", "embedding", "composite") or not inputs:
            signal = (0.0, 1.0)
        elif op.kind == "activation" and op.activation is not None:
            signal = _activated(op.activation, inputs[0])
        elif op.kind == "add":
            signal = _added(inputs)
        elif op.kind == "multiply":
            signal = (
                float(np.prod([mean for mean, _ in inputs])),
                float(np.prod([square for _, square in inputs])),
            )
        else:
            signal = inputs[0]
        signals.append(signal)
    return signals[operation.inputs[0]][1] if operation.inputs else 1.0
