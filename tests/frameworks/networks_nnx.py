"""The contract's networks in Flax NNX; pictures channels last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from architectures import CLASSES, DEPTH, FEATURES, HEADS, LENGTH, VOCABULARY, WIDTH
from flax import nnx
from jax import Array

_layer_norm = partial(nnx.LayerNorm, epsilon=1e-5)
_gelu = partial(nnx.gelu, approximate=False)
_max_pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.fc1 = nnx.Linear(FEATURES, WIDTH, rngs=rngs)
        self.fc2 = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.fc1(x))
        x = nnx.relu(self.fc2(x))
        return self.head(x)


class Detached(MLP):
    """No gradient gets past the head."""

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.fc1(x))
        x = nnx.relu(self.fc2(x))
        return self.head(jax.lax.stop_gradient(x))


class Softmaxed(MLP):
    """Its head makes probabilities, which cross-entropy of logits does not expect."""

    def __call__(self, x: Array) -> Array:
        return nnx.softmax(super().__call__(x))


class Forgetful(MLP):
    """Holds a layer that it does not use."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        super().__init__(rngs)
        self.forgotten = nnx.Linear(4, 4, rngs=rngs)


class LowRank(nnx.Module):
    """Two factors that are both zero, beside a layer that no gradient reaches."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.base = nnx.Linear(FEATURES, CLASSES, rngs=rngs)
        self.a = nnx.Linear(FEATURES, 4, use_bias=False, rngs=rngs)
        self.b = nnx.Linear(4, CLASSES, use_bias=False, rngs=rngs)
        self.a.kernel[...], self.b.kernel[...] = jnp.zeros((FEATURES, 4)), jnp.zeros((4, CLASSES))

    def __call__(self, x: Array) -> Array:
        return jax.lax.stop_gradient(self.base(x)) + self.b(self.a(x))


class Chain(nnx.Module):
    """Plain layers, without norm or skip."""

    def __init__(self, activation: Callable[[Array], Array], rngs: nnx.Rngs) -> None:
        self.activation = activation
        for i in range(DEPTH):
            setattr(self, f"fc{i}", nnx.Linear(WIDTH if i else FEATURES, WIDTH, rngs=rngs))
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        for i in range(DEPTH):
            x = self.activation(getattr(self, f"fc{i}")(x))
        return self.head(x)


class ConvNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(3, 16, (3, 3), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(16, rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(32, rngs=rngs)
        self.head = nnx.Linear(32, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = _max_pool(nnx.relu(self.bn1(self.conv1(x))))
        x = nnx.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean(axis=(1, 2)))


class ResidualBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(16, 16, (3, 3), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(16, rngs=rngs)
        self.conv2 = nnx.Conv(16, 16, (3, 3), use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(16, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        inner = nnx.relu(self.bn1(self.conv1(x)))
        return nnx.relu(x + self.bn2(self.conv2(inner)))


class ResNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.block0 = ResidualBlock(rngs)
        self.block1 = ResidualBlock(rngs)
        self.head = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.stem(x))
        x = self.block1(self.block0(x))
        return self.head(x.mean(axis=(1, 2)))


class MobileBlock(nnx.Module):
    """Expand, depthwise, project; the sum with the input."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.expand = nnx.Conv(16, 48, (1, 1), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(48, rngs=rngs)
        self.depthwise = nnx.Conv(48, 48, (3, 3), feature_group_count=48, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(48, rngs=rngs)
        self.project = nnx.Conv(48, 16, (1, 1), use_bias=False, rngs=rngs)
        self.bn3 = nnx.BatchNorm(16, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        inner = nnx.relu6(self.bn1(self.expand(x)))
        inner = nnx.relu6(self.bn2(self.depthwise(inner)))
        return x + self.bn3(self.project(inner))


class MobileNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 16, (3, 3), use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(16, rngs=rngs)
        self.block0 = MobileBlock(rngs)
        self.block1 = MobileBlock(rngs)
        self.head = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu6(self.bn(self.stem(x)))
        x = self.block1(self.block0(x))
        return self.head(x.mean(axis=(1, 2)))


class UNet(nnx.Module):
    """One step down, one up, and what was there joined again."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.down = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.middle = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.up = nnx.ConvTranspose(
            32, 16, (2, 2), strides=(2, 2), padding="VALID", transpose_kernel=True, rngs=rngs
        )
        self.join = nnx.Conv(32, 16, (3, 3), rngs=rngs)
        self.head = nnx.Conv(16, 1, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        outer = nnx.relu(self.down(x))
        inner = nnx.relu(self.middle(_max_pool(outer)))
        joined = jnp.concatenate([outer, nnx.relu(self.up(inner))], axis=-1)
        return self.head(nnx.relu(self.join(joined)))


class Attention(nnx.Module):
    """Written plainly, so that it has the same weights everywhere."""

    def __init__(self, causal: bool, rngs: nnx.Rngs) -> None:
        self.causal = causal
        self.q = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.k = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.v = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        samples, length, _ = x.shape

        def heads(y: Array) -> Array:
            return y.reshape(samples, length, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)

        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        scores = q @ k.transpose(0, 1, 3, 2) / (WIDTH // HEADS) ** 0.5
        if self.causal:
            seen = jnp.tril(jnp.ones((length, length), bool))
            scores = jnp.where(seen, scores, -1e9)
        mixed = jax.nn.softmax(scores) @ v
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(samples, length, WIDTH))


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, causal: bool, rngs: nnx.Rngs) -> None:
        self.norm1 = _layer_norm(WIDTH, rngs=rngs)
        self.attention = Attention(causal, rngs)
        self.norm2 = _layer_norm(WIDTH, rngs=rngs)
        self.fc1 = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.fc2 = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(_gelu(self.fc1(self.norm2(x))))


class ViT(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(3, WIDTH, (2, 2), strides=(2, 2), rngs=rngs)
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (16, WIDTH)) * 0.02)
        self.block0 = Block(False, rngs)
        self.block1 = Block(False, rngs)
        self.norm = _layer_norm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.patches(x).reshape(x.shape[0], 16, WIDTH) + self.positions[...]
        x = self.block1(self.block0(x))
        return self.head(self.norm(x).mean(axis=1))


class GPT(nnx.Module):
    """Predicts the token after the last one."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        embed = partial(nnx.Embed, embedding_init=nnx.initializers.normal(0.02), rngs=rngs)
        self.tokens = embed(VOCABULARY, WIDTH)
        self.positions = embed(LENGTH, WIDTH)
        self.block0 = Block(True, rngs)
        self.block1 = Block(True, rngs)
        self.norm = _layer_norm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, VOCABULARY, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.tokens(x) + self.positions(jnp.arange(x.shape[1]))
        x = self.block1(self.block0(x))
        return self.head(self.norm(x)[:, -1])


class Encoder(nnx.Module):
    """A pre-norm encoder around the framework's own attention."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(FEATURES, WIDTH, rngs=rngs)
        self.norm1 = _layer_norm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.norm2 = _layer_norm(WIDTH, rngs=rngs)
        self.fc1 = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.fc2 = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)
        self.norm = _layer_norm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.embed(x)
        x = x + self.attention(self.norm1(x))
        x = x + self.fc2(_gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x).mean(axis=1))


class MixerBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1 = _layer_norm(WIDTH, rngs=rngs)
        self.tokens1 = nnx.Linear(16, 32, rngs=rngs)
        self.tokens2 = nnx.Linear(32, 16, rngs=rngs)
        self.norm2 = _layer_norm(WIDTH, rngs=rngs)
        self.fc1 = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.fc2 = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        mixed = self.norm1(x).transpose(0, 2, 1)
        mixed = self.tokens2(_gelu(self.tokens1(mixed)))
        x = x + mixed.transpose(0, 2, 1)
        return x + self.fc2(_gelu(self.fc1(self.norm2(x))))


class Mixer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(3, WIDTH, (2, 2), strides=(2, 2), rngs=rngs)
        self.block0 = MixerBlock(rngs)
        self.block1 = MixerBlock(rngs)
        self.norm = _layer_norm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.patches(x).reshape(x.shape[0], 16, WIDTH)
        x = self.block1(self.block0(x))
        return self.head(self.norm(x).mean(axis=1))


class GatedBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = _layer_norm(WIDTH, rngs=rngs)
        self.gate = nnx.Linear(WIDTH, 2 * WIDTH, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 2 * WIDTH, use_bias=False, rngs=rngs)
        self.down = nnx.Linear(2 * WIDTH, WIDTH, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        inner = self.norm(x)
        return x + self.down(nnx.silu(self.gate(inner)) * self.up(inner))


class GatedMLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(FEATURES, WIDTH, rngs=rngs)
        self.block0 = GatedBlock(rngs)
        self.block1 = GatedBlock(rngs)
        self.norm = _layer_norm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.block1(self.block0(self.embed(x)))
        return self.head(self.norm(x))


class LSTM(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.lstm = nnx.RNN(nnx.LSTMCell(FEATURES, WIDTH, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.head(self.lstm(x)[:, -1])


class Bag(nnx.Module):
    """The mean of the embeddings."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.tokens = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.fc = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.head(nnx.relu(self.fc(self.tokens(x).mean(axis=1))))


class Autoencoder(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.encode1 = nnx.Linear(FEATURES, 24, rngs=rngs)
        self.encode2 = nnx.Linear(24, 8, rngs=rngs)
        self.decode1 = nnx.Linear(8, 24, rngs=rngs)
        self.decode2 = nnx.Linear(24, FEATURES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        code = self.encode2(jnp.tanh(self.encode1(x)))
        return self.decode2(jnp.tanh(self.decode1(code)))


_MAKERS: dict[str, Callable[[nnx.Rngs], nnx.Module]] = {
    "mlp": MLP,
    "deep_relu": partial(Chain, nnx.relu),
    "deep_tanh": partial(Chain, jnp.tanh),
    "convnet": ConvNet,
    "resnet": ResNet,
    "mobilenet": MobileNet,
    "unet": UNet,
    "vit": ViT,
    "gpt": GPT,
    "encoder": Encoder,
    "mixer": Mixer,
    "gated_mlp": GatedMLP,
    "lstm": LSTM,
    "bag": Bag,
    "autoencoder": Autoencoder,
    "detached": Detached,
    "softmaxed": Softmaxed,
    "forgetful": Forgetful,
    "low rank": LowRank,
}


def _builder(make: Callable[[nnx.Rngs], nnx.Module]) -> Callable[[], Any]:
    return lambda: make(nnx.Rngs(0))


BUILDERS = {name: _builder(make) for name, make in _MAKERS.items()}
