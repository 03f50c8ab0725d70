"""Findings at the ends: values that are no numbers, and gradients that do not arrive."""

from __future__ import annotations

from collections.abc import Iterator

from firstlight.records.checkup import Finding, ParameterReading, Reading
from firstlight.verdicts import limits
from firstlight.verdicts.cures import initialize
from firstlight.verdicts.view import View, asleep, named


def non_finite_parameters(view: View) -> Iterator[Finding]:
    """non-finite, of parameters: whatever else is wrong, this comes first."""
    bad = [p for p in view.observation.parameters if p.non_finite]
    if bad:
        yield Finding(
            kind="non-finite",
            severity="error",
            where=tuple(p.name for p in bad),
            evidence=f"{bad[0].non_finite} values of `{bad[0].name}` are NaN or infinite",
            cause="memory that was never filled, a failed load, or a scale that overflowed",
            cure=initialize(),
        )


def _readers(view: View, reading: Reading) -> list[str]:
    """The operations that a gradient comes back from."""
    readers = view.graph.consumers[reading.operation]
    return [view.graph.operations[index].name for index in readers]


def non_finite_signal(view: View) -> Iterator[Finding]:
    """non-finite, of the signal: the first NaN or infinity, and what made it."""
    forward = next((r for r in view.observation.readings if r.non_finite), None)
    if forward is not None:
        yield Finding(
            kind="non-finite",
            severity="error",
            where=(forward.name,),
            evidence=f"{forward.non_finite} values after `{forward.name}` are NaN or infinite,"
            " the first in the forward pass",
            cause=f"this operation overflows or divides by zero in {view.observation.dtype}",
            cure=initialize(why="or look at this operation's input"),
        )
        return
    backward = [r for r in view.observation.readings if r.non_finite_delta]
    if backward:
        yield Finding(
            kind="non-finite",
            severity="error",
            where=(*_readers(view, backward[-1]), backward[-1].name),
            evidence=f"the gradient at `{backward[-1].name}` is NaN or infinite, the signal is not",
            cause="the backward pass overflows, or a derivative is infinite at this point",
            cure=initialize(why="or look at this operation's derivative"),
        )


def _trainable(view: View) -> list[ParameterReading]:
    full = (p for p in view.observation.network.parameters if 0 not in p.layout.shape)
    names = {p.name for p in full if p.trainable}
    return [reading for reading in view.observation.parameters if reading.name in names]


def _on_the_way(view: View) -> set[str]:
    """Parameters of operations from which a path leads to the loss, or to the outputs."""
    operations = view.graph.operations
    ends = [op.index for op in operations if op.kind == "loss"]
    seen = view.graph.ancestors(ends or view.observation.network.outputs)
    return {name for index in seen for name in operations[index].parameters}


def _copied(view: View, names: list[str]) -> list[str]:
    """Those of modules whose weights equal, number by number, ones that get a gradient."""
    modules = {
        name.rpartition(".")[0]
        for name in names
        if (twin := view.parameters[name].equals) is not None
        and view.parameters[twin].gradient_rms is not None
    }
    return [name for name in names if name.rpartition(".")[0] in modules]


def _zero_factors(view: View, names: list[str]) -> list[str]:
    """Those that multiply a signal, and are zero."""
    network, kinds = view.observation.network, ("weight", "recurrent", "other")
    products = (name for name in names if network.parameter(name).kind in kinds)
    return [name for name in products if view.parameters[name].value_rms == 0]


