"""Findings on weights that hold one value: zero or another constant."""

from __future__ import annotations

from collections.abc import Iterator

from firstlight.records.checkup import Finding, ParameterReading
from firstlight.records.network import Operation, Parameter
from firstlight.verdicts.cures import initialize
from firstlight.verdicts.view import View, asleep, named

_CURE = initialize(why="random weights break the symmetry")


def _units(parameter: Parameter) -> int:
    """Units that one matrix of a weight makes, all from the same inputs."""
    layout = parameter.layout
    return layout.out if layout.in_ * len(layout.shape) > 1 else 1


def _constant_weights(view: View) -> list[ParameterReading]:
    """Hidden weights of one value that make several units."""
    network, hidden = view.observation.network, set(_hidden_weights(view))
    return [
        reading
        for reading in view.observation.parameters
        if reading.constant
        and reading.name in hidden
        and _units(network.parameter(reading.name)) > 1
    ]


def _hidden_weights(view: View) -> list[str]:
    network, parts = view.observation.network, view.zero_heads
    heads = {
        name
        for operation in network.weighted()
        if view.graph.is_head(operation) or operation.index in parts
        for name in operation.parameters
    }
    drawn = [p.name for p in network.parameters if p.kind in ("weight", "recurrent")]
    return [name for name in drawn if name not in heads]


def _finding(view: View, rows: list[ParameterReading]) -> Finding:
    network = view.observation.network
    first = rows[0]
    owners: dict[str, Operation] = {n: op for op in network.weighted() for n in op.parameters}
    owner = owners[first.name].name if first.name in owners else first.name.rpartition(".")[0]
    value = "zero" if first.value_rms == 0 else "constant"
    units = _units(network.parameter(first.name))
    return Finding(
        kind="symmetric-units",
        severity="error",
        where=tuple(owners[r.name].name if r.name in owners else r.name for r in rows),
        evidence=f"all values of `{first.name}` are {_value(first)}"
        + (f"; {len(rows)} weights hold one value each" if len(rows) > 1 else ""),
        cause=f"{value} weights: the {units} units of `{owner}` are identical; equal gradients keep"
        " them equal through all of training",
        cure=_CURE,
    )


def _value(reading: ParameterReading) -> str:
    return "0" if reading.value_rms == 0 else f"±{reading.value_rms:.3g}"


def all_constant(view: View) -> Iterator[Finding]:
    """symmetric-units, where most hidden weights hold one value: the first cause of all else."""
    rows = _constant_weights(view)
    if rows and 2 * len(rows) > len(_hidden_weights(view)):
        stuck = [r for r in rows if r.value_rms or asleep(r) or _is_symmetric(view, r)]
        if stuck:
            yield _finding(view, rows)


def nothing_passes(view: View) -> Iterator[Finding]:
    """collapsed-samples, where zero weights on the way to the head let nothing of the input by.

    A zero weight at the end of a residual branch or in a gate is passed by the stream.
    """
    stopping = []
    for operation in view.spine:
        weight, reading = view.weight_of(operation), view.reading(operation)
        if operation.kind != "weighted" or weight is None or reading is None:
            continue
        if weight.value_rms == 0 and reading.sample_spread == 0:
            stopping.append((operation, weight))
    if not stopping:
        return
    most = 2 * len(stopping) > len(_hidden_weights(view))
    names = [weight.name for _, weight in stopping]
    yield Finding(
        kind="collapsed-samples",
        severity="error" if most else "warning",
        where=tuple(operation.name for operation, _ in stopping),
        evidence=f"`{stopping[0][0].name}` gives the same for every sample",
        cause=f"zero weights: {named(names)} let nothing of the input pass, so that what follows"
        " sees a constant until they have grown",
        cure=_CURE,
    )


def some_constant(view: View) -> Iterator[Finding]:
    """symmetric-units, of single layers: a constant, or zeros that no gradient ever moves.

    Zeros that get a gradient are meant (LoRA's B, a zero convolution); those that get none because
    every other factor of their branch is zero as well are told as ``no-gradient``.
    """
    rows = _constant_weights(view)
    if not rows or 2 * len(rows) > len(_hidden_weights(view)):
        return
    zero = {r.name for r in rows if r.value_rms == 0}
    dead_factors = {
        name
        for branch in view.graph.branches
        for op in branch.weights
        for name in op.parameters
        if sum(bool(zero.intersection(o.parameters)) for o in branch.weights) > 1
    }
    stuck = [r for r in rows if r.value_rms or (asleep(r) and r.name not in dead_factors)]
    if stuck:
        yield _finding(view, stuck)


def _is_symmetric(view: View, reading: ParameterReading) -> bool:
    """Whether the units of a weight were measured to be equal in value and in gradient."""
    for operation in view.observation.network.weighted():
        seen = view.reading(operation)
        if reading.name in operation.parameters and seen is not None and seen.twin_units:
            return True
    return False
