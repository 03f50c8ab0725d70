"""The contract's networks in Keras, in its three styles; pictures channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from architectures import CLASSES, DEPTH, FEATURES, HEADS, LENGTH, VOCABULARY, WIDTH
from keras import layers, ops

_EPSILON = 1e-5  # as in the other frameworks; Keras's own is 1e-3


def dense(units: int, name: str, **options: Any) -> layers.Layer:
    return layers.Dense(units, name=name, **options)


def conv(filters: int, size: int, name: str, **options: Any) -> layers.Layer:
    return layers.Conv2D(filters, size, padding="same", name=name, **options)


def batch_norm(name: str) -> layers.Layer:
    return layers.BatchNormalization(epsilon=_EPSILON, name=name)


def layer_norm(name: str) -> layers.Layer:
    return layers.LayerNormalization(epsilon=_EPSILON, name=name)


# Sequential and functional ------------------------------------------------------------------------


def mlp() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            dense(WIDTH, "fc1", activation="relu"),
            dense(WIDTH, "fc2", activation="relu"),
            dense(CLASSES, "head"),
        ]
    )


def chain(activation: str) -> keras.Model:
    hidden = [dense(WIDTH, f"fc{i}", activation=activation) for i in range(DEPTH)]
    return keras.Sequential([keras.Input((FEATURES,)), *hidden, dense(CLASSES, "head")])


def convnet() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = conv(16, 3, "conv1", use_bias=False)(inputs)
    x = layers.Activation("relu")(batch_norm("bn1")(x))
    x = layers.MaxPooling2D()(x)
    x = conv(32, 3, "conv2", use_bias=False)(x)
    x = layers.ReLU()(batch_norm("bn2")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, dense(CLASSES, "head")(x))


class ResidualBlock(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.conv1 = conv(16, 3, "conv1", use_bias=False)
        self.bn1 = batch_norm("bn1")
        self.conv2 = conv(16, 3, "conv2", use_bias=False)
        self.bn2 = batch_norm("bn2")

    def call(self, x: Any, training: bool = False) -> Any:
        inner = ops.relu(self.bn1(self.conv1(x), training=training))
        return ops.relu(x + self.bn2(self.conv2(inner), training=training))


def resnet() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = conv(16, 3, "stem", activation="relu")(inputs)
    x = ResidualBlock(name="block0")(x)
    x = ResidualBlock(name="block1")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, dense(CLASSES, "head")(x))


class MobileBlock(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.expand = conv(48, 1, "expand", use_bias=False)
        self.bn1 = batch_norm("bn1")
        self.depthwise = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")
        self.bn2 = batch_norm("bn2")
        self.project = conv(16, 1, "project", use_bias=False)
        self.bn3 = batch_norm("bn3")

    def call(self, x: Any, training: bool = False) -> Any:
        inner = ops.relu6(self.bn1(self.expand(x), training=training))
        inner = ops.relu6(self.bn2(self.depthwise(inner), training=training))
        return x + self.bn3(self.project(inner), training=training)


def mobilenet() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = batch_norm("bn")(conv(16, 3, "stem", use_bias=False)(inputs))
    x = layers.ReLU(max_value=6)(x)
    x = MobileBlock(name="block0")(x)
    x = MobileBlock(name="block1")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, dense(CLASSES, "head")(x))


def unet() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    outer = conv(16, 3, "down", activation="relu")(inputs)
    inner = conv(32, 3, "middle", activation="relu")(layers.MaxPooling2D()(outer))
    raised = layers.Conv2DTranspose(16, 2, strides=2, activation="relu", name="up")(inner)
    joined = layers.Concatenate()([outer, raised])
    joined = conv(16, 3, "join", activation="relu")(joined)
    return keras.Model(inputs, conv(1, 1, "head")(joined))


def lstm() -> keras.Model:
    inputs = keras.Input((LENGTH, FEATURES))
    return keras.Model(inputs, dense(CLASSES, "head")(layers.LSTM(WIDTH, name="lstm")(inputs)))


def bag() -> keras.Model:
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(VOCABULARY, WIDTH, name="tokens")(inputs)
    x = dense(WIDTH, "fc", activation="relu")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, dense(CLASSES, "head")(x))


def autoencoder() -> keras.Model:
    inputs = keras.Input((FEATURES,))
    x = dense(24, "encode1", activation="tanh")(inputs)
    x = dense(8, "encode2")(x)
    x = dense(24, "decode1", activation="tanh")(x)
    return keras.Model(inputs, dense(FEATURES, "decode2")(x))


def encoder() -> keras.Model:
    """A pre-norm encoder around the framework's own attention."""
    inputs = keras.Input((LENGTH, FEATURES))
    x = dense(WIDTH, "embed")(inputs)
    inner = layer_norm("norm1")(x)
    x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attention")(inner, inner)
    inner = dense(2 * WIDTH, "fc1", activation="gelu")(layer_norm("norm2")(x))
    x = x + dense(WIDTH, "fc2")(inner)
    x = layers.GlobalAveragePooling1D()(layer_norm("norm")(x))
    return keras.Model(inputs, dense(CLASSES, "head")(x))


