"""How far the first step of an optimizer would move each weight, relative to its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from firstlight.errors import BadInputError, said
from firstlight.measuring.weights import norm


def transformation(optimizer: Any) -> Any:
    """The gradient transformation in an optimizer: itself, or the ``.tx`` of what holds one.

    Raises:
        BadInputError: there is none.
    """
    found = getattr(optimizer, "tx", optimizer)
    if callable(getattr(found, "init", None)) and callable(getattr(found, "update", None)):
        return found
    raise BadInputError(
        "optimizer: expected a gradient transformation of optax (optax.adam(1e-3)), got"
        f" {type(optimizer).__name__}"
    )


def relative_updates(
    optimizer: Any, arrays: Mapping[str, Array], gradients: Mapping[str, Array | None]
) -> dict[str, float]:
    """RMS of the first update over RMS of the weight, ‖Δw‖/‖w‖, from a state of its own.

    Args:
        optimizer: a gradient transformation, or an object with one as ``.tx``; it is only called.
        arrays: the parameters by name.
        gradients: of the loss; None where it does not depend on a parameter.

    Returns:
        For parameters that are not zero and get a gradient.

    Raises:
        BadInputError: it cannot be used on these parameters.
    """
    found = transformation(optimizer)
    weights = {name: arrays[name] for name in gradients}
    filled = {
        name: jnp.zeros_like(weights[name]) if g is None else g for name, g in gradients.items()
    }
    try:
        updates, _ = found.update(filled, found.init(weights), weights)
    except Exception as error:
        raise BadInputError(
            f"optimizer: raised {type(error).__name__} on a mapping of the parameters by name:"
            f" {said(error)}"
        ) from error
    ratios = {}
    for name, gradient in gradients.items():
        size = norm(np.asarray(weights[name]))
        if gradient is not None and size and np.asarray(gradient).any():
            ratios[name] = norm(np.asarray(updates[name])) / size
    return ratios