def nothing_learns(view: View) -> Iterator[Finding]:
    """no-gradient or unreachable, of every trainable parameter."""
    readings = _trainable(view)
    if not readings or not all(asleep(reading) for reading in readings):
        return
    cut_off = all(reading.gradient_rms is None for reading in readings)
    zeros = _zero_factors(view, [reading.name for reading in readings])
    yield Finding(
        kind="unreachable" if cut_off else "no-gradient",
        severity="error",
        where=tuple(reading.name for reading in readings),
        evidence="no trainable parameter receives a gradient"
        + ("" if cut_off else ", nor does any after a few steps"),
        cause=f"the output or loss is cut off from the parameters ({view.habit.cuts}, argmax …)"
        if cut_off
        else "the batch holds nothing but zeros"
        if view.observation.input_second_moment == 0
        else "factors that are all zero stop each other's gradient (LoRA's A and B, two zero"
        " layers in a row), units are dead, or the gradient has vanished below the smallest number",
        cure="return the differentiable output, or pass step=lambda model, batch: loss"
        if cut_off
        else initialize(view.observation.network, zeros),
    )


def no_gradient(view: View) -> Iterator[Finding]:
    """no-gradient, now or after a few steps; unreachable, where the loss does not depend on it."""
    readings = _trainable(view)
    if all(asleep(reading) for reading in readings):
        return  # said already
    network = view.observation.network
    unused = [p.name for p in readings if p.gradient_rms is None]
    on_the_way = _on_the_way(view)
    cut = [name for name in unused if name in on_the_way]
    teacher = _copied(view, cut)
    if teacher:
        yield Finding(
            kind="unreachable",
            severity="note",
            where=tuple(teacher),
            evidence=f"{named(teacher)} start as copies of trained parameters, and no gradient"
            " comes back to them",
            cause=f"a teacher or target network, run {view.habit.no_gradient} as is meant",
            cure=view.habit.freezing(network, teacher),
        )
    cut = [name for name in cut if name not in teacher]
    if cut:
        yield Finding(
            kind="unreachable",
            severity="error" if len(cut) > limits.ASLEEP_ERROR * len(readings) else "warning",
            where=tuple(cut),
            evidence=f"the output depends on {named(cut)}, but no gradient comes back",
            cause=f"cut off on the way by {view.habit.cuts} or a function that has no derivative",
            cure=f"let the gradient through, or {view.habit.to_freeze}",
        )
    unused = [name for name in unused if name not in on_the_way]
    if unused:
        yield Finding(
            kind="unreachable",
            severity="warning",
            where=tuple(unused),
            evidence=f"the loss does not depend on {named(unused)}",
            cause="not used in this forward pass, or only for outputs that the loss does not read",
            cure=view.habit.freezing(network, unused),
        )
    zero = [p for p in readings if p.gradient_rms == 0 and asleep(p)]
    weights = [p.name for p in zero if network.parameter(p.name).kind != "bias"]
    if not weights:
        return
    drawn = [p.name for p in readings if network.parameter(p.name).kind != "bias"]
    factors = _zero_factors(view, weights)
    many = len(weights) > limits.ASLEEP_ERROR * len(drawn)
    yield Finding(
        kind="no-gradient",
        severity="error" if many or factors else "warning",
        where=tuple(factors + [name for name in weights if name not in factors]),
        evidence=f"the gradient of {named(weights)} is exactly zero, also after a few steps",
        cause="factors that are all zero stop each other's gradient (LoRA's A and B, two zero"
        " layers in a row)"
        if factors
        else "units before the loss are zero or dead for every sample, the head does not read what"
        " they make, or the gradient has vanished below the smallest number",
        cure=initialize(network, factors),
    )


def frozen(view: View) -> Iterator[Finding]:
    """no-gradient, as a note: a few weights are frozen while the rest is trained."""
    weights = [p for p in view.observation.network.parameters if p.kind in ("weight", "recurrent")]
    still = [p.name for p in weights if not p.trainable]
    everything = bool(weights) and not _trainable(view)
    if not everything and not 0 < len(still) <= limits.FROZEN_FEW * len(weights):
        return
    yield Finding(
        kind="no-gradient",
        severity="note",
        where=tuple(still),
        evidence=f"all parameters are frozen{view.habit.frozen}"
        if everything
        else f"{named(still)} of {len(weights)} weights are frozen{view.habit.frozen}",
        cause="meant, or left over from another training",
        cure=view.habit.unfreeze,
    )