def softmaxed() -> Any:
    """Its head makes probabilities, which cross-entropy of logits does not expect."""
    x = vectors = keras.Input((FEATURES,))
    for name in ("fc1", "fc2"):
        x = dense(WIDTH, name, activation="relu")(x)
    return keras.Model(vectors, dense(CLASSES, "head", activation="softmax")(x))


def low_rank() -> Any:
    """Two factors that are both zero, beside a frozen layer."""
    vectors = keras.Input((FEATURES,))
    zeros = {"use_bias": False, "kernel_initializer": "zeros"}
    base = dense(CLASSES, "base", trainable=False)(vectors)
    low = dense(CLASSES, "b", **zeros)(dense(4, "a", **zeros)(vectors))
    return keras.Model(vectors, layers.Add()([base, low]))


# Subclassed ---------------------------------------------------------------------------------------


class Detached(keras.Model):
    """No gradient gets past the head."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = dense(WIDTH, "fc1")
        self.fc2 = dense(WIDTH, "fc2")
        self.head = dense(CLASSES, "head")

    def call(self, x: Any) -> Any:
        x = ops.relu(self.fc1(x))
        x = ops.relu(self.fc2(x))
        return self.head(ops.stop_gradient(x))


class Forgetful(keras.Model):
    """Holds a layer that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = dense(WIDTH, "fc1", activation="relu")
        self.head = dense(CLASSES, "head")
        self.forgotten = dense(4, "forgotten")
        self.forgotten.build((None, 4))

    def call(self, x: Any) -> Any:
        return self.head(self.fc1(x))


