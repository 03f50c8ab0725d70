"""Softmax, averages, pooling windows and dropout, by what their steps do."""

from __future__ import annotations

from math import isclose, prod

from firstlight.frameworks.jax.flat import Atom, Step
from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.found import Found, numbers
from firstlight.frameworks.jax.moves import after, back, order_of
from firstlight.records.network import Options

_FAR = 8
_CLOSE = 1e-4
"""Relative difference of a constant from what it should be; half types round that much."""


def softmax(flow: Flow, result: int) -> Found | None:
    """exp(x − max) over its sum, or x − log Σ exp x."""
    step = flow.made_by(flow.kept(result), "div", "sub", "mul")
    if step is None:
        return None
    top, bottom = step.inputs[:2]
    if step.name == "sub":
        log = flow.made_by(flow.spread(bottom), "log")
        summed = None if log is None else _summed(flow, log.inputs[0])
        if summed is None or flow.kept(_base(flow, summed)) != flow.kept(top):
            return None
        name, shifted = "log_softmax", top
    else:
        summed = _summed(flow, bottom)
        over = flow.made_by(flow.kept(top), "exp")
        if summed is None or over is None or flow.kept(summed.inputs[0]) != flow.kept(top):
            return None
        name, shifted = "softmax", over.inputs[0]
    source = _unshifted(flow, shifted)
    axes = numbers(summed.params["axes"])
    return Found(
        result=result, kind="softmax", function=name, operands=(source,), options=(("axes", axes),)
    )


def logsumexp(flow: Flow, result: int) -> Found | None:
    """Log Σ exp(x − max) + max."""
    step = flow.made_by(flow.kept(result), "add")
    if step is None:
        return None
    for log in step.inputs:
        logarithm = flow.made_by(flow.spread(log), "log")
        inner = None if logarithm is None else logarithm.inputs[0]
        size = None if inner is None else flow.made_by(flow.spread(inner), "abs")
        summed = None if inner is None else _summed(flow, inner if size is None else size.inputs[0])
        if summed is None:
            continue
        shifted = _base(flow, summed)
        source = _unshifted(flow, shifted)
        if source is not shifted:
            axes = numbers(summed.params["axes"])
            return Found(
                result=result,
                kind="other",
                function="logsumexp",
                operands=(source,),
                options=(("axes", axes),),
            )
    return None


def _summed(flow: Flow, value: Atom) -> Step | None:
    """The sum of exponentials that a value is."""
    step = flow.made_by(flow.spread(value), "reduce_sum")
    if step is None or flow.made_by(flow.kept(step.inputs[0]), "exp") is None:
        return None
    return step


def _base(flow: Flow, summed: Step) -> Atom:
    step = flow.made_by(flow.kept(summed.inputs[0]), "exp")
    assert step is not None
    return step.inputs[0]


def _unshifted(flow: Flow, value: Atom) -> Atom:
    """Logits before their maximum was taken away."""
    step = flow.made_by(flow.kept(value), "sub")
    if step is None:
        return value
    top = step.inputs[1]
    for _ in range(8):
        found = flow.step(flow.spread(top))
        if found is None:
            return value
        if found.name == "reduce_max":
            same = flow.kept(found.inputs[0]) == flow.kept(step.inputs[0])
            return step.inputs[0] if same else value
        if found.name not in ("stop_gradient", "max", "select_n"):
            return value
        top = next((a for a in found.inputs[::-1] if flow.is_signal(a)), found.inputs[-1])
    return value


def mean(flow: Flow, result: int) -> Found | None:
    """A sum over axes, divided by how many numbers they have."""
    value: Atom = result
    step = flow.made_by(value, "reshape", "broadcast_in_dim")
    if step is not None:  # axes that were kept with length one
        inner = step.inputs[0]
        if not isinstance(inner, int) or flow.only_user(inner) is not step:
            return None
        if flow.spread(value) != flow.spread(inner) or flow.size(value) != flow.size(inner):
            return None
        value = inner
    found = averaged(flow, value)
    if found is None:
        return None
    source, axes = found
    if step is not None:
        came = flow.shape(source)
        kept = tuple(1 if a in axes else n for a, n in enumerate(came))
        if flow.shape(result) != kept:
            return None
    return Found(
        result=result,
        kind="pool",
        function="mean",
        operands=(source,),
        options=(("axes", numbers(axes)),),
    )


def averaged(flow: Flow, value: Atom) -> tuple[Atom, tuple[int, ...]] | None:
    """What a value is the mean of, and over which axes."""
    step = flow.made_by(flow.kept(value), "div", "mul")
    if step is None:
        return None
    for total, count in (step.inputs, step.inputs[::-1]):
        number = flow.number(count)
        summed = flow.made_by(flow.spread(total), "reduce_sum")
        if number is None or summed is None or number <= 0:
            continue
        n = prod(flow.shape(summed.inputs[0])[a] for a in summed.params["axes"])
        wanted = n if step.name == "div" else 1 / max(n, 1)
        if isclose(number, wanted, rel_tol=_CLOSE):
            return flow.kept(summed.inputs[0]), tuple(summed.params["axes"])
        if step.name == "div":
            break
    return None


