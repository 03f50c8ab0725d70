"""What the contract's networks have in common: sizes, data, and what must hold of each.

Data are NumPy arrays, pictures with channels first; a framework's entry turns them into its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES, FEATURES, WIDTH, CLASSES = 64, 32, 32, 10
DEPTH, HEADS, LENGTH, VOCABULARY = 12, 4, 12, 50

Array = NDArray[np.generic]


def _generator(stream: int) -> np.random.Generator:
    return np.random.default_rng([6, stream])


def vectors() -> Array:
    return _generator(0).standard_normal((SAMPLES, FEATURES), np.float32)


def labels() -> Array:
    return _generator(1).integers(0, CLASSES, SAMPLES)


def pictures() -> Array:
    return _generator(2).standard_normal((SAMPLES, 3, 8, 8), np.float32)


def maps() -> Array:
    return _generator(3).standard_normal((SAMPLES, 1, 8, 8), np.float32)


def tokens() -> Array:
    return _generator(4).integers(0, VOCABULARY, (SAMPLES, LENGTH))


def next_tokens() -> Array:
    return _generator(5).integers(0, VOCABULARY, SAMPLES)


def sequences() -> Array:
    return _generator(6).standard_normal((SAMPLES, LENGTH, FEATURES), np.float32)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network, whoever builds it.

    Args:
        name: what each framework calls it.
        batch: makes the input.
        target: makes the target.
        loss: name of the loss.
        stream: where δ must be even: at ``adds`` (residual additions) or ``weights``.
        same: whether its weights are stored alike everywhere, so that one seed gives one network.
    """

    name: str
    batch: Callable[[], Array] = vectors
    target: Callable[[], Array] = labels
    loss: str = "cross_entropy"
    stream: str = "weights"
    same: bool = True


ARCHITECTURES = {
    each.name: each
    for each in (
        Architecture(name="mlp"),
        Architecture(name="deep_relu"),
        Architecture(name="deep_tanh"),
        Architecture(name="convnet", batch=pictures),
        Architecture(name="resnet", batch=pictures, stream="adds"),
        Architecture(name="mobilenet", batch=pictures, stream="adds"),
        Architecture(name="unet", batch=pictures, target=maps, loss="mse"),
        Architecture(name="vit", batch=pictures, stream="adds"),
        Architecture(name="gpt", batch=tokens, target=next_tokens, stream="adds"),
        Architecture(name="encoder", batch=sequences, stream="adds", same=False),
        Architecture(name="mixer", batch=pictures, stream="adds"),
        Architecture(name="gated_mlp", stream="adds"),
        Architecture(name="lstm", batch=sequences, same=False),
        Architecture(name="bag", batch=tokens),
        Architecture(name="autoencoder", target=vectors, loss="mse"),
    )
}
"""The healthy ones."""
