"""Steps that stand for themselves: sums, products, changes of shape and what has no other name."""

from __future__ import annotations

from typing import Any

from firstlight.frameworks.jax.flat import Atom, Step
from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.found import Found, numbers, several
from firstlight.frameworks.jax.moves import order_of, unmoved
from firstlight.frameworks.jax.products import terms
from firstlight.records.network import OperationKind, Options

_BINARY = {
    "add": "add",
    "add_any": "add",
    "sub": "sub",
    "mul": "mul",
    "div": "div",
    "max": "maximum",
    "min": "minimum",
    "pow": "pow",
    "rem": "fmod",
    "atan2": "atan2",
}
_REDUCING = {
    "reduce_sum": "sum",
    "reduce_max": "amax",
    "reduce_min": "amin",
    "reduce_prod": "prod",
    "cumsum": "cumsum",
    "cumprod": "cumprod",
    "cumlogsumexp": "logcumsumexp",
}
_MOVES = {
    "transpose": "permute",
    "reshape": "reshape",
    "expand_dims": "unsqueeze",
    "squeeze": "squeeze",
}
_NAMES = {"select_n": "where", "stop_gradient": "detach", "clamp": "clamp", "square": "square"}
_OPAQUE = frozenset(
    {"cond", "while", "scan", "custom_jvp_call", "custom_vjp_call", "pure_callback"}
)
_MASKED_BELOW = -1e4


def handed_on(flow: Flow, step: Step) -> Atom | None:
    """What a step hands on without being an operation: casts, copies, preparations to broadcast."""
    kept = flow.kept_by(step)
    if kept is not None:
        return kept
    if step.name == "optimization_barrier" and len(step.outputs) == 1:
        return step.inputs[0]
    if len(step.outputs) == 1 and (same := unmoved(flow, step.outputs[0])) is not None:
        return same
    if step.name not in ("broadcast_in_dim", "reshape"):
        return None
    if flow.shape(step.inputs[0]) == flow.shape(step.outputs[0]):
        return step.inputs[0]
    before, after = flow.shape(step.inputs[0]), flow.shape(step.outputs[0])
    users = [flow.steps[i] for i in flow.users[step.outputs[0]]]
    if not users or step.outputs[0] in flow.outputs or any(u.name not in _BINARY for u in users):
        return None
    rank = len(after)
    if step.name == "broadcast_in_dim":
        dims = tuple(int(d) for d in step.params["broadcast_dimensions"])
        return step.inputs[0] if dims == tuple(range(rank - len(before), rank)) else None
    padded = (1,) * (rank - len(before)) + before
    return step.inputs[0] if padded == after else None


def plain(flow: Flow, result: int) -> Found:
    """One step as an operation."""
    step = flow.step(result)
    assert step is not None
    name = step.name
    if name in _BINARY:
        return _binary(flow, step, result)
    shape = _shape(flow, step)
    if name == "squeeze" and shape is not None:  # one place of an axis: ``x[:, 0]``
        part = flow.made_by(step.inputs[0], "slice", "dynamic_slice")
        if part is not None and flow.only_user(part.outputs[0]) is step:
            step, shape = part, ("getitem", shape[1], ())
    signals = tuple(a for a in step.inputs if flow.is_signal(a))
    parameters = several(*(flow.names(a) for a in step.inputs if not flow.is_signal(a)))
    if shape is not None:
        function, order, also = shape
        options: Options = () if order is None else (("order", numbers(order)),)
        return Found(
            result=result,
            kind="shape",
            function=function,
            operands=signals,
            parameters=parameters,
            order=order,
            options=options,
            also=also,
        )
    if name in ("concatenate", "stack"):
        along = step.params["dimension" if name == "concatenate" else "axis"]
        return Found(
            result=result,
            kind="concatenate",
            function="cat" if name == "concatenate" else "stack",
            operands=step.inputs,
            parameters=parameters,
            options=(("axes", (float(along),)),),
        )
    if name in _REDUCING:
        axes = step.params.get("axes", (step.params.get("axis"),))
        return Found(
            result=result,
            kind="other",
            function=_REDUCING[name],
            operands=signals,
            options=(("axes", numbers(axes)),),
        )
    if name == "dot_general":
        return _product(flow, step, result)
    if name == "integer_pow":
        return _power(step, result, signals)
    if name == "select_n":
        return _chosen(flow, step, result, signals, parameters)
    kind: OperationKind = "composite" if name in _OPAQUE else "other"
    return Found(
        result=result,
        kind=kind,
        function=str(step.params.get("name") or name)
        if name in _OPAQUE
        else _NAMES.get(name, name),
        operands=signals,
        parameters=parameters,
        opaque=kind == "composite",
        also=tuple(v for v in step.outputs if v != result),
    )


