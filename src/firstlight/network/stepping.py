"""Moments of recurrent layers and cells: the recurrence is run, with random numbers of fixed seed.

What a state is depends on all steps before it and on gates that multiply each other; no closed form
is at hand, and a wide layer of the same laws, run over the same number of steps, costs little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from firstlight.network.axes import BATCH, POSITION, UNIT
from firstlight.network.passage import Passage
from firstlight.network.signals import Signal
from firstlight.records.network import Operation
from firstlight.theory.formulas import Array

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""Pre-activations of each step."""

_UNITS, _SAMPLES, _LONGEST, _SEED = 192, 48, 256, 0


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What a recurrent layer does on average over its steps.

    Args:
        state: mean, mean square and likenesses (near, positions, samples) of its states.
        gate: the same of what new states are made from.
    """

    state: tuple[float, ...]
    gate: tuple[float, ...]


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _statistics(values: Array) -> tuple[float, ...]:
    """Of shape (steps, samples, units)."""
    steps, samples, _ = values.shape
    square = float((values**2).mean())
    near = float((values[1:] * values[:-1]).mean()) if steps > 1 else square
    within = float((values.mean(axis=0) ** 2).mean())
    far = (steps * within - square) / (steps - 1) if steps > 1 else square
    centre = float((values.mean(axis=(0, 1)) ** 2).mean())
    return (
        float(values.mean()),
        square,
        near,
        far,
        max(0.0, (samples * centre - within) / (samples - 1)),
    )


@lru_cache(maxsize=256)
def run(
    kind: str,
    steps: int,
    came: tuple[float, float, float, float],
    gain: float,
    biases: tuple[float, float],
) -> Steps:
    """A wide recurrent layer over some steps, from zero states.

    Args:
        kind: ``lstm``, ``gru``, ``rnn_tanh`` or ``rnn_relu``.
        steps: how many, ≥ 1; more than 256 are cut.
        came: mean square of the input's projection and its likeness at neighbouring steps, at any
            two steps, in two samples.
        gain: E w² times the width of the recurrent weight: its gain, squared.
        biases: mean and mean square of the recurrent bias.
    """
    numbers = np.random.default_rng(_SEED)
    gates, steps = GATES[kind], min(steps, _LONGEST)
    shape = (_SAMPLES, gates * _UNITS)
    square, _, far, samples = came
    parts = (max(0.0, samples), max(0.0, far - samples), max(0.0, square - max(far, samples)))
    everywhere = np.sqrt(parts[0]) * numbers.standard_normal((1, shape[1]))
    sample = np.sqrt(parts[1]) * numbers.standard_normal(shape)
    spread = max(0.0, biases[1] - biases[0] ** 2)
    bias = biases[0] + np.sqrt(spread) * numbers.standard_normal((1, shape[1]))
    weight = np.sqrt(gain / _UNITS) * numbers.standard_normal((_UNITS, shape[1]))
    state = np.zeros((_SAMPLES, _UNITS))
    cell = np.zeros_like(state)
    states, made = [], []
    for _ in range(steps):
        entering = everywhere + sample + np.sqrt(parts[2]) * numbers.standard_normal(shape)
        back = state @ weight + bias
        if kind == "lstm":
            i, f, g, o = np.split(entering + back, 4, axis=1)
            gate = np.tanh(g)
            cell = _sigmoid(f) * cell + _sigmoid(i) * gate
            state = _sigmoid(o) * np.tanh(cell)
        elif kind == "gru":
            (r, z, n), (r_b, z_b, n_b) = np.split(entering, 3, axis=1), np.split(back, 3, axis=1)
            gate, keep = np.tanh(n + _sigmoid(r + r_b) * n_b), _sigmoid(z + z_b)
            state = (1 - keep) * gate + keep * state
        else:
            total = entering + back
            gate = np.tanh(total) if kind == "rnn_tanh" else np.maximum(total, 0.0)
            state = gate
        states.append(state)
        made.append(gate)
    return Steps(state=_statistics(np.stack(states)), gate=_statistics(np.stack(made)))


def recurrent(operation: Operation, passage: Passage) -> Signal | None:
    """A recurrent layer's result, or the gate inside of one; None for everything else."""
    operations = passage.network.operations
    if operation.function in GATES and operation.kind == "composite":
        layer = operation
    else:
        users = [operations[u] for u in passage.consumers[operation.index]]
        found = [u for u in users if u.function in GATES and u.kind == "composite"]
        if operation.kind != "activation" or not found or operation.option("operands"):
            return None
        layer = found[0]
    projection = _projection(operation, passage)
    weights = passage.parameters(layer, "recurrent", "weight")
    weight = passage.weight(weights[0]) if weights else None
    if projection is None or weight is None:
        return None
    steps = _steps(layer.shape, passage.samples)
    biases = [passage.weight(p) for p in passage.parameters(layer, "bias")]
    mean, square = (biases[0].mean, biases[0].square) if biases and biases[0] else (0.0, 0.0)
    came = (projection.square, projection.near, projection.positions, projection.samples)
    rounded = tuple(float(f"{v:.5g}") for v in came)
    found_steps = run(
        layer.function,
        steps,
        (rounded[0], rounded[1], rounded[2], rounded[3]),
        float(f"{weight.square * weights[0].layout.in_:.5g}"),
        (mean, square),
    )
    values = found_steps.state if operation is layer else found_steps.gate
    axes = [POSITION] * len(operation.shape)
    axes[-1] = UNIT
    batch = next((a for a, n in enumerate(operation.shape[:2]) if n == passage.samples), 0)
    axes[batch] = BATCH
    return Signal(
        mean=values[0],
        square=values[1],
        near=values[2],
        positions=values[3],
        samples=values[4],
        axes=tuple(axes),
    )


def _projection(operation: Operation, passage: Passage) -> Signal | None:
    """The input's projection: the weighted operation before a gate."""
    stack = list(operation.inputs)
    while stack:
        index = stack.pop(0)
        found = passage.network.operations[index]
        if found.kind == "weighted":
            signal = passage.signals[index]
            return None if signal is None else replace(signal, root=None)
        if found.kind == "activation":
            stack += found.inputs
    return None


def _steps(shape: tuple[int, ...], samples: int) -> int:
    if len(shape) < 3:
        return max(1, shape[0] // max(1, samples)) if shape[0] != samples else 1
    return shape[1] if shape[0] == samples else shape[0]
