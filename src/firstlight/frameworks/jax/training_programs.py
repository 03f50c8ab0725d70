"""The compiled step and score of models that train as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from firstlight.frameworks.jax.held import Held
from firstlight.frameworks.jax.training_data import Data, loss_of, score
from firstlight.frameworks.jax.training_updates import updated
from firstlight.records.race import Recipe

Arrays = Mapping[str, Array]


class Programs:
    """The compiled step and score of models that are alike.

    Args:
        held: one of them; its arrays are not looked at.
        data: what is trained on.
        recipe: how.
        count: how many train as one.
    """

    def __init__(self, held: Held, data: Data, recipe: Recipe, count: int) -> None:
        self._held, self._recipe = held, recipe
        self._loss = loss_of(recipe, data)
        # A single network is not mapped over: some operations have a slower batched form.
        self._mapped = count > 1
        self.train = jax.jit(self._train)
        self.score = jax.jit(self._score)

    def loss(
        self, arrays: Arrays, state: Any, key: Array, inputs: Array, targets: Array
    ) -> tuple[Array, Any]:
        """The loss of a batch in training mode, and the state afterwards."""
        output, state = self._held.call(arrays, state, key, (inputs,), {}, training=True)
        return self._loss(output, targets), state

    def _step(self, data: tuple[Array, Array], order: Array, step: Array, net: Any) -> Any:
        """One network's next step; one whose loss is not finite stays as it is from then on."""
        chosen = order[net["owner"], step]
        batch = jnp.take(data[0], chosen, axis=0), jnp.take(data[1], chosen, axis=0)
        key = jax.random.fold_in(jax.random.key(net["seed"]), step)
        differentiated: Callable[..., Any] = jax.value_and_grad(self.loss, has_aux=True)
        (loss, state), gradient = differentiated(net["arrays"], net["state"], key, *batch)
        moved, memory = updated(
            self._recipe, net["arrays"], gradient, net["memory"], net["rate"], step + 1
        )
        goes_on = net["alive"] & jnp.isfinite(loss)

        def chosen_of(new: Any, old: Any, which: Array) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(which, a, b), new, old)

        return {
            **net,
            "arrays": chosen_of(moved, net["arrays"], goes_on),
            "memory": chosen_of(memory, net["memory"], goes_on),
            "state": chosen_of(_like(state, net["state"]), net["state"], net["alive"]),
            "alive": goes_on,
            "losses": net["losses"].at[step].set(loss.astype(jnp.float32)),
        }

    def _train(
        self, nets: Any, data: tuple[Array, Array], order: Array, first: Array, last: Array
    ) -> Any:
        def body(step: Array, nets: Any) -> Any:
            def one(net: Any) -> Any:
                return self._step(data, order, step, net)

            every: Callable[[Any], Any] = jax.vmap(one) if self._mapped else one
            return every(nets)

        return lax.fori_loop(first, last, body, nets)

    def _score(self, nets: Any, inputs: Array, targets: Array) -> Array:
        data = Data(
            inputs=inputs, targets=targets, held_out_inputs=inputs, held_out_targets=targets
        )

        def one(net: Any) -> Array:
            output, _ = self._held.call(
                net["arrays"], net["state"], jax.random.key(0), (inputs,), {}, training=False
            )
            return score(output, data, self._loss)

        given = {"arrays": nets["arrays"], "state": nets["state"]}
        # One after another: all activations of a large held-out set at once would not fit.
        return lax.map(one, given) if self._mapped else one(given)


def _like(new: Any, old: Any) -> Any:
    """A state in the form and the types of the old one, so that a loop can carry it."""
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype) if _numeric(b) else a, new, old)


def _numeric(value: Any) -> bool:
    return not jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
