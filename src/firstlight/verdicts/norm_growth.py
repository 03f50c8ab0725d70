"""What norms make of the gradient by themselves, whatever the scale of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firstlight.records.checkup import Reading
from firstlight.records.network import Operation
from firstlight.theory.activations import is_known
from firstlight.theory.gains import moments
from firstlight.verdicts.view import View

_PASSING = ("shape", "dropout", "pool", "concatenate")


def norm_growth(view: View, rows: Sequence[Reading]) -> float:
    """The growth of ‖δ‖ towards the input that batch norms behind each weight of a row bring about.

    Π √(E φ′²/Var φ) over all but the last, from which δ is measured: 1.21 each for ReLU. The norm
    divides by what the weight before it brought, so that no scale of the weights enters. Rows with
    a step without batch norm and activation, or with additions, have another law: 1.

    Args:
        view: the observation.
        rows: readings of operations that hand the signal on, in order.

    Returns:
        The factor, at least 1.

    Source: Yang et al. 2019 for ReLU, at a large batch.
    """
    logarithm = 0.0
    for row in rows[:-1]:
        operation = view.graph.operations[row.operation]
        norm, after = view.graph.follower(operation), view.graph.activation_after(operation)
        reference = None if after is None else after.activation
        normed = norm is not None and norm.function == "batch_norm"
        if operation.kind != "weighted" or not normed or not reference or not is_known(reference):
            return 1.0
        seen = moments(reference)
        if seen.variance <= 0 or seen.derivative_second_moment <= 0:
            return 1.0
        logarithm += math.log(seen.derivative_second_moment / seen.variance) / 2
    return max(1.0, math.exp(logarithm))


def read_by_norms(view: View, operation: Operation) -> bool:
    """Whether norms alone read a weight's result, past reshaping, pooling and concatenation.

    Its scale is then undone at once, and δ there is as much smaller as the result is larger: only
    their product says something of the signal.
    """
    stack, norms = list(view.graph.consumers[operation.index]), 0
    while stack:
        user = view.graph.operations[stack.pop()]
        if user.kind == "norm":
            norms += 1
        elif user.kind in _PASSING:
            stack.extend(view.graph.consumers[user.index])
        else:
            return False
    return norms > 0
