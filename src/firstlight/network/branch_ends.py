"""How a residual branch ends: what stands between its last weight and the addition."""

from __future__ import annotations

from collections.abc import Callable

from firstlight.network.attention import SCALING
from firstlight.network.graph import Graph
from firstlight.network.residual import Branch
from firstlight.records.network import ActivationRef, Operation

_LONGEST = 12


def end_of(graph: Graph, branch: Branch) -> list[Operation]:
    """What a branch does between its last weight and the addition, in order."""
    found: list[Operation] = []
    current = branch.last_weight
    for _ in range(_LONGEST):
        users = graph.consumers[current.index]
        if len(users) != 1 or users[0] == branch.addition.index:
            break
        current = graph.operations[users[0]]
        found.append(current)
    return found


def has_own_size(graph: Graph, branch: Branch, is_norm: Callable[[Operation | None], bool]) -> bool:
    """Whether a norm or a scale of the model's own (layer scale, ReZero) ends the branch."""
    return any(
        is_norm(op) or (op.kind == "other" and bool(op.parameters) and op.function in SCALING)
        for op in end_of(graph, branch)
    )


def activation_ending(graph: Graph, branch: Branch) -> ActivationRef | None:
    """The activation between a branch's last weight and the addition, if there is one."""
    found = (op.activation for op in end_of(graph, branch) if op.activation is not None)
    return next(found, None)


def normed_after(graph: Graph, branch: Branch, is_norm: Callable[[Operation | None], bool]) -> bool:
    """Whether the stream itself is normalized behind the addition."""
    users = [graph.operations[i] for i in graph.consumers[branch.addition.index]]
    return len(users) == 1 and is_norm(users[0])
