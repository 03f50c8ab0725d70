"""From flat steps to operations: each result is taken for the largest thing that ends in it.

Starting from what the model returned, a value is asked what operation made it; then the same is
asked of the values that went into that one. What lies inside an operation and is not used
elsewhere never becomes one itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firstlight.frameworks.jax import products, reducing
from firstlight.frameworks.jax.activating import activation
from firstlight.frameworks.jax.flat import Atom
from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.found import Found
from firstlight.frameworks.jax.normings import norm
from firstlight.frameworks.jax.plain import handed_on, plain
from firstlight.frameworks.jax.roles import with_uses
from firstlight.frameworks.jax.telling import merged, told
from firstlight.frameworks.jax.titles import Titles
from firstlight.records.network import Operation, Options, Parameter

_PATTERNS = (
    reducing.dropout,
    reducing.softmax,
    reducing.logsumexp,
    norm,
    products.weighted,
    products.looked_up,
    reducing.mean,
    reducing.pooled,
)
_REDUCTIONS = frozenset({"logsumexp", "sum", "amax", "amin", "prod", "cumsum"})
_MOST_OPERANDS = 256


@dataclass(frozen=True, eq=False, kw_only=True)
class Reading:
    """What a flat list is.

    Args:
        operations: in the order of execution.
        outputs: what the model returned.
        parameters: refined by their use.
        model_operations: how many operations come before what was traced after the model.
        results: the operation of each value that is the result of one.
        products: the weighted operation of each product before its bias.
        wholes: for operations with a weight that is a parameter itself, not an expression of it,
            the parameter's name.
        biases: for those that add a bias, its name.
    """

    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    model_operations: int
    results: Mapping[int, int]
    products: Mapping[int, int]
    wholes: Mapping[int, str]
    biases: Mapping[int, str]


def read(
    flow: Flow,
    parameters: Sequence[Parameter],
    returned: int,
    after: str,
    values: Sequence[Any],
) -> Reading:
    """The operations of a flat list.

    Args:
        flow: the steps.
        parameters: as the modules have them.
        returned: how many of the outputs are the model's.
        after: the scope of what follows the model.
        values: the arguments of the flat list.
    """
    tiles = _Tiles(flow)
    for value in range(flow.flat.arguments):
        if flow.signal[value]:
            tiles.inputs.append(value)
    for atom in flow.flat.outputs:
        tiles.need(atom)
    refined = with_uses(flow, parameters, tiles.found.values())
    order = [*tiles.inputs, *sorted(tiles.found, key=lambda v: _place(flow, v))]
    places = {value: index for index, value in enumerate(order)}
    following = [i for i, step in enumerate(flow.steps) if after in step.scope]
    last = min(following, default=len(flow.steps))
    results = {
        also: places[value] for value, found in tiles.found.items() for also in found.also
    } | places
    operations = _records(flow, tiles, order, results, refined, values)
    outputs = (tiles.resolved(a) for a in flow.flat.outputs[:returned])
    return Reading(
        operations=operations,
        outputs=tuple(dict.fromkeys(results[v] for v in outputs if v is not None)),
        parameters=refined,
        model_operations=sum(_place(flow, value) < last for value in order),
        results=places,
        products={
            found.product: places[value]
            for value, found in tiles.found.items()
            if found.product is not None
        },
        wholes={
            places[value]: name
            for value, found in tiles.found.items()
            if found.weight is not None and (name := flow.whole(found.weight)) is not None
        },
        biases={
            places[value]: name
            for value, found in tiles.found.items()
            if found.bias is not None and (name := flow.whole(found.bias)) is not None
        },
    )


def _place(flow: Flow, value: int) -> int:
    place = flow.maker[value]
    return -1 if place is None else place


class _Tiles:
    """The operations found so far, by the values that they make."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.inputs: list[int] = []
        self.found: dict[int, Found] = {}
        self._structural: dict[int, Found | None] = {}
        self._tiles: dict[int, Found] = {}

    def need(self, atom: Atom) -> None:
        """Find the operation that makes a value, and those that it needs."""
        stack = [atom]
        while stack:
            value = self.resolved(stack.pop())
            if value is None or value in self.found or value in self.inputs:
                continue
            found = self.tile(value)
            self.found[value] = found
            stack.extend(found.operands)

    def resolved(self, atom: Atom) -> int | None:
        """The value that an operation makes, behind what only hands it on; None for constants."""
        while isinstance(atom, int) and self.flow.is_signal(atom):
            step = self.flow.step(atom)
            if step is None or self.structural(atom) is not None:
                return atom
            source = handed_on(self.flow, step)
            if source is None or not self.flow.is_signal(source):
                first = step.outputs[0]
                return first if self.flow.is_signal(first) and len(step.outputs) > 1 else atom
            atom = source
        return None

    def structural(self, value: int) -> Found | None:
        """The product, norm, softmax, average or dropout that ends in a value."""
        if value not in self._structural:
            tried = (pattern(self.flow, value) for pattern in _PATTERNS)
            found = None
            if self.flow.is_signal(value):
                found = next((f for f in tried if f is not None), None)
            self._structural[value] = found
        return self._structural[value]

    def tile(self, value: int) -> Found:
        """The operation that ends in a value."""
        if value not in self._tiles:
            self._tiles[value] = self._tile(value)
        return self._tiles[value]

    def _tile(self, value: int) -> Found:
        found = self.structural(value)
        if found is not None:
            return found
        if not self.flow.signal[value]:  # made of integers of the batch
            return Found(result=value, kind="input", function="to")
        return activation(self.flow, value, self.structural, self.kind_of) or plain(
            self.flow, value
        )

    def kind_of(self, value: int) -> str:
        """The kind of operation behind a value; reductions and products have kinds of their own."""
        source = self.resolved(value)
        if source is None or source in self.inputs:
            return "input"
        found = self.tile(source)
        if found.kind == "other" and found.function in _REDUCTIONS:
            return "reduction"
        if found.kind == "other" and found.function in ("matmul", "einsum"):
            return "product"
        return found.kind


