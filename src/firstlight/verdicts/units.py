"""Findings on units: equal, dead, saturated."""

from __future__ import annotations

import math
from collections.abc import Iterator

from firstlight.records.checkup import Finding, Reading
from firstlight.records.network import Operation
from firstlight.verdicts import limits
from firstlight.verdicts.cures import initialize
from firstlight.verdicts.view import View, asleep, named


def _unit_reading(view: View, operation: Operation) -> Reading | None:
    """Where a layer's units have more twins: at itself, or (±z before an odd one) after φ."""
    after = view.graph.activation_after(operation)
    places = (operation, after, *(view.graph.parts(after) if after is not None else ()))
    readings = [reading for place in places if (reading := view.reading(place)) is not None]
    return max(readings, key=lambda reading: reading.twin_units or 0, default=None)


def _input_is_dead(view: View, operation: Operation) -> bool:
    """Whether a layer gives zeros though its weights are none: it is not what is wrong."""
    reading, weight = view.reading(operation), view.weight_of(operation)
    zeros = reading is not None and reading.second_moment and reading.second_moment.value == 0
    return bool(zeros and weight is not None and weight.value_rms > 0)


def _is_meant(view: View, operation: Operation) -> bool:
    """Whether a layer gives zeros because its weight is zero, and that weight will move."""
    weight = view.weight_of(operation)
    return weight is not None and weight.value_rms == 0 and not asleep(weight)


def _in_most_layers(view: View, layers: list[tuple[Operation, Reading, int]]) -> bool:
    """Whether half of the units or more are twins, in most hidden layers."""
    halved = sum(2 * twins >= operation.units for operation, _, twins in layers)
    return halved > limits.TWINS_ERROR * len(view.hidden)


def symmetric(view: View) -> Iterator[Finding]:
    """symmetric-units: units that equal others in value and in gradient stay equal for ever."""
    layers = []
    for operation in view.observation.network.weighted():
        reading = _unit_reading(view, operation)
        if _input_is_dead(view, operation) or _is_meant(view, operation):
            continue
        if reading is not None and reading.twin_units and operation.units > 1:
            layers.append((operation, reading, reading.twin_units))
    if not layers:
        return
    operation, reading, twins = max(layers, key=lambda row: row[2] / row[0].units)
    units = operation.units
    first, second = reading.twin_example or (0, 1)
    cause = f"units {first} and {second} of `{operation.name}` have the same weights in and out"
    yield Finding(
        kind="symmetric-units",
        severity="error" if _in_most_layers(view, layers) else "warning",
        where=tuple(op.name for op, _, _ in layers),
        evidence=(
            f"{twins} of {units} units of `{operation.name}` equal another unit in value and in"
            f" gradient on all {view.observation.samples} samples"
            + (f"; so in {len(layers)} layers" if len(layers) > 1 else "")
        ),
        cause=f"{cause}; equal gradients keep them equal through all of training",
        cure=initialize(why="random weights break the symmetry"),
    )


def silenced(view: View) -> Iterator[Finding]:
    """dead-units, of a whole layer: nothing passes it, whatever else is wrong."""
    yield from (f for f in _dead(view) if view.silenced)


def dead(view: View) -> Iterator[Finding]:
    """dead-units: zero on every sample, so that no gradient passes through them."""
    yield from (f for f in _dead(view) if not view.silenced)


def _dead(view: View) -> Iterator[Finding]:
    enough = view.observation.samples >= limits.DEAD_SAMPLES
    rows = [
        r
        for r in view.observation.readings
        if (r.dead_fraction or 0) >= limits.DEAD_WARNING
        and (enough or r in view.silenced)
        and r.operation <= view.model_ends
        and not view.receives_nothing(view.observation.network.operations[r.operation])
    ]
    if not rows:
        return
    # The first layer that is mostly dead explains those behind it.
    errors = [row for row in rows if _is_fatal(view, row)]
    leading = errors[0] if errors else max(rows, key=lambda row: row.dead_fraction or 0)
    share = leading.dead_fraction or 0.0
    weighted = _producer(view, leading)
    bias = _mean_words(view, weighted)
    shifting = _shifted_by(view, leading)
    shift = () if shifting is None else (shifting.name,)
    yield Finding(
        kind="dead-units",
        severity="error" if errors else "warning",
        where=(leading.name, *(row.name for row in rows if row is not leading), *shift),
        evidence=(
            f"{share:.0%} of the units after `{leading.name}` are zero on all"
            f" {view.observation.samples} samples (limit"
            f" {limits.DEAD_ERROR if errors else limits.DEAD_WARNING:.0%})"
            + (f"; so in {len(rows)} layers" if len(rows) > 1 else "")
        ),
        cause=f"their pre-activations are zero or negative for every input{bias}",
        cure=initialize(why="zero biases, centred weights"),
    )


