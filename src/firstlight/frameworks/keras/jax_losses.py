"""Logits of which Keras models on the JAX backend give probabilities."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from firstlight.frameworks.keras.losses import Known

_TINY = 1e-7
"""What Keras keeps probabilities away from zero by."""


def logits(output: Array, known: Known) -> Array:
    """What a loss is computed from, where the output is probabilities: cross entropy of log p."""
    if not known.of_probabilities:
        return output
    if known.name == "cross_entropy":
        return jnp.log(jnp.maximum(output, _TINY))
    kept = jnp.clip(output, _TINY, 1 - _TINY)
    return jnp.log(kept) - jnp.log1p(-kept)
