"""What a pass ends in: the outputs, and the scalar that is differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError, said
from firstlight.frameworks.torch import batches

_COTANGENT_SEED = 2


def cotangent(outputs: list[Tensor]) -> Tensor:
    """⟨output, unit normal direction⟩: what backward starts from where there is no loss."""
    generator = torch.Generator().manual_seed(_COTANGENT_SEED)
    directions = [torch.randn(o.shape, generator=generator).to(o) for o in outputs]
    norm = math.sqrt(sum(float((d.float() ** 2).sum()) for d in directions))
    return torch.stack(
        [(o * d).sum() / norm for o, d in zip(outputs, directions, strict=True)]
    ).sum()


@dataclass(frozen=True)
class Ends:
    """What a pass ended in: a loss, or outputs without one."""

    loss: Tensor | None = None
    outputs: list[Tensor] = field(default_factory=list)

    def scalar(self) -> Tensor | None:
        """What is differentiated: the loss, or a random direction of the outputs."""
        if self.loss is not None:
            return self.loss.reshape(())
        return cotangent(self.outputs) if self.outputs else None


def _loss(value: Any, what: str = "loss") -> Tensor:
    """What a user's loss or step returned, if it is a scalar."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    raise BadInputError(f"{what}: must return a scalar tensor, the loss; got {got}")


def _computed(function: Callable[[Any, Any], Tensor], output: Tensor, target: Any) -> Tensor:
    """The loss; what it raises is no fault of the model."""
    try:
        return function(output, target)
    except Exception as error:
        shape = tuple(target.shape) if isinstance(target, Tensor) else type(target).__name__
        raise BadInputError(
            f"loss: raised {type(error).__name__} on output {tuple(output.shape)} and target"
            f" {shape}: {said(error)}"
        ) from error


def ends_of(
    module: nn.Module,
    given: Any,
    loss_function: Callable[[Any, Any], Tensor] | None,
    target: Any,
    step: Callable[[Any, Any], Any] | None,
) -> Ends:
    """Run a model, and its loss where there is one."""
    if step is not None:
        with batches.WithoutBackward():
            value = step(module, given)
        return Ends(loss=_loss(value, "step"))
    output = batches.call(module, given)
    if loss_function is not None:
        tensor = batches.output_tensor(output)
        value = _loss(_computed(loss_function, tensor, target))
        return Ends(loss=value, outputs=[tensor])
    if target is not None:
        tensor = batches.output_tensor(output)
        value = _computed(batches.inferred_loss(tensor, target), tensor, target)
        return Ends(loss=value, outputs=[tensor])
    own = batches.own_loss(output)
    if own is not None:
        return Ends(loss=_loss(own))
    return Ends(outputs=batches.differentiable(output))


def scalar_loss(
    model: nn.Module,
    batch: Any,
    *,
    loss: Any,
    target: Any,
    step: Callable[[Any, Any], Any] | None,
) -> tuple[Tensor, list[Tensor]]:
    """The loss of a model on a batch, and the outputs that it was computed from.

    Raises:
        BadInputError: there is no loss, so nothing to train on.
    """
    ends = ends_of(model, batch, batches.resolve_loss(loss), target, step)
    if ends.loss is None:
        raise BadInputError(
            "target: missing, and the output has no loss of its own; pass target=, or step="
        )
    return ends.loss.reshape(()), ends.outputs
