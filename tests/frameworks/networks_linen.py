"""The contract's networks in Flax Linen, as (module, variables); pictures channels last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from architectures import CLASSES, DEPTH, FEATURES, HEADS, LENGTH, VOCABULARY, WIDTH
from flax import linen as nn
from jax import Array

_layer_norm = partial(nn.LayerNorm, epsilon=1e-5)
_gelu = partial(nn.gelu, approximate=False)
_max_pool = partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))


class MLP(nn.Module):
    detached: bool = False
    """No gradient gets past the head."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Dense(WIDTH, name="fc1")(x))
        x = nn.relu(nn.Dense(WIDTH, name="fc2")(x))
        return nn.Dense(CLASSES, name="head")(jax.lax.stop_gradient(x) if self.detached else x)


class Chain(nn.Module):
    """Plain layers, without norm or skip."""

    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i in range(DEPTH):
            x = self.activation(nn.Dense(WIDTH, name=f"fc{i}")(x))
        return nn.Dense(CLASSES, name="head")(x)


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        norm = partial(nn.BatchNorm, use_running_average=not train)
        x = nn.Conv(16, (3, 3), use_bias=False, name="conv1")(x)
        x = _max_pool(nn.relu(norm(name="bn1")(x)))
        x = nn.Conv(32, (3, 3), use_bias=False, name="conv2")(x)
        x = nn.relu(norm(name="bn2")(x))
        return nn.Dense(CLASSES, name="head")(x.mean(axis=(1, 2)))


class ResidualBlock(nn.Module):
    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        norm = partial(nn.BatchNorm, use_running_average=not train)
        inner = nn.Conv(16, (3, 3), use_bias=False, name="conv1")(x)
        inner = nn.relu(norm(name="bn1")(inner))
        inner = nn.Conv(16, (3, 3), use_bias=False, name="conv2")(inner)
        return nn.relu(x + norm(name="bn2")(inner))


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        x = nn.relu(nn.Conv(16, (3, 3), name="stem")(x))
        x = ResidualBlock(name="block0")(x, train)
        x = ResidualBlock(name="block1")(x, train)
        return nn.Dense(CLASSES, name="head")(x.mean(axis=(1, 2)))


class MobileBlock(nn.Module):
    """Expand, depthwise, project; the sum with the input."""

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        norm = partial(nn.BatchNorm, use_running_average=not train)
        conv = partial(nn.Conv, use_bias=False)
        inner = nn.relu6(norm(name="bn1")(conv(48, (1, 1), name="expand")(x)))
        inner = conv(48, (3, 3), feature_group_count=48, name="depthwise")(inner)
        inner = nn.relu6(norm(name="bn2")(inner))
        return x + norm(name="bn3")(conv(16, (1, 1), name="project")(inner))


class MobileNet(nn.Module):
    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        x = nn.Conv(16, (3, 3), use_bias=False, name="stem")(x)
        x = nn.relu6(nn.BatchNorm(use_running_average=not train, name="bn")(x))
        x = MobileBlock(name="block0")(x, train)
        x = MobileBlock(name="block1")(x, train)
        return nn.Dense(CLASSES, name="head")(x.mean(axis=(1, 2)))


class UNet(nn.Module):
    """One step down, one up, and what was there joined again."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        outer = nn.relu(nn.Conv(16, (3, 3), name="down")(x))
        inner = nn.relu(nn.Conv(32, (3, 3), name="middle")(_max_pool(outer)))
        up = nn.ConvTranspose(
            16, (2, 2), strides=(2, 2), padding="VALID", transpose_kernel=True, name="up"
        )
        joined = jnp.concatenate([outer, nn.relu(up(inner))], axis=-1)
        joined = nn.relu(nn.Conv(16, (3, 3), name="join")(joined))
        return nn.Conv(1, (1, 1), name="head")(joined)


class Attention(nn.Module):
    """Written plainly, so that it has the same weights everywhere."""

    causal: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        samples, length, _ = x.shape

        def heads(name: str) -> Array:
            y = nn.Dense(WIDTH, name=name)(x)
            return y.reshape(samples, length, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)

        q, k, v = heads("q"), heads("k"), heads("v")
        scores = q @ k.transpose(0, 1, 3, 2) / (WIDTH // HEADS) ** 0.5
        if self.causal:
            seen = jnp.tril(jnp.ones((length, length), bool))
            scores = jnp.where(seen, scores, -1e9)
        mixed = (nn.softmax(scores) @ v).transpose(0, 2, 1, 3)
        return nn.Dense(WIDTH, name="out")(mixed.reshape(samples, length, WIDTH))


class Block(nn.Module):
    """A pre-norm transformer block."""

    causal: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x + Attention(self.causal, name="attention")(_layer_norm(name="norm1")(x))
        inner = nn.Dense(2 * WIDTH, name="fc1")(_layer_norm(name="norm2")(x))
        return x + nn.Dense(WIDTH, name="fc2")(_gelu(inner))


class ViT(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Conv(WIDTH, (2, 2), strides=(2, 2), name="patches")(x)
        positions = self.param("positions", nn.initializers.normal(0.02), (16, WIDTH))
        x = x.reshape(x.shape[0], 16, WIDTH) + positions
        x = Block(False, name="block0")(x)
        x = Block(False, name="block1")(x)
        return nn.Dense(CLASSES, name="head")(_layer_norm(name="norm")(x).mean(axis=1))


class GPT(nn.Module):
    """Predicts the token after the last one."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        embed = partial(nn.Embed, features=WIDTH, embedding_init=nn.initializers.normal(0.02))
        positions = embed(LENGTH, name="positions")(jnp.arange(x.shape[1]))
        x = embed(VOCABULARY, name="tokens")(x) + positions
        x = Block(True, name="block0")(x)
        x = Block(True, name="block1")(x)
        return nn.Dense(VOCABULARY, name="head")(_layer_norm(name="norm")(x)[:, -1])