def _is_fatal(view: View, reading: Reading) -> bool:
    """Whether too many units are dead to be chance, on the way that the signal takes.

    Where all samples look alike (a pooled picture), half the units of a healthy layer are off, and
    three of the four units of a small gate often.
    """
    units = view.observation.network.operations[reading.operation].units
    dead = reading.dead_fraction or 0.0
    if dead < limits.DEAD_ERROR or reading.operation in view.graph.steering:
        return False
    from_chance = sum(math.comb(units, k) for k in range(round(dead * units), units + 1))
    return dead == 1 or from_chance / 2**units < limits.CHANCE


def _producer(view: View, reading: Reading) -> Operation | None:
    operation = view.observation.network.operations[reading.operation]
    while operation.inputs and operation.kind != "weighted":
        operation = view.observation.network.operations[operation.inputs[0]]
    return operation if operation.kind == "weighted" else None


def _shifted_by(view: View, reading: Reading) -> Operation | None:
    """The nearest operation before an activation that has parameters: a weight, or a norm."""
    operation = view.observation.network.operations[reading.operation]
    while operation.inputs:
        operation = view.observation.network.operations[operation.inputs[0]]
        if operation.parameters:
            return operation
    return None


def _mean_words(view: View, operation: Operation | None) -> str:
    reading = view.reading(operation)
    if operation is None or reading is None or reading.mean is None or not reading.second_moment:
        return ""
    spread = max(reading.second_moment.value - reading.mean**2, 0.0) ** 0.5
    return f": mean {reading.mean:.3g} with standard deviation {spread:.3g} at `{operation.name}`"


def flat(view: View) -> Iterator[Finding]:
    """saturated-units, of most of a layer: nothing comes back through it."""
    yield from (f for f in _saturated(view) if f.severity == "error")


def saturated(view: View) -> Iterator[Finding]:
    """saturated-units: on the flat ends of a bounded activation, where φ′ is nearly zero."""
    yield from (f for f in _saturated(view) if f.severity != "error")


def _saturated(view: View) -> Iterator[Finding]:
    rows = [
        r
        for r in view.observation.readings
        if (r.saturated_fraction or 0) >= limits.SATURATED_WARNING
        and _is_hidden(view, r)
        and not view.graph.is_self_gate(view.observation.network.operations[r.operation])
    ]
    if not rows:
        return
    worst = max(rows, key=lambda row: row.saturated_fraction or 0)
    share = worst.saturated_fraction or 0.0
    saturating = share >= limits.SATURATED_ERROR
    limit = limits.SATURATED_ERROR if saturating else limits.SATURATED_WARNING
    producer = _producer(view, worst)
    before = view.reading(producer)
    rms = before.second_moment.value**0.5 if before and before.second_moment else None
    large = f"pre-activations of RMS {rms:.3g}" if rms is not None else "large pre-activations"
    recurrent = _recurrent(view, worst)
    words = f"{large}: the weights before it are too large"
    leading: tuple[str, ...] = ()
    if recurrent is not None and rms is not None and rms < 1:  # φ is not flat there
        leading = (recurrent.name,)
        words = f"`{recurrent.name}` adds large numbers at each step: its weights are too large"
    yield Finding(
        kind="saturated-units",
        severity="error" if limit == limits.SATURATED_ERROR else "warning",
        where=(*(row.name for row in rows), *leading, *_producers(view, rows)),
        evidence=(
            f"{share:.0%} of the values after `{worst.name}` lie on the flat ends"
            f" (limit {limit:.0%})"
            + (f"; so in {named([row.name for row in rows])}" if len(rows) > 1 else "")
        ),
        cause=words,
        cure=initialize(),
    )


def _recurrent(view: View, reading: Reading) -> Operation | None:
    """The recurrent weight that adds to an activation's input at each step but the first."""
    operations = view.graph.operations
    users = (operations[index] for index in view.graph.consumers[reading.operation])
    return next((op for op in users if op.kind == "composite" and op.parameters), None)


def _producers(view: View, rows: list[Reading]) -> list[str]:
    """The weights that make the pre-activations of some activations."""
    makers = (_producer(view, row) for row in rows)
    return list(dict.fromkeys(maker.name for maker in makers if maker is not None))


def _is_hidden(view: View, reading: Reading) -> bool:
    """An output squashed on purpose is no fault, unless most of it is flat; nor is a loss."""
    producer = _producer(view, reading)
    if producer is None or reading.operation > view.model_ends:
        return False
    flat = (reading.saturated_fraction or 0) >= limits.SATURATED_ERROR
    return flat or not view.graph.is_head(producer)
