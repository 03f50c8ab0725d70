"""What a Keras layer's own initializers mean its variables to be.

Each is run at the side, as a copy with a seed of its own, so that no generator moves. The defaults
of Keras's classes that are laws of single numbers are known by name; what is asked here is what a
user chose (``kernel_initializer="he_normal"``), and what no such law describes: the recurrent
kernels, one isometry over all gates, and the forget gate's bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from firstlight.frameworks.keras.models import Weight, numbers_of, reordered, weights
from firstlight.records.network import Parameter

_POOLED, _REPEATS = 1 << 13, 16
"""A tensor of fewer elements is drawn several times, so that its law shows."""

_DEFAULTS = {
    "kernel": "GlorotUniform",
    "depthwise_kernel": "GlorotUniform",
    "pointwise_kernel": "GlorotUniform",
    "embeddings": "RandomUniform",
    "bias": "Zeros",
    "gamma": "Ones",
    "scale": "Ones",
    "beta": "Zeros",
}


_INITIALIZERS = {
    "recurrent_kernel": ("recurrent_initializer",),
    "depthwise_kernel": ("depthwise_initializer",),
    "pointwise_kernel": ("pointwise_initializer",),
    "kernel": ("kernel_initializer", "depthwise_initializer"),
}
"""Attributes in which a layer keeps the initializer of a variable, if not under its name."""


def _initializer(layer: Any, local: str) -> tuple[str, Any]:
    """The attribute and the initializer of a layer's variable."""
    for name in _INITIALIZERS.get(local, (f"{local}_initializer",)):
        found = getattr(layer, name, None)
        if isinstance(found, keras.initializers.Initializer):
            return name, found
    return "", None


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a layer's initializer would put into a variable.

    Args:
        rule: ``Dense(kernel_initializer=HeNormal)``.
        draws: independent draws; one for large tensors.
        binding: whether nothing can have followed it; weights are loaded and trained.
        fixed: whether it puts in the same numbers every time.
        bounds: of a truncation; Keras's are in units of σ.
    """

    rule: str
    draws: tuple[NDArray[np.floating], ...]
    binding: bool = False
    fixed: bool = False
    bounds: tuple[float, float] | None = None


def _with_seed(initializer: Any, seed: int) -> Any:
    config = initializer.get_config()
    if "seed" not in config:
        return initializer
    return type(initializer).from_config({**config, "seed": seed})


class OwnRules:
    """The initializers of one model's layers.

    Args:
        model: read, never written to.

    ``failed`` names the initializers that could not be run at the side, with the reason.
    """

    def __init__(self, model: Any) -> None:
        self.failed: dict[str, str] = {}
        self._weights = {w.parameter.name: w for w in weights(model)}

    def drawn(self, parameter: Parameter) -> Drawn | None:
        """What the layer would draw; None for a class's plain default, and where nothing says."""
        weight = self._weights[parameter.name]
        local = parameter.name.rpartition(".")[2].partition("#")[0]
        attribute, initializer = _initializer(weight.owner, local)
        if initializer is None:
            return None
        kind = type(initializer).__name__
        forget = local == "bias" and bool(getattr(weight.owner, "unit_forget_bias", False))
        if kind == _DEFAULTS.get(local) and not forget and kind != "RandomUniform":
            return None
        if kind == "RandomUniform" and initializer.get_config().get("maxval") == 0.05:
            return None
        rule = f"{type(weight.owner).__name__}({attribute}={kind})"
        try:
            draws = tuple(self._draws(weight, initializer, forget=forget))
        except Exception as error:
            self.failed[rule] = f"raised {type(error).__name__} when it was run"
            return None
        fixed = all(np.array_equal(draws[0], each) for each in draws[1:]) and len(draws) > 1
        return Drawn(rule=rule, draws=draws, fixed=fixed)

    def _draws(
        self, weight: Weight, initializer: Any, *, forget: bool
    ) -> Iterator[NDArray[np.floating]]:
        shape = tuple(weight.variable.shape)
        count = _REPEATS if np.prod(shape) < _POOLED else 1
        for seed in range(count):
            drawn = _with_seed(initializer, seed)(shape, dtype="float32")
            values = numbers_of(drawn)
            if forget:
                units = shape[-1] // 4
                values[..., units : 2 * units] = 1.0
            yield np.asarray(reordered(values) if weight.reordered else values, dtype=np.float32)


def untied(_model: object) -> Iterator[tuple[str, str]]:
    """Keras shares layers, not tensors: nothing is meant to be tied that is not."""
    yield from ()
