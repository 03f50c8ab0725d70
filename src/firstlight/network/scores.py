"""The scores of attention: a head's size, what q·k is multiplied with, whose weight makes q."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.network.attention import SCALING
from firstlight.network.graph import Graph
from firstlight.records.network import Operation

_FAR = 8
"""Operations between a product and its softmax, or between a weight and the product."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One attention.

    Args:
        name: of the operation that multiplies queries and keys.
        size: of a head, d.
        multiplied: what q·k is multiplied with.
        query: the weight that makes queries alone; None if it makes keys and values too.
    """

    name: str
    size: int
    multiplied: float
    query: Operation | None


def scores(graph: Graph) -> tuple[Scores, ...]:
    """Every attention whose scores could be followed, in order of execution.

    In one function, or written out as a product of two signals that goes into a softmax with a
    known constant in between.

    Args:
        graph: the network.
    """
    found = []
    for operation in graph.operations:
        if len(operation.inputs) < 2 or operation.kind == "weighted":
            continue
        size = graph.operations[operation.inputs[0]].shape[-1:]
        if not size:
            continue
        if operation.score_scale is not None and len(operation.inputs) == 3:
            multiplied: float | None = operation.score_scale / math.sqrt(size[0])
        elif operation.function in ("matmul", "bmm", "einsum", "baddbmm"):
            multiplied = _written(graph, operation)
        else:
            continue
        if multiplied and math.isfinite(multiplied):
            found.append(
                Scores(
                    name=operation.name,
                    size=int(size[0]),
                    multiplied=multiplied,
                    query=_query(graph, operation.inputs[0]),
                )
            )
    return tuple(found)


def _query(graph: Graph, index: int) -> Operation | None:
    """The weight that makes queries and nothing else, past reshaping and known constants."""
    operation = graph.operations[index]
    for _ in range(_FAR):
        if len(graph.consumers[operation.index]) != 1:
            return None  # a packed q, k, v has three consumers, at the weight or where it is cut
        if operation.kind == "weighted":
            return operation
        passes = operation.kind in ("shape", "dropout") or operation.function in SCALING
        if not passes or len(operation.inputs) != 1 or not math.isfinite(_constant(operation)):
            return None
        operation = graph.operations[operation.inputs[0]]
    return None


def _written(graph: Graph, product: Operation) -> float | None:
    """What a product is multiplied with on its way into a softmax; None if it goes elsewhere."""
    factor = _constants(graph, product.inputs[0])
    current = product
    for _ in range(_FAR):
        users = graph.consumers[current.index]
        if len(users) != 1:
            return None
        current = graph.operations[users[0]]
        if current.kind == "softmax":
            return factor
        # A mask or a bias of positions may be added, nothing else may join.
        if current.kind in ("weighted", "multiply") and len(current.inputs) > 1:
            return None
        factor *= _constant(current)
    return None


def _constants(graph: Graph, index: int) -> float:
    """The constants that queries are multiplied with before the product."""
    factor = 1.0
    for _ in range(_FAR):
        operation = graph.operations[index]
        if operation.kind == "weighted" or len(operation.inputs) != 1:
            break
        factor *= _constant(operation)
        index = operation.inputs[0]
    return factor


def _constant(operation: Operation) -> float:
    if operation.function not in SCALING:
        return 1.0
    numbers = operation.option("constant")  # its mean and its mean square
    value = numbers[0] if len(numbers) > 1 else 0.0
    if not value or not math.isclose(value**2, numbers[1], rel_tol=1e-5):
        return math.nan  # several, or unknown ones: nothing is known of these scores
    if "div" not in operation.function:
        return value
    return math.nan if any(operation.option("constant_first")) else 1 / value
