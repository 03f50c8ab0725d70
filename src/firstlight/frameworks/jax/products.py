"""Weighted operations: dense products, convolutions and looked-up rows, with their biases."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from firstlight.frameworks.jax.flat import Atom, Constant, Step
from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.found import Found, numbers, several
from firstlight.network.uses import Use
from firstlight.records.network import Options

_MOVING = frozenset({"transpose", "reshape", "squeeze", "expand_dims", "convert_element_type"})
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class _Product:
    """A product as one step makes it, before its result is moved and a bias added."""

    step: Step
    function: str
    operands: tuple[Atom, ...]
    unit_axis: int
    options: Options
    kind: Any = "weighted"
    asks: tuple[tuple[str, Atom], ...] = ()


def weighted(flow: Flow, result: int) -> Found | None:
    """A product with a weight that ends in this value, its bias included."""
    bias: Atom | None = None
    value: Atom = result
    step = flow.made_by(value, "add", "add_any")
    if step is not None:
        sides = [a for a in step.inputs if flow.is_signal(a)]
        others = [a for a in step.inputs if flow.is_expression(a)]
        if len(sides) != 1 or len(others) != 1 or not isinstance(sides[0], int):
            return None
        value, bias = sides[0], others[0]
    moved: list[Step] = []
    found = None
    while found is None:
        if not isinstance(value, int) or (value != result and flow.only_user(value) is None):
            return None
        step = flow.step(value)
        if step is None:
            return None
        found = _product(flow, step)
        if found is None:
            if step.name not in _MOVING or not isinstance(step.inputs[0], int):
                return None
            moved.append(step)
            value = step.inputs[0]
    axis: int | None = found.unit_axis
    for each in reversed(moved):
        axis = _moved_axis(flow, each, axis)
        if axis is None:
            return None
    if bias is None and moved and not _is_turned(flow, found, moved):
        return None
    weight = several(*(flow.names(a) for a in found.operands))
    parameters = weight
    if bias is not None:
        if not _is_bias(flow, bias, result, axis or 0, weight):
            return None
        parameters = several(weight, flow.names(bias))
    rank = len(flow.shape(result))
    function = found.function
    if function == "einsum" and _is_linear(flow, found, axis, rank):
        function = "linear"
    return Found(
        result=result,
        kind=found.kind,
        function=function,
        operands=found.operands,
        parameters=parameters,
        unit_axis=axis,
        options=() if function == "linear" else found.options,
        asks=found.asks,
        weight=next((a for a in found.operands if flow.is_expression(a)), None),
        product=None if bias is None else _before_bias(flow, result, bias),
        bias=bias,
    )


def _before_bias(flow: Flow, result: int, bias: Atom) -> int | None:
    step = flow.step(result)
    assert step is not None
    return next(a for a in step.inputs if a is not bias and a != bias and isinstance(a, int))


def _is_turned(flow: Flow, found: _Product, moved: list[Step]) -> bool:
    """Whether W @ x was only put back into the order of the batch, as `vmap` does it."""
    first = flow.is_expression(found.step.inputs[0])
    return first and [s.name for s in moved] == ["transpose"]


def _is_bias(flow: Flow, bias: Atom, result: int, axis: int, weight: tuple[str, ...]) -> bool:
    """Whether what is added belongs to the product: same owner, or one number for each unit."""
    names = flow.names(bias)
    if len(names) != 1 or not weight or flow.whole(bias) is None:
        return False
    before = {name.rpartition(".")[0] for name in weight}
    owner = names[0].rpartition(".")[0]
    if owner and owner in before:
        return True
    shape = flow.shape(bias)
    units = flow.shape(result)[axis]
    return prod(shape) == units and flow.size(flow.spread(bias)) == units


def _moved_axis(flow: Flow, step: Step, axis: int | None) -> int | None:
    """Where an axis is after a step that moves axes; None where it was split or merged."""
    if axis is None or step.name == "convert_element_type":
        return axis
    before, after = flow.shape(step.inputs[0]), flow.shape(step.outputs[0])
    if step.name == "transpose":
        return list(step.params["permutation"]).index(axis)
    if step.name == "squeeze":
        gone = step.params["dimensions"]
        return None if axis in gone else axis - sum(a < axis for a in gone)
    ahead, size = prod(before[:axis]), before[axis]
    for place, n in enumerate(after):
        if n == size and prod(after[:place]) == ahead:
            return place
    return None


def _is_linear(flow: Flow, found: _Product, axis: int | None, rank: int) -> bool:
    """Whether a dense product reads its data's last axis and writes its result's last one."""
    signal = next((a for a in found.operands if flow.is_signal(a)), None)
    weight = next((a for a in found.operands if flow.is_expression(a)), None)
    if signal is None or weight is None or axis != rank - 1 or len(flow.shape(weight)) != 2:
        return False
    (left, right), (batch, _) = found.step.params["dimension_numbers"]
    place = found.step.inputs.index(signal)
    contracted = (left, right)[place]
    last = len(flow.shape(signal)) - 1
    return not batch and tuple(contracted) == (last,) and len(flow.shape(signal)) == rank


def _product(flow: Flow, step: Step) -> _Product | None:
    if step.name == "dot_general":
        return _dense(flow, step)
    if step.name == "conv_general_dilated":
        return _convolution(flow, step)
    return None


def _dense(flow: Flow, step: Step) -> _Product | None:
    left, right = step.inputs
    if flow.is_expression(left) and flow.is_signal(right):
        place, weight, data = 0, left, right
    elif flow.is_expression(right) and flow.is_signal(left):
        place, weight, data = 1, right, left
    else:
        return None
    hot = _one_hot(flow, data)
    if hot is not None:
        axis = _free_axes(flow, step, place)[-1]
        asks = (("lookup", hot),)
        return _Product(step, "embedding", (weight, hot), axis, (), "embedding", asks)
    free = _free_axes(flow, step, place)
    if not free:
        rank = len(flow.shape(step.outputs[0]))
        free = [max(0, rank - 1)]
    return _Product(step, "einsum", (left, right), free[-1], terms(flow, step))


def _free_axes(flow: Flow, step: Step, place: int) -> list[int]:
    """Axes of a product's result that come from one operand alone."""
    contracted, batch = step.params["dimension_numbers"]
    ranks = [len(flow.shape(a)) for a in step.inputs]
    own = [ranks[i] - len(contracted[i]) - len(batch[i]) for i in (0, 1)]
    start = len(batch[0]) + (own[0] if place else 0)
    return list(range(start, start + own[place]))


