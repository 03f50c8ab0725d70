"""Small Keras models that the tests share."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers


def mlp() -> Any:
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(64, activation="relu", name="fc1"),
            layers.Dense(64, activation="relu", name="fc2"),
            layers.Dense(3, name="head"),
        ]
    )


def convnet() -> Any:
    """Convolution, norm, residual, depthwise, dropout, pooling."""
    given = keras.Input((12, 12, 3))
    h = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(given)
    h = layers.BatchNormalization(name="bn1")(h)
    h = skip = layers.ReLU()(h)
    h = layers.Conv2D(16, 3, padding="same", name="conv")(h)
    h = layers.BatchNormalization(name="bn2")(h)
    h = layers.ReLU()(layers.Add()([skip, h]))
    h = layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(h)
    h = layers.MaxPooling2D()(layers.ReLU()(h))
    h = layers.Dropout(0.2, seed=3)(h)
    return keras.Model(given, layers.Dense(5, name="head")(layers.Flatten()(h)))


def transformer() -> Any:
    given = keras.Input((8,), dtype="int32")
    h = layers.Embedding(30, 16, name="embed")(given)
    for _ in range(2):
        z = layers.LayerNormalization()(h)
        h = layers.Add()([h, layers.MultiHeadAttention(2, 8, dropout=0.1)(z, z)])
        z = layers.Dense(32, activation="gelu")(layers.LayerNormalization()(h))
        h = layers.Add()([h, layers.Dense(16)(z)])
    return keras.Model(given, layers.Dense(4, name="head")(layers.GlobalAveragePooling1D()(h)))


def recurrent() -> Any:
    given = keras.Input((5, 6))
    h = layers.Bidirectional(layers.LSTM(8, return_sequences=True), name="both")(given)
    h = layers.GRU(8, name="gru")(h)
    return keras.Model(given, layers.Dense(3, name="head")(h))


class Block(layers.Layer):
    """A custom layer with a weight of its own."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.inner = layers.Dense(width, activation="tanh")
        self.norm = layers.LayerNormalization()

    def build(self, shape: Any) -> None:
        self.mix = self.add_weight(name="mix", shape=(shape[-1], shape[-1]))
        self.inner.build(shape)
        self.norm.build(shape)

    def call(self, x: Any) -> Any:
        return x + self.norm(self.inner(keras.ops.matmul(x, self.mix)))


class Subclassed(keras.Model):
    """Two custom layers, one dense layer used twice, and a metric-like counter."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [Block(10), Block(10)]
        self.shared = layers.Dense(10, activation="relu", name="shared")
        self.head = layers.Dense(3, name="head")
        self.dropout = layers.Dropout(0.1)

    def call(self, x: Any, training: bool = False) -> Any:
        for block in self.blocks:
            x = block(x)
        x = self.shared(self.shared(x))
        return self.head(self.dropout(x, training=training))


def subclassed() -> Any:
    model = Subclassed()
    model(np.zeros((2, 10), dtype=np.float32))
    return model


def batch_of(name: str, samples: int = 32) -> tuple[Any, Any]:
    """Inputs and targets for the model of this name."""
    generator = np.random.default_rng(1)
    shapes = {"mlp": (20,), "convnet": (12, 12, 3), "recurrent": (5, 6), "subclassed": (10,)}
    classes = {"convnet": 5, "transformer": 4}.get(name, 3)
    target = generator.integers(0, classes, samples)
    if name == "transformer":
        return generator.integers(0, 30, (samples, 8)), target
    return generator.standard_normal((samples, *shapes[name])).astype(np.float32), target


MODELS = {f.__name__: f for f in (mlp, convnet, transformer, recurrent, subclassed)}
