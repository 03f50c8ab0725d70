"""Which weights are fed by ReLU, read off a Keras model's layers without running them."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, layers

from firstlight.frameworks.keras.models import weights

_PASSING = (layers.Flatten, layers.Dropout, layers.Identity, layers.InputLayer)
"""Layers that leave the second moment as it is, so that a weight behind them is still fed so."""

_FED = (
    layers.Dense,
    *(getattr(layers, f"Conv{d}D{t}") for d in (1, 2, 3) for t in ("", "Transpose")),
)


def _slope(layer: Any) -> tuple[str, float] | None:
    """The name and slope below zero, if a layer ends in ReLU."""
    function = getattr(layer, "activation", None)
    if function is activations.relu:
        return "ReLU", 0.0
    if isinstance(layer, layers.ReLU) and not layer.threshold and layer.max_value is None:
        return "ReLU", float(layer.negative_slope)
    if isinstance(layer, layers.LeakyReLU):
        return "LeakyReLU", float(layer.negative_slope)
    return None


def _before(layer: Any) -> Any:
    """The one layer whose result a layer reads; None if there is not exactly one."""
    nodes = layer._inbound_nodes
    parents = nodes[0].parent_nodes if len(nodes) == 1 else []
    return parents[0].operation if len(parents) == 1 else None


def _chain(model: Any) -> list[Any]:
    found: list[Any] = []
    for layer in model.layers:
        found += _chain(layer) if isinstance(layer, keras.Sequential) else [layer]
    return found


def fed_by_relu(model: Any) -> dict[str, tuple[str, float]]:
    """The weights of dense and convolution layers that stand behind a ReLU.

    Read from `Sequential` models, and from functional ones where a layer is called once.

    Args:
        model: is not run and not changed.

    Returns:
        For the name of each weight the activation, and its slope below zero.

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), layers.Dense(4, activation="relu"), layers.Dense(2)]
    ... )
    >>> fed_by_relu(model)
    {'dense_1.kernel': ('ReLU', 0.0)}
    """
    if isinstance(model, keras.Sequential):
        ordered = _chain(model)
        previous = dict(zip(map(id, ordered[1:]), ordered, strict=False))
    else:
        previous = {id(each): _before(each) for each in getattr(model, "layers", ())}
    found: dict[str, tuple[str, float]] = {}
    for weight in weights(model):
        if not isinstance(weight.owner, _FED) or not weight.parameter.name.endswith("kernel"):
            continue
        layer = previous.get(id(weight.owner))
        while layer is not None and isinstance(layer, _PASSING):
            layer = previous.get(id(layer))
        feeding = None if layer is None else _slope(layer)
        if feeding is not None:
            found[weight.parameter.name] = feeding
    return found