def _binary(flow: Flow, step: Step, result: int) -> Found:
    name = _BINARY[step.name]
    parameters = several(*(flow.names(a) for a in step.inputs if not flow.is_signal(a)))
    signals = [a for a in step.inputs if flow.is_signal(a)]
    kind: OperationKind = "other"
    origins = {flow.spread(a) for a in signals}
    if len(origins) > 1 and step.name in ("add", "add_any", "sub", "mul"):
        kind = "multiply" if step.name == "mul" else "add"
    options: Options = ()
    asks: tuple[tuple[str, Atom], ...] = ()
    if len(signals) == 1:
        other = step.inputs[1] if step.inputs[0] == signals[0] else step.inputs[0]
        first = (("constant_first", (float(step.inputs[0] != signals[0]),)),)
        number = flow.number(other)
        if number is not None:
            if number < _MASKED_BELOW and name in ("add", "sub"):
                return _operation(result, kind, name, step, parameters)
            square = number**2
            options = (("constant", (number, square, square)), *first)
        elif isinstance(other, int) and flow.spread(other) in flow.parameters:
            options = ()
        else:
            options = first
            asks = (("expression" if flow.is_expression(other) else "constant", other),)
    return _operation(result, kind, name, step, parameters, options, asks)


def _operation(
    result: int,
    kind: OperationKind,
    name: str,
    step: Step,
    parameters: tuple[str, ...],
    options: Options = (),
    asks: tuple[tuple[str, Atom], ...] = (),
) -> Found:
    return Found(
        result=result,
        kind=kind,
        function=name,
        operands=step.inputs,
        parameters=parameters,
        options=options,
        asks=asks,
    )


def _power(step: Step, result: int, signals: tuple[Atom, ...]) -> Found:
    y = float(step.params["y"])
    options: Options = () if y == 2 else (("constant", (y, y * y, y * y)),)
    name = "square" if y == 2 else "pow"
    return Found(result=result, kind="other", function=name, operands=signals, options=options)


def _chosen(
    flow: Flow, step: Step, result: int, signals: tuple[Atom, ...], parameters: tuple[str, ...]
) -> Found:
    """A choice by a mask: torch's ``masked_fill`` where one case is a number."""
    which, *cases = step.inputs
    filled = [flow.number(a) for a in cases]
    if len(cases) == 2 and len(signals) == 1 and any(n is not None for n in filled):
        place = 0 if filled[0] is not None else 1
        number = filled[place]
        assert number is not None
        name = "masked" if number < _MASKED_BELOW else "filled"
        return Found(
            result=result,
            kind="other",
            function="masked_fill",
            operands=signals,
            options=((f"{name}_{place}", (number,)),),
            asks=((f"{name}_{place}", which),),
        )
    return Found(
        result=result, kind="other", function="where", operands=signals, parameters=parameters
    )


def _product(flow: Flow, step: Step, result: int) -> Found:
    """A product of two signals: ``matmul`` where it is laid out like one, else an einsum."""
    (left, right), (first, second) = step.params["dimension_numbers"]
    shapes = [flow.shape(a) for a in step.inputs]
    ranks = [len(s) for s in shapes]
    lead = tuple(range(len(first)))
    plain = (
        ranks[0] == ranks[1] == len(first) + 2
        and tuple(first) == lead == tuple(second)
        and tuple(left) == (ranks[0] - 1,)
        and tuple(right) == (ranks[1] - 2,)
    )
    return Found(
        result=result,
        kind="other",
        function="matmul" if plain else "einsum",
        operands=step.inputs,
        options=() if plain else terms(flow, step),
    )


def _shape(flow: Flow, step: Step) -> tuple[str, tuple[int, ...] | None, tuple[int, ...]] | None:
    """Name, order of axes and further results of a step that moves values about."""
    name = step.name
    rank = len(flow.shape(step.inputs[0])) if step.inputs else 0
    identity = tuple(range(rank))
    order = order_of(flow, step)
    if name == "broadcast_in_dim":
        grown = flow.size(step.outputs[0]) > flow.size(step.inputs[0])
        return ("expand" if grown else "unsqueeze"), order, ()
    if name in _MOVES:
        return _MOVES[name], order, ()
    if name in ("slice", "dynamic_slice"):
        return "getitem", identity, ()
    if name == "unstack":
        gone = int(step.params["axis"])
        return "unbind", tuple(a for a in identity if a != gone), tuple(step.outputs[1:])
    if name == "split":
        return "split", identity, tuple(step.outputs[1:])
    if name == "gather":
        return "getitem", _gathered(flow, step), ()
    if name in ("pad", "rev", "dynamic_update_slice"):
        return {"pad": "pad", "rev": "flip"}.get(name, "slice_scatter"), identity, ()
    return None


def _gathered(flow: Flow, step: Step) -> tuple[int, ...] | None:
    """The order of axes where values are read at places along one axis."""
    numbering: Any = step.params["dimension_numbers"]
    rank = len(flow.shape(step.outputs[0]))
    kept = [
        a
        for a in range(len(flow.shape(step.inputs[0])))
        if a not in numbering.collapsed_slice_dims and a not in numbering.operand_batching_dims
    ]
    if numbering.operand_batching_dims:  # a place of its own in each row
        return tuple(range(rank)) if rank == len(flow.shape(step.inputs[0])) else None
    if len(numbering.start_index_map) != 1 or len(kept) != len(numbering.offset_dims):
        return None
    along = int(numbering.start_index_map[0])
    offsets = dict(zip(numbering.offset_dims, kept, strict=True))
    return tuple(int(offsets.get(a, along)) for a in range(rank))
