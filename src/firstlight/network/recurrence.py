"""Recurrences written out step by step: a weight that reads what it made a step before."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.network.graph import Graph, activation_ref
from firstlight.records.network import ActivationRef, Operation

_LEAST_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """One hidden-to-hidden weight.

    Args:
        steps: how often it was used.
        activation: what its result, summed with the input's, goes into; None if that is gates.
        inputs: names of the parameters whose products join it at each step.
    """

    steps: int
    activation: ActivationRef | None
    inputs: frozenset[str]


def recurrences(graph: Graph) -> dict[str, Recurrence]:
    """The recurrent weights of loops, by the parameter's name.

    A weight shared by all layers (ALBERT) is used again too, but others stand in between.
    """
    uses: dict[str, list[Operation]] = {}
    for operation in graph.network.weighted():
        for name in operation.parameters:
            if graph.network.parameter(name).kind == "weight":
                uses.setdefault(name, []).append(operation)
    found = {}
    for name, operations in uses.items():
        if len(operations) >= _LEAST_STEPS:
            before, after = operations[-2], operations[-1]
            others = _weights_before(graph, after)
            if before.index in others:
                joining = (graph.operations[i] for i in others if i != before.index)
                inputs = (p for op in joining for p in op.parameters if len(uses.get(p, ())) > 1)
                found[name] = Recurrence(
                    steps=len(operations),
                    activation=_activation_of_sum(graph, before),
                    inputs=frozenset(inputs),
                )
    return found


def earlier_steps(graph: Graph) -> frozenset[int]:
    """Of gated loops written out, the uses of their weights but for the last, and the sums of them.

    Gates let δ fade from step to step as they were made to: time is no depth.
    """
    uses: dict[tuple[str, ...], list[int]] = {}
    for operation in graph.network.weighted():
        uses.setdefault(operation.parameters, []).append(operation.index)
    loops = [found for found in uses.values() if len(found) >= _LEAST_STEPS]
    gated = [found for found in loops if any(_feeds_gate(graph, index) for index in found)]
    if not gated:
        return frozenset()
    steps = {index for found in gated for index in found}
    sums = {
        op.index
        for op in graph.operations
        if op.kind == "add" and (before := _weights_before(graph, op)) and before <= steps
    }
    return frozenset(steps - {found[-1] for found in gated} | sums)


def _feeds_gate(graph: Graph, index: int) -> bool:
    """Whether a result is multiplied with another one before the next weight reads it."""
    stack, seen = [index], set[int]()
    while stack:
        for user in graph.consumers[stack.pop()]:
            kind = graph.operations[user].kind
            if kind == "multiply":
                return True
            if user not in seen and kind in ("add", "activation", "shape", "other"):
                seen.add(user)
                stack.append(user)
    return False


def _weights_before(graph: Graph, operation: Operation) -> set[int]:
    """The weighted operations that an operation reads with none in between."""
    found: set[int] = set()
    stack, seen = list(operation.inputs), set(operation.inputs)
    while stack:
        current = graph.operations[stack.pop()]
        if current.kind in ("weighted", "composite"):
            found.add(current.index)
            continue
        fresh = [i for i in current.inputs if i not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return found


def _activation_of_sum(graph: Graph, operation: Operation) -> ActivationRef | None:
    current = operation
    while len(users := graph.consumers[current.index]) == 1:
        current = graph.operations[users[0]]
        if current.kind == "activation":
            return activation_ref(current)
        if current.kind not in ("add", "dropout", "norm"):
            return None
    return None
