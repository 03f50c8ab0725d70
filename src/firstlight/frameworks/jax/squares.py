"""Second moments of any size, without overflow."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def log_square(x: Array) -> tuple[Array, Array]:
    """Logarithm of the mean |x|², whatever its size, and whether it is positive and finite."""
    size = jnp.max(jnp.abs(x))
    some = (size > 0) & jnp.isfinite(size)
    size = jnp.where(some, size, 1)
    square = jnp.mean(jnp.square(jnp.abs(x / size)))
    return jnp.where(some, 2 * jnp.log(size) + jnp.log(square), 0.0), some