def _records(
    flow: Flow,
    tiles: _Tiles,
    order: Sequence[int],
    results: Mapping[int, int],
    parameters: Sequence[Parameter],
    values: Sequence[Any],
) -> tuple[Operation, ...]:
    """The records, in order."""
    asked = [
        (kind, atom, flow.shape(value))
        for value in order
        if value in tiles.found
        for kind, atom in tiles.found[value].asks
    ]
    answers = iter(told(flow, asked, values))
    titles = Titles(flow, parameters)
    operations: list[Operation] = []
    for index, value in enumerate(order):
        found = tiles.found.get(value)
        if found is None:
            found = Found(result=value, kind="input", function="input")
        replies = [next(answers) for _ in found.asks]
        sources = [tiles.resolved(a) for a in found.operands]
        made = [None if s is None else results[s] for s in sources]
        inputs = tuple(dict.fromkeys(i for i in made if i is not None))
        unit_axis = _unit_axis(flow, found, [operations[i] for i in inputs])
        options = found.options(unit_axis) if callable(found.options) else found.options
        options = merged(options, replies)
        if len(inputs) > 1 and len(made) <= _MOST_OPERANDS:
            options = (*options, *_operands(flow, found, made, inputs))
        operations.append(
            Operation(
                index=index,
                name=titles.name(found, inputs),
                kind=found.kind,
                function=found.function,
                inputs=inputs,
                parameters=found.parameters,
                shape=flow.shape(value),
                unit_axis=unit_axis,
                activation=found.activation,
                rate=found.rate,
                opaque=found.opaque,
                options=options,
            )
        )
    return tuple(operations)


def _operands(
    flow: Flow, found: Found, made: Sequence[int | None], inputs: Sequence[int]
) -> Options:
    places = {source: float(i) for i, source in enumerate(inputs)}
    return (
        ("operands", tuple(-1.0 if m is None else places[m] for m in made)),
        ("sizes", tuple(float(flow.size(a)) for a in found.operands)),
    )


def _unit_axis(flow: Flow, found: Found, sources: Sequence[Operation]) -> int | None:
    """The axis of units: where the operation says so, else that of what went in, if it is kept."""
    shape = flow.shape(found.result)
    if not shape:
        return None
    if found.unit_axis is not None:
        return found.unit_axis
    if found.order is not None and sources:
        axis = sources[0].unit_axis
        if axis is not None and axis in found.order:
            place = found.order.index(axis)
            return place if shape[place] == sources[0].shape[axis] else None
        return None if axis is not None else (1 if len(shape) == 2 else None)
    for source in sources:
        if len(source.shape) == len(shape) and source.unit_axis is not None:
            same = source.shape[source.unit_axis] == shape[source.unit_axis]
            return source.unit_axis if same else None
    return 1 if len(shape) == 2 else None
