"""What a plan will do, operation by operation, and whether a measurement bears it out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from firstlight.laws.moments import scaled
from firstlight.network.backward import backward
from firstlight.network.prescribed import Prescribed, prescribed
from firstlight.network.propagation import forward
from firstlight.records.checkup import Observation
from firstlight.records.network import Network
from firstlight.records.plan import Forecast, PlanEntry

TOLERANCE = 0.1
"""Share by which theory may be off before the measured number stands in its place."""

WORTH = 0.02
"""Smaller corrections, of the logarithm of a scale, are not worth a word."""
_ABSURD = 7.0
"""A factor of a thousand is no correction but an error of the theory."""


def forecast(
    network: Network, entries: Iterable[PlanEntry], observation: Observation
) -> tuple[Forecast, ...]:
    """Moments of each result and gradient under a plan, from theory alone.

    Args:
        network: the model as it was read.
        entries: of the plan.
        observation: a pass before the plan: its inputs, kept parameters and batch size.

    Returns:
        One for each operation but the loss. ‖δ‖² is relative to the last operation that was
        measured and has one. What theory does not reach is None, to be ``measured``.
    """
    weights = prescribed(entries, observation.parameters)
    inputs = {reading.operation: reading for reading in observation.inputs}
    passage = forward(network, weights, inputs, observation.samples)
    deltas = backward(passage)
    measured = {reading.operation for reading in observation.readings}
    unit = next(
        (
            delta.square
            for operation in reversed(network.operations)
            if (delta := deltas[operation.index]) is not None
            and operation.index in measured
            and delta.square > 0
        ),
        None,
    )
    found = []
    for operation in network.operations:
        if operation.kind == "loss":
            continue
        signal, delta = passage.signals[operation.index], deltas[operation.index]
        found.append(
            Forecast(
                operation=operation.index,
                name=operation.name,
                second_moment=None if signal is None else signal.square,
                delta_square_per_sample=None
                if delta is None or unit is None
                else delta.square / unit,
                how="measured" if signal is None else "theory",
            )
        )
    return tuple(found)


def corrected(
    network: Network, entries: Iterable[PlanEntry], observation: Observation
) -> tuple[PlanEntry, ...]:
    """Entries whose scales theory brings to their targets, as a calibration would by measuring.

    The rules scale each weight by the mean and second moment of what arrives; the forecast knows
    besides how alike places and samples are, what padding and masks take away, and what averages
    keep.

    Args:
        network: the model as it was read.
        entries: of the plan.
        observation: a pass before the plan.
    """
    given = tuple(entries)
    weights = prescribed(given, observation.parameters)
    inputs = {reading.operation: reading for reading in observation.inputs}
    settled = forward(network, weights, inputs, observation.samples).weights
    return tuple(_at(entry, weights, settled) for entry in given)


def _at(
    entry: PlanEntry, before: Mapping[str, Prescribed], after: Mapping[str, Prescribed]
) -> PlanEntry:
    old, new = before.get(entry.name), after.get(entry.name)
    if entry.law is None or not entry.calibrate or old is None or new is None or old.square <= 0:
        return entry
    # Theory is not exact to more; and what frameworks measure in other roundings gives one number.
    factor = float(f"{math.sqrt(new.square / old.square):.4g}")
    if not WORTH < abs(math.log(factor)) < _ABSURD:
        return entry
    reason = f"{entry.reason}; × {factor:.3g} by the forecast of what arrives"
    return replace(entry, law=scaled(entry.law, factor), reason=reason)


def with_states(
    network: Network, entries: Iterable[PlanEntry], forecasts: Iterable[Forecast]
) -> tuple[PlanEntry, ...]:
    """Entries of recurrent weights with what an isometry makes of the state as their target.

    Args:
        network: the model as it was read.
        entries: of the plan.
        forecasts: of the same plan.
    """
    moments = {f.operation: f.second_moment for f in forecasts}

    def state(name: str) -> float | None:
        seen = [
            moments.get(op.index)
            for op in network.operations
            if name in op.parameters and op.kind in ("weighted", "composite")
        ]
        known = [square for square in seen if square]
        return sum(known) / len(known) if known else None

    return tuple(
        replace(entry, target=state(entry.name))
        if entry.rule == "recurrent" and entry.target is None
        else entry
        for entry in entries
    )


def compare(forecasts: Iterable[Forecast], observation: Observation) -> tuple[Forecast, ...]:
    """A forecast after the plan was drawn: where theory was off, the measured number.

    Args:
        forecasts: of the plan.
        observation: a pass after the plan was applied.

    Returns:
        The same operations; ``how`` is ``measured`` where theory was silent or off by more than a
        tenth, in the second moment, and the number is then the measured one.
    """
    readings = {reading.operation: reading for reading in observation.readings}
    unit = next(
        (
            reading.delta_square_per_sample.value
            for reading in reversed(observation.readings)
            if reading.delta_square_per_sample and reading.delta_square_per_sample.value > 0
        ),
        None,
    )
    found = []
    for expected in forecasts:
        reading = readings.get(expected.operation)
        if reading is None or reading.second_moment is None or reading.name != expected.name:
            found.append(expected)
            continue
        seen = reading.second_moment.value
        if agrees(expected.second_moment, seen):
            found.append(expected)
            continue
        delta = reading.delta_square_per_sample
        found.append(
            replace(
                expected,
                second_moment=seen,
                delta_square_per_sample=delta.value / unit
                if delta is not None and unit
                else expected.delta_square_per_sample,
                how="measured",
            )
        )
    return tuple(found)


def agrees(expected: float | None, seen: float) -> bool:
    """Whether theory is within a tenth of what was measured."""
    return expected is not None and abs(expected - seen) <= TOLERANCE * abs(seen)
