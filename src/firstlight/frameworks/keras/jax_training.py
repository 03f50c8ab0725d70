"""Short trainings of Keras models on the JAX backend, by JAX's room.

A model's variables are lent to it for each call: trainable ones are the arrays that JAX's room
trains, all others (batch statistics, counters, frozen weights) are state that a call takes and
returns. So a step is a pure function, and many models can be one. Random streams start anew from
each step's key, as those of Flax do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from firstlight.frameworks.jax import training
from firstlight.frameworks.jax.batches import output_array
from firstlight.frameworks.jax.compiling import key_of
from firstlight.frameworks.jax.held import Held
from firstlight.frameworks.jax.losses import LOSSES
from firstlight.frameworks.jax.training_data import Data, as_data
from firstlight.frameworks.keras.jax_losses import logits
from firstlight.frameworks.keras.jax_view import called, holding, seeds_of, view_of
from firstlight.frameworks.keras.losses import Known, Other, loss_of
from firstlight.frameworks.keras.models import check_learns, checked
from firstlight.records.race import Recipe, Run, Together


@dataclass(frozen=True, kw_only=True)
class _Loss:
    """A loss that JAX's room has by name, of what Keras models give and take.

    Two of one kind are equal, so that what was compiled for one serves the other.
    """

    known: Known

    def __call__(self, output: Any, target: Array) -> Array:
        given = logits(output_array(output), self.known)
        if self.known.name == "cross_entropy":
            if not jnp.issubdtype(target.dtype, jnp.floating):
                one_hot = target.shape == given.shape and given.shape[-1] > 1
                columns = target.argmax(axis=-1) if one_hot else target
                target = columns.reshape(given.shape[:-1])
        else:
            target = target.astype(given.dtype)
            if target.ndim == given.ndim - 1 and given.shape[-1] == 1:
                target = target[..., None]
        found: Array = LOSSES[self.known.name](given, target)
        return found


def hold(model: Any) -> Held:
    """A model as a function of its trainable arrays and its state."""
    view = view_of(model)
    learning = {p.name for p in view.parameters if p.trainable}
    variables = {w.parameter.name: w.variable for w in checked(model)}
    streams = seeds_of(model)
    carried = [*streams, *(variables[name] for name in learning)]
    rest = [v for v in model.variables if not any(v is each for each in carried)]

    def call(
        arrays: Mapping[str, Array],
        state: Sequence[Array],
        key: Array,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        training: bool,
    ) -> tuple[Any, tuple[Array, ...]]:
        pairs = [(variables[name], array) for name, array in arrays.items()]
        pairs += zip(rest, state, strict=True)
        with holding(model, pairs, key) as scope:
            output = called(model, args, keywords, training=training)
            return output, tuple(scope.get_current_value(v) for v in rest)

    return Held(
        view=replace(
            view,
            arrays={n: a for n, a in view.arrays.items() if n in learning},
            parameters=tuple(p for p in view.parameters if p.name in learning),
        ),
        state=tuple(v._value for v in rest),
        call=call,
        buffers={},
    )


def _kind(held: Held, data: Data, recipe: Recipe) -> Hashable:
    """What models share that compute the same: layers carry names and numbers that tell nothing."""
    size = min(recipe.batch_size, len(data.inputs))
    key = jax.random.key(0)

    def both(arrays: Mapping[str, Array], state: Any, inputs: Array) -> Any:
        modes = (True, False)
        return [held.call(arrays, state, key, (inputs,), {}, training=mode) for mode in modes]

    given = dict(held.view.arrays), held.state, data.inputs[:size]
    found = key_of(jax.make_jaxpr(both)(*given), tuple(held.view.arrays))
    return id(held) if found is None else found


def _own(model: Any, recipe: Recipe, data: Data) -> Recipe:
    """The recipe with a loss in the words of JAX's room."""
    found = loss_of(model, recipe.loss, data.targets)
    if isinstance(found, Known):
        return replace(recipe, loss=_Loss(known=found))
    return replace(recipe, loss=found.function if isinstance(found, Other) else found)


def together(model: Any, data: Sequence[Any], recipe: Recipe) -> Together:
    """How many such models train best as one."""
    check_learns(model)
    found = as_data(data)
    return training.together(hold(model), found, _own(model, recipe, found))


def train_models(
    models: Sequence[Any],
    data: Sequence[Any],
    recipe: Recipe,
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    progress: Callable[[int], None] | None,
) -> tuple[Run, ...]:
    """Train copies of models that one factory built, by the loss of the first."""
    found = as_data(data)
    own = _own(models[0], recipe, found)
    held = [hold(model) for model in models]
    return training.train_held(
        held,
        [_kind(each, found, own) for each in held],
        found,
        own,
        learning_rates=learning_rates,
        seeds=seeds,
        progress=progress,
    )
