"""What each weighted operation's δ measures, for the backward balance of a calibration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.ending import cotangent
from firstlight.frameworks.torch.gradients import differentiate
from firstlight.frameworks.torch.tracing import Tracer
from firstlight.frameworks.torch.weight_uses import mean_square
from firstlight.measuring.balancing import balancing_factors
from firstlight.records.network import Network, Operation


def balanced(
    model: nn.Module,
    parameters: Mapping[int, str],
    trainable: Mapping[str, nn.Parameter],
    weights: Collection[str],
    run: Callable[[Tracer], Any],
) -> dict[str, float]:
    """A factor for each weight that has a predecessor, from one forward and one backward pass.

    Args:
        model: with the calibrated weights in it.
        parameters: canonical names by tensor identity.
        trainable: what is differentiated.
        weights: those that may be changed; each used once.
        run: runs the model under a tracer.

    Returns:
        Factors within [½, 2]; weights that are no part of a chain are not in it.
    """
    deltas: dict[int, float] = {}

    def watch(operation: Operation, result: Tensor, _: tuple[Tensor, ...]) -> Tensor:
        if operation.kind == "weighted" and result.requires_grad:

            def keep(gradient: Tensor, index: int = operation.index) -> None:
                deltas[index] = mean_square(gradient) * gradient.numel()

            result.register_hook(keep)
        return result

    tracer = Tracer(model, parameters, watch)
    output = run(tracer)
    with torch.enable_grad():
        loss = batches.own_loss(output)
        scalar = loss if loss is not None else cotangent(batches.differentiable(output))
        if not scalar.requires_grad:
            return {}
        differentiate(scalar, trainable, None)
    network = Network(name="", framework="torch", operations=tuple(tracer.operations))
    return balancing_factors(network, deltas, weights)