def pooled(flow: Flow, result: int) -> Found | None:
    """The largest or the average value of each window, moved axes before and after included."""
    atom: Atom = result
    order = tuple(range(len(flow.shape(result))))
    divided = False
    for _ in range(_FAR):
        step = flow.step(atom)
        if step is None or (atom != result and flow.only_user(step.outputs[0]) is None):
            return None
        if step.name in ("reduce_window_max", "reduce_window_sum"):
            break
        number = step.name in ("div", "mul") and not flow.is_signal(step.inputs[1])
        each = None if number else order_of(flow, step)
        if number and not divided:
            divided = True
        elif each is not None:
            order = after(order, each)
        else:
            return None
        atom = step.inputs[0]
    else:
        return None
    if step.name.endswith("sum") != divided or step.name.endswith("max") == divided:
        return None
    for source, before in back(flow, step.inputs[0]):
        if after(order, before) == tuple(range(len(flow.shape(source)))) and len(
            flow.shape(source)
        ) == len(order):
            return _window(step, result, source, order)
    return None


def _window(step: Step, result: int, source: Atom, order: tuple[int, ...]) -> Found:
    p, rank = step.params, len(order)
    name = "avg_pool" if step.name.endswith("sum") else "max_pool"

    def options(unit_axis: int | None) -> Options:
        places = [a for a in range(rank) if a not in (0, unit_axis)]
        if unit_axis is None:
            places = [a for a in range(rank) if p["window_dimensions"][order[a]] > 1]
        return (
            ("spatial", (float(len(places)),)),
            ("kernel", numbers(p["window_dimensions"][order[a]] for a in places)),
            ("stride", numbers(p["window_strides"][order[a]] for a in places)),
            ("padding", numbers(p["padding"][order[a]][0] for a in places)),
        )

    return Found(
        result=result,
        kind="pool",
        function=f"{name}{max(1, rank - 2)}d",
        operands=(source,),
        options=options,
    )


def dropout(flow: Flow, result: int) -> Found | None:
    """Values chosen by a random mask, the kept ones scaled up."""
    step = flow.made_by(flow.kept(result), "select_n", "mul", "div")
    if step is None:
        return None
    if step.name == "select_n":
        which, *cases = step.inputs
        kept = [a for a in cases if flow.is_signal(a)]
        if not _is_random(flow, which) or len(kept) != 1 or flow.number(_other(cases, kept)) != 0:
            return None
        source, scale = _scaled(flow, kept[0])
        rate = 1 - 1 / scale if scale else _share(flow, which, dropped=cases[0] != kept[0])
    else:
        found = _masked(flow, step)
        if found is None:
            return None
        source, mask, scale = found
        rate = 1 - 1 / scale if scale else _share(flow, mask, dropped=True)
    if rate is None or not 0 <= rate < 1:
        return None
    rate = round(rate, 6)
    return Found(result=result, kind="dropout", function="dropout", operands=(source,), rate=rate)


def _other(cases: list[Atom], kept: list[Atom]) -> Atom:
    return next(a for a in cases if a != kept[0])


def _is_random(flow: Flow, atom: Atom) -> bool:
    return isinstance(atom, int) and flow.random[atom]


def _scaled(flow: Flow, value: Atom) -> tuple[Atom, float | None]:
    """A signal before it was divided by the share that is kept, and the factor."""
    step = flow.made_by(value, "div", "mul")
    if step is not None:
        number = flow.number(step.inputs[1])
        if number:
            return step.inputs[0], 1 / number if step.name == "div" else number
        number = flow.number(step.inputs[0]) if step.name == "mul" else None
        if number:
            return step.inputs[1], number
    return value, None


def _masked(flow: Flow, step: Step) -> tuple[Atom, Atom, float | None] | None:
    """Of signal · mask: the signal, the mask, and what it was scaled with before or after."""
    scale: float | None = None
    if step.name == "div" or flow.number(step.inputs[1]) or flow.number(step.inputs[0]):
        whole, scale = _scaled(flow, step.outputs[0])
        inner = flow.made_by(whole, "mul")
        if inner is None or scale is None:
            return None
        step = inner
    for signal, mask in (step.inputs, step.inputs[::-1]):
        if not (flow.is_signal(signal) and _is_random(flow, mask)):
            continue
        base, factor = _scaled(flow, flow.spread(mask))
        base = flow.spread(base)
        if not isinstance(base, int) or flow.flat.aval(base).dtype != bool:
            continue
        if factor is None and scale is None:
            signal, factor = _scaled(flow, signal)
        return signal, base, scale if factor is None else factor
    return None


def _share(flow: Flow, mask: Atom, *, dropped: bool) -> float | None:
    """The share that is dropped, by the number that uniform random ones are compared with."""
    step = flow.made_by(flow.spread(mask), "lt", "le", "gt", "ge")
    if step is None:
        return None
    limit = flow.number(step.inputs[1])
    if limit is None:
        return None
    true = limit if step.name in ("lt", "le") else 1 - limit
    return 1 - true if dropped else true
