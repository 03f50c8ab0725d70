"""Intended zeros, told from dead ends: do the first steps give the gradient back?

LoRA's B = 0, a zero γ, a zero convolution and a zero head stop the gradient of what lies before
them at the very first step only; a zero head on zero branches takes two. So small virtual steps are
taken along the gradients there are, for as long as each wakes something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from firstlight.measuring.weights import norm, plain

_RELATIVE_STEP = 1e-2
_MOST_STEPS = 3


def awake(gradient: Array | None) -> bool:
    """Whether a gradient came, and is not zero throughout."""
    return gradient is not None and bool(np.asarray(gradient).any())


def _stepped(value: Array, gradient: Array | None) -> Array:
    """A hundredth of the weight's size down the gradient."""
    if gradient is None:
        return value
    length = norm(np.asarray(gradient))
    if not math.isfinite(length) or length == 0:
        return value
    host = plain(np.asarray(value))
    size = norm(host) or 1.0
    step = plain(np.asarray(gradient)) / host.dtype.type(length)
    return jnp.asarray(host - host.dtype.type(_RELATIVE_STEP * size) * step, value.dtype)


def waking(
    arrays: Mapping[str, Array],
    gradients: Mapping[str, Array | None],
    asleep: Sequence[str],
    differentiate: Callable[[Mapping[str, Array]], Mapping[str, Array]],
) -> frozenset[str]:
    """Which parameters of zero gradient have one after a few small steps of the others.

    Args:
        arrays: the parameters.
        gradients: of the loss, by the same names.
        asleep: names whose gradient is exactly zero.
        differentiate: parameters → gradients of the loss.

    Returns:
        Those of ``asleep`` that wake up; none if the model cannot be run again.
    """
    woken: set[str] = set()
    values = dict(arrays)
    for _ in range(_MOST_STEPS):
        values = {name: _stepped(value, gradients.get(name)) for name, value in values.items()}
        try:
            gradients = dict(differentiate(values))
        except Exception:
            break  # a model that cannot run on stepped weights has no second look
        fresh = {name for name in asleep if name not in woken and awake(gradients.get(name))}
        woken |= fresh
        if not fresh or len(woken) == len(asleep):
            break
    return frozenset(woken)
