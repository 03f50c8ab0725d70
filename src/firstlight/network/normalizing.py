"""Moments of normalised signals: what the axes have in common is taken out, the rest is one."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from firstlight.network.axes import POSITION
from firstlight.network.mixing import averaged
from firstlight.network.passage import Passage
from firstlight.network.signals import Signal, independent
from firstlight.records.network import Operation


def normalized(operation: Operation, passage: Passage) -> Signal | None:
    """Batch, layer, group, instance and RMS norms; then scale and shift.

    (x − x̄)/√(v + ε): E x̄² is the second moment of the mean over the axes of the norm, and
    v = E x² − E x̄².
    """
    made = passage.made(operation)
    axes = passage.default_axes(operation)
    signal = passage.signals[made[0]] if made else None
    if signal is None:
        signal = independent(0.0, 1.0, axes)  # of whatever came in: one, unless it was constant
    elif len(signal.axes) == len(operation.shape):
        axes = signal.axes
    eps = (operation.option("eps") or (1e-5,))[0]
    statistics = operation.option("batch_statistics")
    if statistics and not statistics[0]:
        result = replace(signal, axes=axes, root=None, odd=None)
    else:
        common = _common(operation, signal)
        batch = operation.function == "batch_norm"
        # What two samples have in common is the mean that both lose; of a batch norm, the batch's.
        apart = common if batch else signal.mean**2
        spread = max(0.0, signal.square - common) + eps
        result = Signal(
            mean=signal.mean / sqrt(spread) if operation.function == "rms_norm" else 0.0,
            square=max(0.0, signal.square - common) / spread,
            near=(signal.near - common) / spread,
            positions=(signal.positions - common) / spread,
            samples=(signal.samples - apart) / spread,
            axes=axes,
            place=signal.place if batch else 0.0,
            unit=0.0 if batch else signal.unit,
            tails=max(1.0, signal.tails - 3 * (signal.unit if batch else signal.place)),
        )
    return _rescaled(result, operation, passage)


def spread_of(operation: Operation, passage: Passage) -> float | None:
    """What a norm does to ‖δ‖²: γ² over the variance that it found, less the two lost directions.

    Neither a shift nor a scale of its input changes its result: of n normalised numbers, δ has
    n − 2 directions left (RMS norms: n − 1).
    """
    made = passage.made(operation)
    signal = passage.signals[made[0]] if made else None
    if signal is None:
        return None
    gamma = 1.0
    for parameter in passage.parameters(operation, "norm-scale", "weight", "other"):
        weight = passage.weight(parameter)
        if weight is None:
            return None
        gamma *= weight.square
    statistics = operation.option("batch_statistics")
    if statistics and not statistics[0]:
        return gamma
    eps = (operation.option("eps") or (1e-5,))[0]
    spread = max(0.0, signal.square - _common(operation, signal)) + eps
    lost = 1 if operation.function == "rms_norm" else 2
    n = _normalised_together(operation)
    return gamma / spread * max(0.0, 1 - lost / n)


def _normalised_together(operation: Operation) -> int:
    name, shape, channels = operation.function, operation.shape, _channels(operation)
    if name == "batch_norm":
        return max(1, _count(shape) // max(1, channels))
    if name in ("group_norm", "instance_norm"):
        groups = int((operation.option("groups") or (float(channels),))[0])
        return max(1, _count(shape[1:]) // groups)
    return max(1, _count(tuple(shape[int(a)] for a in operation.option("axes"))))


def _common(operation: Operation, signal: Signal) -> float:
    """E x̄² of the mean that is taken away."""
    name, shape, channels = operation.function, operation.shape, _channels(operation)
    if name == "rms_norm":
        return 0.0
    if name == "batch_norm":
        positions = max(1, _count(shape[1:]) // max(1, channels))
        n = max(1, shape[0])
        within = (signal.square + (positions - 1) * signal.positions) / positions
        return (within + (n - 1) * signal.samples) / n
    if name in ("group_norm", "instance_norm"):
        groups = int((operation.option("groups") or (float(channels),))[0])
        spatial = _count(shape[1:]) // max(1, channels)
        each = max(1, channels // groups)
        return averaged(signal, [("unit", each), (POSITION, spatial)], ()).square
    labels = [
        (signal.axes[int(a)], shape[int(a)])
        for a in operation.option("axes")
        if int(a) < len(signal.axes)
    ]
    return averaged(signal, labels, ()).square if labels else signal.mean**2


def _channels(operation: Operation) -> int:
    """Channels of what is normalised: behind the batch, or wherever the units are."""
    if len(operation.shape) < 2:
        return 1
    return operation.shape[1 if operation.unit_axis is None else operation.unit_axis]


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def _rescaled(signal: Signal, operation: Operation, passage: Passage) -> Signal | None:
    """γ per unit, then β."""
    result = signal
    for parameter in passage.parameters(operation, "norm-scale", "weight", "other"):
        weight = passage.weight(parameter)
        if weight is None:
            return None
        result = replace(
            result,
            mean=weight.mean * result.mean,
            square=weight.square * result.square,
            near=weight.square * result.near,
            positions=weight.square * result.positions,
            samples=weight.square * result.samples,
        )
    for parameter in passage.parameters(operation, "norm-shift", "bias"):
        weight = passage.weight(parameter)
        if weight is None:
            return None
        cross = 2 * weight.mean * result.mean + weight.square
        result = replace(
            result,
            mean=result.mean + weight.mean,
            square=result.square + cross,
            near=result.near + cross,
            positions=result.positions + cross,
            samples=result.samples + cross,
        )
    return result
