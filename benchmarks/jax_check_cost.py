"""What a check of a JAX model costs beside one jitted training step, on models of real size.

    python benchmarks/jax_check_cost.py [--repeats 5] [--only CNN]

A training step is `jax.value_and_grad` and plain SGD in one jitted function. Both run in one
process in turn, and the ratio is of the least processor times, which other programs on the machine
disturb least. What the first call costs, with tracing and compiling, is printed beside: a check is
compiled once for a program and its shapes, so that a second one, after `initialize` say, does not
pay it again.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from itertools import pairwise

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from rich.console import Console
from rich.table import Table

import firstlight as fl


class Bottleneck(nnx.Module):
    """The block of a ResNet-50."""

    def __init__(self, channels: int, width: int, stride: int, rngs: nnx.Rngs) -> None:
        out = 4 * width
        self.conv1 = nnx.Conv(channels, width, (1, 1), use_bias=False, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), stride, use_bias=False, rngs=rngs)
        self.conv3 = nnx.Conv(width, out, (1, 1), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(width, rngs=rngs)
        self.norm2 = nnx.BatchNorm(width, rngs=rngs)
        self.norm3 = nnx.BatchNorm(out, rngs=rngs)
        self.project = stride > 1 or channels != out
        if self.project:
            self.skip = nnx.Conv(channels, out, (1, 1), stride, use_bias=False, rngs=rngs)
            self.skip_norm = nnx.BatchNorm(out, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Three convolutions and the skip."""
        h = nnx.relu(self.norm1(self.conv1(x)))
        h = nnx.relu(self.norm2(self.conv2(h)))
        skip = self.skip_norm(self.skip(x)) if self.project else x
        return nnx.relu(self.norm3(self.conv3(h)) + skip)


class ResNet(nnx.Module):
    """ResNet-50: 25.6 million parameters."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 64, (7, 7), 2, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(64, rngs=rngs)
        blocks, channels = [], 64
        for index, (width, count) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
            for block in range(count):
                blocks.append(Bottleneck(channels, width, 2 if index and not block else 1, rngs))
                channels = 4 * width
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(2048, 1000, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Logits."""
        h = nnx.relu(self.norm(self.stem(x)))
        h = nnx.max_pool(h, (3, 3), (2, 2), "SAME")
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean(axis=(1, 2)))


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Attention and a feed-forward layer."""
        b, t, d = x.shape
        q, k, v = jnp.split(self.qkv(self.norm1(x)), 3, axis=-1)
        q, k, v = (part.reshape(b, t, self.heads, d // self.heads) for part in (q, k, v))
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.reshape(b, t, d))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class Gpt(nnx.Module):
    """GPT-2 small: 124 million parameters with tied embeddings."""

    def __init__(self, rngs: nnx.Rngs, vocabulary: int = 50257, width: int = 768) -> None:
        small = nnx.initializers.normal(0.02)
        self.tokens = nnx.Embed(vocabulary, width, embedding_init=small, rngs=rngs)
        self.places = nnx.Embed(1024, width, embedding_init=small, rngs=rngs)
        self.blocks = nnx.List([Block(width, 12, rngs) for _ in range(12)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Logits, one row per position."""
        h = self.tokens(x) + self.places(jnp.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.tokens.attend(self.norm(h))


class Mlp(nnx.Module):
    """Six layers of 1024 units."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        widths = (784, *[1024] * 6, 10)
        pairs = pairwise(widths)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairs])

    def __call__(self, x: Array) -> Array:
        """Logits."""
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


CASES = ("CNN", "transformer", "MLP")


def case(name: str) -> tuple[nnx.Module, Array, Array]:
    """A model, its batch and its target."""
    generator = np.random.default_rng(0)
    if name == "CNN":
        images = generator.standard_normal((4, 160, 160, 3), np.float32)
        return ResNet(nnx.Rngs(0)), jnp.asarray(images), jnp.arange(4)
    if name == "MLP":
        vectors = generator.standard_normal((256, 784), np.float32)
        return Mlp(nnx.Rngs(0)), jnp.asarray(vectors), jnp.arange(256) % 10
    tokens = jnp.asarray(generator.integers(0, 50257, (2, 128)))
    return Gpt(nnx.Rngs(0)), tokens, tokens


def training_step(model: nnx.Module, batch: Array, target: Array) -> Callable[[], object]:
    """Value, gradient and SGD in one jitted function of the model's state."""
    graph, trained, rest = nnx.split(nnx.clone(model), nnx.Param, ...)

    @jax.jit
    def step(trained: nnx.State, rest: nnx.State, batch: Array, target: Array) -> tuple:
        def loss(trained: nnx.State) -> tuple[Array, nnx.State]:
            copy = nnx.merge(graph, trained, rest, copy=True)
            shares = jax.nn.log_softmax(copy(batch))
            picked = jnp.take_along_axis(shares, target[..., None], axis=-1)
            return -picked.mean(), nnx.split(copy, nnx.Param, ...)[2]

        (value, after), gradient = jax.value_and_grad(loss, has_aux=True)(trained)
        return value, jax.tree.map(lambda w, g: w - 1e-4 * g, trained, gradient), after

    return lambda: jax.block_until_ready(step(trained, rest, batch, target))


def seconds(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """The first wall-clock time of each, and the least processor time of the others in turn."""
    first = {}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        first[name] = time.perf_counter() - start
    least = dict.fromkeys(runs, math.inf)
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            run()
            least[name] = min(least[name], time.process_time() - start)
    return {name: (first[name], least[name]) for name in runs}


def cost(names: tuple[str, ...], repeats: int) -> Table:
    """A row for each model."""
    table = Table("model", "step, s", "check, s", "ratio", "first step, s", "first check, s")
    for name in names:
        model, batch, target = case(name)
        found = seconds(
            {
                "step": training_step(model, batch, target),
                "check": lambda m=model, b=batch, t=target: fl.check(m, b, target=t),
            },
            repeats,
        )
        (s0, s1), (c0, c1) = found["step"], found["check"]
        table.add_row(name, *(f"{x:.2f}" for x in (s1, c1, c1 / s1, s0, c0)))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=CASES)
    options = parser.parse_args()
    names = (options.only,) if options.only else CASES
    Console().print(cost(names, options.repeats))


if __name__ == "__main__":
    main()
