"""Keras's optimizers in the form of a gradient transformation, by their own stateless step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from jax import Array


class FirstStep:
    """The first step of one of Keras's optimizers, taken by a copy on variables of its own.

    Args:
        optimizer: any of Keras's; only its configuration is read.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self._class, self._config = type(optimizer), optimizer.get_config()

    def init(self, weights: Mapping[str, Array]) -> None:
        """Nothing: each update begins anew."""

    def update(
        self, gradients: Mapping[str, Array], _state: None, weights: Mapping[str, Array]
    ) -> tuple[dict[str, Array], None]:
        """What the step would add to each weight."""
        copy = self._class.from_config(self._config)
        # Keras's weight decay may leave out variables by their names.
        held = [keras.Variable(w, name=n.rpartition("/")[2]) for n, w in weights.items()]
        copy.build(held)
        state = [variable.value for variable in copy.variables]
        moved, _ = copy.stateless_apply(state, list(gradients.values()), [v.value for v in held])
        return {n: new - weights[n] for n, new in zip(weights, moved, strict=True)}, None


def as_transformation(optimizer: Any) -> Any:
    """One of Keras's optimizers as a gradient transformation; everything else as it is."""
    return FirstStep(optimizer) if isinstance(optimizer, keras.optimizers.Optimizer) else optimizer
