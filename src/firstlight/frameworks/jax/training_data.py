"""What short trainings train on: batches in the order of a seed, losses, and held-out scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.batches import output_array, placed
from firstlight.frameworks.jax.losses import LOSSES, resolve
from firstlight.records.race import Recipe

Loss = Callable[[Any, Any], Array]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is trained on and what is held out."""

    inputs: Array
    targets: Array
    held_out_inputs: Array
    held_out_targets: Array

    @property
    def classifies(self) -> bool:
        """Whether the targets are class indices."""
        return not jnp.issubdtype(self.targets.dtype, jnp.floating)

    @property
    def key(self) -> tuple[Any, ...]:
        """Shapes and types, on which compiled code depends."""
        return tuple((value.shape, str(value.dtype)) for value in vars(self).values())


def as_data(data: Sequence[Any]) -> Data:
    """Arrays of (inputs, targets, held-out inputs, held-out targets); the verb checked them."""
    inputs, targets, held_out_inputs, held_out_targets = map(placed, data)
    return Data(
        inputs=inputs,
        targets=targets,
        held_out_inputs=held_out_inputs,
        held_out_targets=held_out_targets,
    )


def orders(data: Data, recipe: Recipe, seeds: Sequence[int]) -> NDArray[np.int32]:
    """Each seed's batches as indices, (seeds, steps, batch): shuffled epochs, cut into steps."""
    samples = len(data.inputs)
    size = min(recipe.batch_size, samples)
    per_epoch = samples // size
    found = np.empty((len(seeds), recipe.steps, size), np.int32)
    for place, seed in enumerate(seeds):
        generator = np.random.default_rng(seed)
        for step in range(recipe.steps):
            part = step % per_epoch
            if part == 0:
                shuffled = generator.permutation(samples)
            found[place, step] = shuffled[part * size : (part + 1) * size]
    return found


def loss_of(recipe: Recipe, data: Data) -> Loss:
    """The loss that was asked for, or the usual one of such targets, of a model's output."""
    chosen = resolve(recipe.loss)
    if chosen is not None and not isinstance(recipe.loss, str):
        return chosen
    named: Loss = chosen or LOSSES["cross_entropy" if data.classifies else "mse"]
    return lambda output, target: named(output_array(output), target)


def score(output: Any, data: Data, loss: Loss) -> Array:
    """Held-out accuracy of class indices, else the held-out loss."""
    if data.classifies:
        named = jnp.argmax(output_array(output), axis=-1)
        return jnp.mean((named == data.held_out_targets).astype(jnp.float32))
    return loss(output, data.held_out_targets)


def check_classes(classes: int, data: Data) -> None:
    """Refuse targets that no output stands for.

    Raises:
        BadInputError: one line.
    """
    for what, targets in (("", data.targets), ("held-out ", data.held_out_targets)):
        highest = int(jnp.max(targets))
        if highest >= classes:
            raise BadInputError(
                f"data: {what}targets go up to {highest}, the model gives {classes} classes from"
                " 0 on; correct the targets or widen the last layer"
            )
