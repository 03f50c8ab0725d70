"""What steers: attention logits that nobody scaled, softmax routers, sigmoid gates."""

from __future__ import annotations

from firstlight.network.graph import Graph
from firstlight.records.network import Operation

SCALING = frozenset({"mul", "rmul", "imul", "div", "truediv", "itruediv", "divide", "multiply"})
"""Functions that multiply by a constant or a parameter, if one operand is data."""

_PRODUCTS = frozenset({"matmul", "bmm", "einsum", "baddbmm"})
_FAR = 12
"""So many operations may stand between a weight and the softmax that it works for."""
_SAME = 1e-6
_MOST_BRANCHES = 8


def query_factors(graph: Graph) -> dict[int, float]:
    """Variance of the logits that unit queries and keys make, where that is not one.

    Dividing by √d keeps it at one (Vaswani et al. 2017); T5 and others leave that to the weights.

    Args:
        graph: the network.

    Returns:
        By index of the weighted operation that makes the queries: d times the square of what the
        products are multiplied with.
    """
    found: dict[int, float] = {}
    for operation in graph.operations:
        if operation.score_scale is not None and len(operation.inputs) == 3:
            factor = operation.score_scale**2
        elif operation.function in _PRODUCTS and _makes_unscaled_scores(graph, operation):
            factor = float(graph.operations[operation.inputs[0]].shape[-1])
        else:
            continue
        query = _weight_behind(graph, operation.inputs[0])
        if query is not None and abs(factor - 1) > _SAME:
            found[query.index] = factor
    return found


def _makes_unscaled_scores(graph: Graph, product: Operation) -> bool:
    """Whether a product of two signals goes into a softmax, unscaled on all its way."""
    if product.kind == "weighted" or len(product.inputs) != 2:
        return False
    back = graph.operations[product.inputs[0]]
    for _ in range(_FAR):
        if back.function in SCALING or not back.inputs:
            return False
        if back.kind == "weighted":
            break
        back = graph.operations[back.inputs[0]]
    current = product
    for _ in range(_FAR):
        users = graph.consumers[current.index]
        if len(users) != 1:
            return False
        current = graph.operations[users[0]]
        if current.kind == "softmax":
            return True
        if current.function in SCALING or current.kind in ("weighted", "multiply"):
            return False
    return False


def _weight_behind(graph: Graph, index: int) -> Operation | None:
    """The weight that made a signal and nothing else, past what only reshapes it."""
    operation = graph.operations[index]
    alone = len(graph.consumers[operation.index]) == 1
    while operation.kind in ("shape", "dropout") and len(operation.inputs) == 1:
        operation = graph.operations[operation.inputs[0]]
        # A packed q, k, v has three consumers, at the weight or where it is cut.
        alone = alone and len(graph.consumers[operation.index]) == 1
    return operation if operation.kind == "weighted" and alone else None


def is_router(graph: Graph, operation: Operation) -> bool:
    """Whether a softmax chooses by a weight's result, past reshaping only, and it is no head."""
    current = operation
    while len(users := graph.consumers[current.index]) == 1:
        current = graph.operations[users[0]]
        if current.kind == "softmax":
            return not graph.ends_linear(operation)
        if current.kind not in ("shape", "dropout"):
            return False
    return False


def makes_log_scale(graph: Graph, operation: Operation) -> bool:
    """Whether an exponential is taken of a weight's result: log scales, variances, rates."""
    current = operation
    for _ in range(_FAR):
        users = [graph.operations[i] for i in graph.consumers[current.index]]
        if any(user.function == "exp" for user in users):
            return True
        if len(users) != 1 or len(users[0].inputs) != 1 or users[0].kind == "softmax":
            return False
        current = users[0]
        if current.kind not in ("shape", "dropout", "activation", "other"):
            return False
    return False


def opens_gates(graph: Graph, operation: Operation) -> bool:
    """Whether sigmoids that weigh others follow, past sums and splitting, as in a highway."""
    stack, seen = [operation.index], {operation.index}
    while stack:
        for user in graph.consumers[stack.pop()]:
            following = graph.operations[user]
            if following.activation is not None and following.activation.name == "sigmoid":
                return user in graph.steering
            passes = following.kind in ("shape", "add") and user not in seen
            if passes and len(seen) < _MOST_BRANCHES:
                seen.add(user)
                stack.append(user)
    return False