class Encoder(nn.Module):
    """A pre-norm encoder around the framework's own attention."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Dense(WIDTH, name="embed")(x)
        attention = nn.MultiHeadDotProductAttention(HEADS, name="attention")
        x = x + attention(_layer_norm(name="norm1")(x))
        inner = nn.Dense(2 * WIDTH, name="fc1")(_layer_norm(name="norm2")(x))
        x = x + nn.Dense(WIDTH, name="fc2")(_gelu(inner))
        return nn.Dense(CLASSES, name="head")(_layer_norm(name="norm")(x).mean(axis=1))


class MixerBlock(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        mixed = _layer_norm(name="norm1")(x).transpose(0, 2, 1)
        mixed = _gelu(nn.Dense(32, name="tokens1")(mixed))
        x = x + nn.Dense(16, name="tokens2")(mixed).transpose(0, 2, 1)
        inner = nn.Dense(2 * WIDTH, name="fc1")(_layer_norm(name="norm2")(x))
        return x + nn.Dense(WIDTH, name="fc2")(_gelu(inner))


class Mixer(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Conv(WIDTH, (2, 2), strides=(2, 2), name="patches")(x)
        x = x.reshape(x.shape[0], 16, WIDTH)
        x = MixerBlock(name="block0")(x)
        x = MixerBlock(name="block1")(x)
        return nn.Dense(CLASSES, name="head")(_layer_norm(name="norm")(x).mean(axis=1))


class GatedBlock(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        dense = partial(nn.Dense, use_bias=False)
        inner = _layer_norm(name="norm")(x)
        gate = nn.silu(dense(2 * WIDTH, name="gate")(inner))
        return x + dense(WIDTH, name="down")(gate * dense(2 * WIDTH, name="up")(inner))


class GatedMLP(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Dense(WIDTH, name="embed")(x)
        x = GatedBlock(name="block0")(x)
        x = GatedBlock(name="block1")(x)
        return nn.Dense(CLASSES, name="head")(_layer_norm(name="norm")(x))


class LSTM(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.RNN(nn.OptimizedLSTMCell(WIDTH), name="lstm")(x)
        return nn.Dense(CLASSES, name="head")(x[:, -1])


class Bag(nn.Module):
    """The mean of the embeddings."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Embed(VOCABULARY, WIDTH, name="tokens")(x).mean(axis=1)
        return nn.Dense(CLASSES, name="head")(nn.relu(nn.Dense(WIDTH, name="fc")(x)))


class Autoencoder(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        code = nn.Dense(8, name="encode2")(jnp.tanh(nn.Dense(24, name="encode1")(x)))
        return nn.Dense(FEATURES, name="decode2")(jnp.tanh(nn.Dense(24, name="decode1")(code)))


_PICTURES, _VECTORS, _TOKENS = (1, 8, 8, 3), (1, FEATURES), (1, LENGTH)
_SEQUENCES = (1, LENGTH, FEATURES)

_MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "mlp": (MLP(), _VECTORS),
    "deep_relu": (Chain(nn.relu), _VECTORS),
    "deep_tanh": (Chain(jnp.tanh), _VECTORS),
    "convnet": (ConvNet(), _PICTURES),
    "resnet": (ResNet(), _PICTURES),
    "mobilenet": (MobileNet(), _PICTURES),
    "unet": (UNet(), _PICTURES),
    "vit": (ViT(), _PICTURES),
    "gpt": (GPT(), _TOKENS),
    "encoder": (Encoder(), _SEQUENCES),
    "mixer": (Mixer(), _PICTURES),
    "gated_mlp": (GatedMLP(), _VECTORS),
    "lstm": (LSTM(), _SEQUENCES),
    "bag": (Bag(), _TOKENS),
    "autoencoder": (Autoencoder(), _VECTORS),
    "detached": (MLP(detached=True), _VECTORS),
}


def _builder(name: str) -> Callable[[], tuple[nn.Module, Any]]:
    module, shape = _MODULES[name]

    def build() -> tuple[nn.Module, Any]:
        sample = jnp.zeros(shape, jnp.int32 if shape == _TOKENS else jnp.float32)
        return module, module.init(jax.random.key(0), sample)

    return build


BUILDERS = {name: _builder(name) for name in _MODULES}