def terms(flow: Flow, step: Step) -> Options:
    """A product as an einsum has it: letters for the axes of both operands and the result."""
    contracted, batch = step.params["dimension_numbers"]
    letters = iter(_LETTERS)
    rows: list[list[str]] = [[""] * len(flow.shape(a)) for a in step.inputs]
    result: list[str] = []
    for pairs, kept in ((batch, True), (contracted, False)):
        for a, b in zip(*pairs, strict=True):
            letter = next(letters, "")
            rows[0][a] = rows[1][b] = letter
            if kept:
                result.append(letter)
    for row in rows:
        for axis, letter in enumerate(row):
            if not letter:
                row[axis] = next(letters, "")
                result.append(row[axis])
    if any(not letter for row in rows for letter in row):
        return ()
    names = ("term0", "term1", "result")
    return tuple(
        (name, tuple(float(ord(c)) for c in row))
        for name, row in zip(names, (*rows, result), strict=True)
    )


def _one_hot(flow: Flow, value: Atom) -> Atom | None:
    """The integers that a one-hot matrix was made of."""
    step = flow.made_by(value, "convert_element_type")
    step = flow.made_by(step.inputs[0], "eq") if step is not None else None
    if step is None:
        return None
    for ids, counted in (step.inputs, step.inputs[::-1]):
        iota = flow.made_by(flow.spread(counted), "iota")
        known = iota is not None or flow.constant(counted) is not None
        if known and isinstance(ids, int) and flow.data[ids]:
            return flow.spread(ids)
    return None


def _convolution(flow: Flow, step: Step) -> _Product | None:
    data, weight = step.inputs
    if not (flow.is_expression(weight) and flow.is_signal(data)):
        return None
    p = step.params
    numbering = p["dimension_numbers"]
    spatial = len(numbering.out_spec) - 2
    lengths = [flow.shape(weight)[a] for a in numbering.rhs_spec[2:]]
    padding, dilation = [low for low, _ in p["padding"]], p["rhs_dilation"]
    stride, function = p["window_strides"], f"conv{spatial}d"
    if any(d > 1 for d in p["lhs_dilation"]):
        function, stride = f"conv_transpose{spatial}d", p["lhs_dilation"]
        padding = [(k - 1) * d - low for k, d, low in zip(lengths, dilation, padding, strict=True)]
    options: Options = (
        ("stride", numbers(stride)),
        ("padding", numbers(padding)),
        ("dilation", numbers(dilation)),
    )
    return _Product(step, function, (data, weight), int(numbering.out_spec[1]), options)


def looked_up(flow: Flow, result: int) -> Found | None:
    """Rows of a table of parameters, read at integers of the batch."""
    step = flow.made_by(result, "gather")
    if step is None or not flow.is_expression(step.inputs[0]) or flow.is_expression(result):
        return None
    where = step.inputs[1]
    offsets = step.params["dimension_numbers"].offset_dims
    rank = len(flow.shape(result))
    return Found(
        result=result,
        kind="embedding",
        function="embedding",
        operands=(where,),
        parameters=flow.names(step.inputs[0]),
        unit_axis=offsets[-1] if offsets else rank - 1,
        asks=(("lookup", where),),
        weight=step.inputs[0],
    )


def use_of(flow: Flow, step: Step) -> tuple[str, Use] | None:
    """What a product says of the axes of the one parameter in it; None for all else."""
    if step.name == "dot_general":
        for place, weight in enumerate(step.inputs):
            other = step.inputs[1 - place]
            if flow.is_expression(weight) and flow.is_signal(other):
                names = flow.names(weight)
                contracted, batch = step.params["dimension_numbers"]
                roles = tuple(
                    "stack" if a in batch[place] else "in" if a in contracted[place] else "out"
                    for a in range(len(flow.shape(weight)))
                )
                return (names[0], Use(flow.shape(weight), roles)) if len(names) == 1 else None
    if step.name == "conv_general_dilated" and flow.is_expression(step.inputs[1]):
        p, names = step.params, flow.names(step.inputs[1])
        if len(names) != 1 or p["feature_group_count"] != 1 or isinstance(step.inputs[1], Constant):
            return None
        out, into, *kernel = p["dimension_numbers"].rhs_spec
        roles_by_axis = {out: "out", into: "in"} | dict.fromkeys(kernel, "kernel")
        roles = tuple(roles_by_axis[a] for a in range(len(roles_by_axis)))
        transposed = any(d > 1 for d in p["lhs_dilation"])
        stride = p["lhs_dilation"] if transposed else p["window_strides"]
        use = Use(flow.shape(step.inputs[1]), roles, tuple(stride), transposed)
        return names[0], use
    return None