class Attention(layers.Layer):
    def __init__(self, causal: bool, **options: Any) -> None:
        super().__init__(**options)
        self.causal = causal
        self.q = dense(WIDTH, "q")
        self.k = dense(WIDTH, "k")
        self.v = dense(WIDTH, "v")
        self.out = dense(WIDTH, "out")

    def call(self, x: Any) -> Any:
        length = x.shape[1]

        def heads(y: Any) -> Any:
            y = ops.reshape(y, (-1, length, HEADS, WIDTH // HEADS))
            return ops.transpose(y, (0, 2, 1, 3))

        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / (WIDTH // HEADS) ** 0.5
        if self.causal:
            seen = ops.tril(ops.ones((length, length), dtype="bool"))
            scores = ops.where(seen, scores, -1e9)
        mixed = ops.transpose(ops.matmul(ops.softmax(scores), v), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, (-1, length, WIDTH)))


class Block(layers.Layer):
    """A pre-norm transformer block."""

    def __init__(self, causal: bool, **options: Any) -> None:
        super().__init__(**options)
        self.norm1 = layer_norm("norm1")
        self.attention = Attention(causal, name="attention")
        self.norm2 = layer_norm("norm2")
        self.fc1 = dense(2 * WIDTH, "fc1")
        self.fc2 = dense(WIDTH, "fc2")

    def call(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        inner = ops.gelu(self.fc1(self.norm2(x)), approximate=False)
        return x + self.fc2(inner)


class ViT(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.patches = layers.Conv2D(WIDTH, 2, strides=2, name="patches")
        self.positions = self.add_weight(
            shape=(16, WIDTH),
            initializer=keras.initializers.RandomNormal(0, 0.02),
            name="positions",
        )
        self.block0 = Block(causal=False, name="block0")
        self.block1 = Block(causal=False, name="block1")
        self.norm = layer_norm("norm")
        self.head = dense(CLASSES, "head")

    def call(self, x: Any) -> Any:
        x = ops.reshape(self.patches(x), (-1, 16, WIDTH)) + self.positions
        x = self.block1(self.block0(x))
        return self.head(ops.mean(self.norm(x), axis=1))


class GPT(keras.Model):
    """Predicts the token after the last one."""

    def __init__(self) -> None:
        super().__init__()
        law = keras.initializers.RandomNormal(0, 0.02)
        self.tokens = layers.Embedding(VOCABULARY, WIDTH, law, name="tokens")
        self.positions = layers.Embedding(LENGTH, WIDTH, law, name="positions")
        self.block0 = Block(causal=True, name="block0")
        self.block1 = Block(causal=True, name="block1")
        self.norm = layer_norm("norm")
        self.head = dense(VOCABULARY, "head")

    def call(self, x: Any) -> Any:
        x = self.tokens(x) + self.positions(ops.arange(x.shape[1]))
        x = self.block1(self.block0(x))
        return self.head(self.norm(x)[:, -1])


class MixerBlock(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norm1 = layer_norm("norm1")
        self.tokens1 = dense(32, "tokens1")
        self.tokens2 = dense(16, "tokens2")
        self.norm2 = layer_norm("norm2")
        self.fc1 = dense(2 * WIDTH, "fc1")
        self.fc2 = dense(WIDTH, "fc2")

    def call(self, x: Any) -> Any:
        mixed = ops.transpose(self.norm1(x), (0, 2, 1))
        mixed = self.tokens2(ops.gelu(self.tokens1(mixed), approximate=False))
        x = x + ops.transpose(mixed, (0, 2, 1))
        inner = ops.gelu(self.fc1(self.norm2(x)), approximate=False)
        return x + self.fc2(inner)


class Mixer(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.patches = layers.Conv2D(WIDTH, 2, strides=2, name="patches")
        self.block0 = MixerBlock(name="block0")
        self.block1 = MixerBlock(name="block1")
        self.norm = layer_norm("norm")
        self.head = dense(CLASSES, "head")

    def call(self, x: Any) -> Any:
        x = ops.reshape(self.patches(x), (-1, 16, WIDTH))
        x = self.block1(self.block0(x))
        return self.head(ops.mean(self.norm(x), axis=1))


class GatedBlock(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norm = layer_norm("norm")
        self.gate = dense(2 * WIDTH, "gate", use_bias=False)
        self.up = dense(2 * WIDTH, "up", use_bias=False)
        self.down = dense(WIDTH, "down", use_bias=False)

    def call(self, x: Any) -> Any:
        inner = self.norm(x)
        return x + self.down(ops.silu(self.gate(inner)) * self.up(inner))


class GatedMLP(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embed = dense(WIDTH, "embed")
        self.block0 = GatedBlock(name="block0")
        self.block1 = GatedBlock(name="block1")
        self.norm = layer_norm("norm")
        self.head = dense(CLASSES, "head")

    def call(self, x: Any) -> Any:
        x = self.block1(self.block0(self.embed(x)))
        return self.head(self.norm(x))


_PICTURES, _VECTORS, _TOKENS = (1, 8, 8, 3), (1, FEATURES), (1, LENGTH)


def _built(make: Callable[[], keras.Model], shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """A subclassed model has no weights before it has seen a batch."""

    def build() -> keras.Model:
        model = make()
        model(ops.zeros(shape, dtype))
        return model

    return build


BUILDERS: dict[str, Callable[[], keras.Model]] = {
    "mlp": mlp,
    "deep_relu": lambda: chain("relu"),
    "deep_tanh": lambda: chain("tanh"),
    "convnet": convnet,
    "resnet": resnet,
    "mobilenet": mobilenet,
    "unet": unet,
    "vit": _built(ViT, _PICTURES),
    "gpt": _built(GPT, _TOKENS, "int32"),
    "encoder": encoder,
    "mixer": _built(Mixer, _PICTURES),
    "gated_mlp": _built(GatedMLP, _VECTORS),
    "lstm": lstm,
    "bag": bag,
    "autoencoder": autoencoder,
    "detached": _built(Detached, _VECTORS),
    "softmaxed": softmaxed,
    "forgetful": _built(Forgetful, _VECTORS),
    "low rank": low_rank,
}
