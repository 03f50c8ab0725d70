"""What short trainings train on: batches in the order of a seed, losses, and held-out scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.batches import LOSSES, output_tensor, resolve_loss
from firstlight.records.race import Recipe

Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is trained on and what is held out, as tensors."""

    inputs: Tensor
    targets: Tensor
    held_out_inputs: Tensor
    held_out_targets: Tensor

    @property
    def classifies(self) -> bool:
        """Whether the targets are class indices."""
        return not self.targets.is_floating_point()


def as_data(data: Sequence[Any]) -> Data:
    """Tensors of (inputs, targets, held-out inputs, held-out targets); the verb checked them."""
    inputs, targets, held_out_inputs, held_out_targets = (torch.as_tensor(part) for part in data)
    return Data(
        inputs=inputs,
        targets=targets,
        held_out_inputs=held_out_inputs,
        held_out_targets=held_out_targets,
    )


def beside(data: Data, model: nn.Module) -> Data:
    """The same on the device of the model."""
    device = next((p.device for p in model.parameters()), data.inputs.device)
    return Data(**{name: tensor.to(device) for name, tensor in vars(data).items()})


def orders(data: Data, recipe: Recipe, seeds: Sequence[int]) -> Iterator[Tensor]:
    """The batches' indices of each seed, a row each: shuffled epochs, cut into steps."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    samples = len(data.inputs)
    size = min(recipe.batch_size, samples)
    per_epoch = samples // size
    for step in range(recipe.steps):
        place = step % per_epoch
        if place == 0:
            shuffled = torch.stack([torch.randperm(samples, generator=g) for g in generators])
        yield shuffled[:, place * size : (place + 1) * size]


def taken(values: Tensor, indices: Tensor) -> Tensor:
    """The samples of each row of ``indices``."""
    flat = indices.reshape(-1).to(values.device)
    return values.index_select(0, flat).view(*indices.shape, *values.shape[1:])


def loss_of(recipe: Recipe, data: Data) -> Loss:
    """The loss that was asked for, or the usual one of such targets."""
    chosen = resolve_loss(recipe.loss)
    return chosen or LOSSES["cross_entropy" if data.classifies else "mse"]


def stacked_loss(loss: Loss, data: Data) -> Loss:
    """The same loss of each of n networks; one call for all where that gives the same."""
    mapped = vmap(loss)
    # Ignored targets change what the mean is divided by.
    if loss is functional.cross_entropy and not bool((data.targets == -100).any()):

        def of_classes(output: Tensor, target: Tensor) -> Tensor:
            flat = output.flatten(0, 1), target.flatten(0, 1)
            return functional.cross_entropy(*flat, reduction="none").view(len(output), -1).mean(1)

        return of_classes
    if loss is functional.mse_loss or loss is functional.binary_cross_entropy_with_logits:
        each: Any = loss

        def of_values(output: Tensor, target: Tensor) -> Tensor:
            if output.shape != target.shape:
                return mapped(output, target)
            apart: Tensor = each(output, target, reduction="none")
            return apart.flatten(1).mean(dim=1)

        return of_values
    return mapped


def score(output: Any, data: Data, loss: Loss) -> float:
    """Held-out accuracy of class indices, else the held-out loss."""
    if data.classifies:
        given = output_tensor(output)
        highest = int(data.held_out_targets.max())
        if highest >= given.shape[1]:
            raise BadInputError(
                f"data: held-out targets go up to {highest}, the model gives {given.shape[1]}"
                " classes from 0 on; correct the targets or widen the last layer"
            )
        named = given.argmax(dim=1)
        return float((named == data.held_out_targets).double().mean())
    return float(loss(output, data.held_out_targets))
