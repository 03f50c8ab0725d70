"""The optimizers, as pure functions of one network's arrays, with optax's settings.

Optax need not be installed; where it is, its steps are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from firstlight.records.race import Recipe

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam and AdamW
WEIGHT_DECAY = 1e-4  # of AdamW
SMOOTHING = 0.9  # of RMSprop

Arrays = Mapping[str, Array]


def moments(recipe: Recipe, arrays: Arrays) -> tuple[Arrays, ...]:
    """What an optimizer remembers, at the start."""
    count = {"sgd": int(recipe.momentum != 0), "rmsprop": 1}.get(recipe.optimizer, 2)
    return tuple({n: jnp.zeros_like(a) for n, a in arrays.items()} for _ in range(count))


def clipped(gradient: Arrays, largest: float | None) -> Arrays:
    """The gradient with the norm of the whole of it at most ``largest``."""
    if largest is None:
        return gradient
    squares = (jnp.sum(jnp.abs(g.astype(jnp.float32)) ** 2) for g in gradient.values())
    norm = jnp.sqrt(sum(squares, jnp.zeros(())))
    scale = jnp.where(norm > largest, largest / norm, 1.0)
    return {name: (g * scale).astype(g.dtype) for name, g in gradient.items()}


def updated(
    recipe: Recipe,
    arrays: Arrays,
    gradient: Arrays,
    memory: tuple[Arrays, ...],
    rate: Array,
    count: Array,
) -> tuple[Arrays, tuple[Arrays, ...]]:
    """Arrays and memory after one step.

    Args:
        recipe: optimizer, momentum and clipping.
        arrays: before the step.
        gradient: of the loss.
        memory: from `moments`, or the last step.
        rate: the learning rate.
        count: number of the step, from 1.
    """
    gradient = clipped(gradient, recipe.clip_norm)

    def moved(direction: Arrays) -> Arrays:
        return {n: (a - rate * direction[n]).astype(a.dtype) for n, a in arrays.items()}

    def mixed(old: Arrays, new: Arrays, keep: float) -> Arrays:
        return {n: (keep * v + (1 - keep) * new[n]).astype(v.dtype) for n, v in old.items()}

    if recipe.optimizer == "sgd":
        if not memory:
            return moved(gradient), ()
        velocity = {n: recipe.momentum * v + gradient[n] for n, v in memory[0].items()}
        return moved(velocity), (velocity,)
    squares = {n: g * g for n, g in gradient.items()}
    if recipe.optimizer == "rmsprop":
        second = mixed(memory[0], squares, SMOOTHING)
        direction = {n: g * jax.lax.rsqrt(second[n] + EPSILON) for n, g in gradient.items()}
        return moved(direction), (second,)
    first, second = (
        mixed(old, new, beta)
        for old, new, beta in zip(memory, (gradient, squares), BETAS, strict=True)
    )
    one, two = (1 - beta ** count.astype(jnp.float32) for beta in BETAS)
    decay = WEIGHT_DECAY if recipe.optimizer == "adamw" else 0.0
    step: dict[str, Any] = {
        n: first[n] / one / (jnp.sqrt(second[n] / two) + EPSILON) + decay * arrays[n]
        for n in arrays
    }
    return moved(step), (first, second)
