"""Norms, found by what they do: a signal, centred or not, over a size measured of itself.

No library's names are asked: Flax, Haiku, Equinox, Keras and plain functions write
(x − x̄)·(v + ε)^(−1/2)·γ + β in different orders and shapes. What makes it a norm is that the
factor stems from averages of the very signal that it multiplies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from firstlight.frameworks.jax.flat import Atom, Step
from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.found import Found, numbers, several
from firstlight.records.network import Options

_FAR = 48
"""Steps that one statistic may take."""

_STATISTIC = frozenset(
    {
        *("add", "sub", "mul", "div", "max", "square", "integer_pow", "pow", "sqrt", "rsqrt"),
        *("abs", "reduce_sum", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "neg"),
        *("convert_element_type", "copy", "stop_gradient", "select_n", "ge", "gt", "dot_general"),
        *("transpose", "conj", "real", "exp", "log"),
    }
)
_ROOTS = frozenset({"rsqrt", "sqrt", "pow"})


@dataclass(frozen=True, kw_only=True)
class _Core:
    """A normalised signal, before or after its scale.

    Args:
        source: the signal.
        axes: over which its size was measured; None where it came from outside (running values).
        centred: whether its mean was taken away.
        eps: what was added to the variance.
        scales: parameters it was multiplied with.
        shape: of what was normalised, which is another where channels were put in groups.
    """

    source: Atom
    axes: tuple[int, ...] | None
    centred: bool
    eps: float
    scales: tuple[str, ...]
    shape: tuple[int, ...]
    along: frozenset[int] = frozenset()
    """The axes along which the scale differs."""


def norm(flow: Flow, result: int) -> Found | None:
    """A norm that ends in this value: its scale, shift, and change of shape included."""
    value: Atom = flow.kept(result)
    shifts: tuple[str, ...] = ()
    step = flow.made_by(value, "add", "sub")
    if step is not None:
        sides = [a for a in step.inputs if flow.is_signal(a)]
        others = [a for a in step.inputs if flow.is_expression(a)]
        folded = _folded(flow, step) if step.name == "add" and len(sides) == 2 else None
        if folded is not None:
            return _named(flow, result, *folded)
        if step.name == "sub" or len(sides) != 1 or len(others) != 1:
            return None
        shifts = flow.names(others[0])
        value = flow.kept(sides[0])
    core = _core(flow, value)
    if core is None:
        return None
    return _named(flow, result, core, shifts)


def _folded(flow: Flow, step: Step) -> tuple[_Core, tuple[str, ...]] | None:
    """x·a + b with a = γ·(v + ε)^(−1/2) and b = β − x̄·a, as Keras writes it; and what shifts."""
    for product, rest in (step.inputs, step.inputs[::-1]):
        made = flow.made_by(flow.kept(product), "mul")
        for signal, factor in (made.inputs, made.inputs[::-1]) if made is not None else ():
            whole = flow.kept(signal)
            size = _walk(flow, factor, {whole})
            mean = _walk(flow, rest, {whole}) if size and size.roots and size.inverse else None
            if size and size.axes and mean and mean.axes:
                shifts = tuple(name for name in mean.names if name not in size.names)
                return _core_of(flow, whole, size.axes, size, centred=True), shifts
    return None


def _core(flow: Flow, value: Atom) -> _Core | None:
    """A signal over its size, through a scale and a change of shape."""
    step = flow.made_by(value, "mul", "div", "reshape")
    if step is None:
        return None
    if step.name == "reshape":  # out of groups
        source = flow.made_by(flow.kept(step.inputs[0]), "mul", "div", "add")
        if source is None or len(flow.shape(step.inputs[0])) <= len(flow.shape(value)):
            return None
        return _core(flow, flow.kept(step.inputs[0]))
    left, right = step.inputs
    sides = ((left, right),) if step.name == "div" else ((left, right), (right, left))
    for signal, factor in sides:
        if step.name == "mul" and flow.is_expression(factor) and not flow.is_signal(factor):
            inner = _core(flow, flow.kept(signal))
            if inner is not None:
                return _scaled(flow, inner, factor, len(flow.shape(value)))
    for signal, factor in sides:
        found = _measured_core(flow, signal, factor, divided=step.name == "div")
        if found is not None:
            return found
    return None


def _scaled(flow: Flow, core: _Core, scale: Atom, rank: int) -> _Core:
    return replace(
        core,
        scales=several(core.scales, flow.names(scale)),
        along=core.along | flow.varying(scale, rank),
    )


def _measured_core(flow: Flow, signal: Atom, factor: Atom, *, divided: bool) -> _Core | None:
    if not flow.is_signal(signal):
        return None
    signal = flow.kept(signal)
    centre = flow.made_by(signal, "sub")
    if centre is not None:
        whole, taken = flow.kept(centre.inputs[0]), centre.inputs[1]
        mean = _walk(flow, taken, {whole})
        size = _walk(flow, factor, {whole})
        if flow.is_signal(whole) and mean and size and mean.axes and size.roots:
            axes = size.axes or mean.axes
            if divided != size.inverse:
                return _core_of(flow, whole, axes, size, centred=True)
        elif not flow.is_signal(taken) and not flow.is_signal(factor) and flow.is_signal(whole):
            outside = _walk(flow, factor, set(), outside=True)
            if outside and outside.roots and divided != outside.inverse and not flow.number(taken):
                return _core_of(flow, whole, None, outside, centred=True)
    scaled = flow.made_by(signal, "mul")
    if scaled is not None:  # (x − x̄)·γ before it is multiplied with its size
        for inner, scale in (scaled.inputs, scaled.inputs[::-1]):
            if flow.is_expression(scale) and flow.is_signal(inner):
                found = _measured_core(flow, inner, factor, divided=divided)
                if found is not None:
                    return _scaled(flow, found, scale, len(flow.shape(signal)))
    size = _walk(flow, factor, {signal})
    if size and size.axes and size.roots and divided != size.inverse:
        return _core_of(flow, signal, size.axes, size, centred=False)
    return None


@dataclass
class _Size:
    """What a walk back over a statistic found."""

    axes: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    eps: float = 0.0
    roots: int = 0
    inverse: bool = False
    names: tuple[str, ...] = ()
    along: frozenset[int] = frozenset()


def _core_of(
    flow: Flow, source: Atom, axes: tuple[int, ...] | None, size: _Size, *, centred: bool
) -> _Core:
    return _Core(
        source=source,
        axes=axes,
        centred=centred,
        eps=size.eps,
        scales=size.names,
        along=size.along,
        shape=size.shape if axes is not None and size.shape else flow.shape(source),
    )


def _walk(flow: Flow, value: Atom, stop: set[Atom], *, outside: bool = False) -> _Size | None:
    """Walk back from a statistic to the signal that it was taken of; None if it is of another."""
    found = _Size()
    stack: list[Atom] = [value]
    seen: set[Atom] = set()
    met = outside
    rank = len(flow.shape(value))
    while stack:
        atom = stack.pop()
        if atom in seen or not isinstance(atom, int):
            continue
        seen.add(atom)
        if atom in stop:
            met = True
            continue
        if not flow.is_signal(atom) and not outside:
            if flow.is_expression(atom):
                found.names = several(found.names, flow.names(atom))
                found.along |= flow.varying(atom, rank)
            continue
        step = flow.step(atom)
        if step is None:
            if not outside:
                return None
            found.names = several(found.names, flow.names(atom))
            continue
        if step.name not in _STATISTIC or len(seen) > _FAR:
            return None
        _note(flow, step, found)
        stack.extend(step.inputs)
    return found if met else None


def _note(flow: Flow, step: Step, found: _Size) -> None:
    """What one step of a statistic tells."""
    if step.name == "reduce_sum":
        axes = tuple(int(a) for a in step.params["axes"])
        if not found.axes or len(axes) > len(found.axes):
            found.axes, found.shape = axes, flow.shape(step.inputs[0])
    elif step.name in _ROOTS:
        exponent = flow.number(step.inputs[1]) if step.name == "pow" else None
        if step.name != "pow" or (exponent is not None and abs(exponent) == 0.5):
            found.roots += 1
            found.inverse = found.inverse or step.name == "rsqrt" or (exponent or 0) < 0
    elif step.name == "div" and flow.number(step.inputs[0]) == 1:
        found.inverse = True
    elif step.name == "add" and not found.eps:
        number = next((n for n in map(flow.number, step.inputs) if n is not None), None)
        if number is not None and 0 < number < 0.1:
            found.eps = number


def _named(flow: Flow, result: int, core: _Core, shifts: tuple[str, ...]) -> Found | None:
    """The norm by the axes that were measured: a record as torch's reader has it."""
    shape, rank = flow.shape(result), len(flow.shape(result))
    source = core.source
    parameters = several(core.scales, shifts)
    grouped = len(core.shape) != rank
    options: Options = (("eps", (core.eps,)),)
    unit: int | None = rank - 1
    if grouped:
        before = flow.made_by(source, "reshape")
        if flow.shape(source) != shape and before is not None:
            source = before.inputs[0]
        if flow.shape(source) != shape or core.axes is None:
            return None
        kept = [a for a in range(1, len(core.shape)) if a not in core.axes]
        groups = prod(core.shape[a] for a in kept)
        # Channels last put the group before the last axis, channels first behind the batch.
        unit = 1 if kept and kept[0] == 1 and rank > 2 and core.shape[-1] == shape[-1] else unit
        function, options = "group_norm", (("groups", (float(groups),)), *options)
    elif core.axes is None:
        function, options = "batch_norm", (*options, ("batch_statistics", (0.0,)))
        unit = _unit_of(flow, parameters, shape)
    else:
        left = [a for a in range(rank) if a not in core.axes]
        if not core.centred:
            function, options = "rms_norm", (("axes", numbers(sorted(core.axes))), *options)
        elif 0 in core.axes and len(left) == 1 and rank > 1:
            function, unit = "batch_norm", left[0]
            options = (*options, ("batch_statistics", (1.0,)))
        elif len(left) == 2 and left[0] == 0 and rank > 2 and _is_instance(core, left, rank):
            function, unit = "instance_norm", left[1]
        else:
            axes = tuple(sorted(core.axes, reverse=True))
            function, options = "layer_norm", (("axes", numbers(axes)), *options)
            unit = max(core.axes)
    return Found(
        result=result,
        kind="norm",
        function=function,
        operands=(source,),
        parameters=parameters,
        unit_axis=unit,
        options=options,
    )


def _is_instance(core: _Core, left: list[int], rank: int) -> bool:
    """Whether each channel is normalised by itself: its scale differs along what was kept."""
    if core.along:
        return left[1] in core.along
    return left[1] == rank - 1


def _unit_of(flow: Flow, names: tuple[str, ...], shape: tuple[int, ...]) -> int:
    """The axis that a norm's parameters have numbers for; the last one where two are as long."""
    sizes = {
        flow.size(value)
        for value, name in flow.parameters.items()
        if name in names and len(flow.shape(value)) == 1
    }
    return next((a for a in reversed(range(len(shape))) if shape[a] in sizes), len(shape) - 1)
