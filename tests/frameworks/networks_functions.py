"""A few of the contract's networks as plain functions of parameters, and in Equinox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from architectures import CLASSES, DEPTH, FEATURES, VOCABULARY, WIDTH
from jax import Array

Parameters = dict[str, dict[str, Array]]


def _dense(key: Array, inputs: int, outputs: int) -> dict[str, Array]:
    kernel = jax.random.normal(key, (inputs, outputs)) * (2 / inputs) ** 0.5
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def _apply(layer: dict[str, Array], x: Array) -> Array:
    return x @ layer["kernel"] + layer["bias"]


def _parameters(sizes: dict[str, tuple[int, int]]) -> Parameters:
    keys = jax.random.split(jax.random.key(0), len(sizes))
    return {name: _dense(k, *sizes[name]) for k, name in zip(keys, sizes, strict=True)}


def mlp(parameters: Parameters, x: Array) -> Array:
    x = jax.nn.relu(_apply(parameters["fc1"], x))
    x = jax.nn.relu(_apply(parameters["fc2"], x))
    return _apply(parameters["head"], x)


def detached(parameters: Parameters, x: Array) -> Array:
    """No gradient gets past the head."""
    x = jax.nn.relu(_apply(parameters["fc1"], x))
    x = jax.nn.relu(_apply(parameters["fc2"], x))
    return _apply(parameters["head"], jax.lax.stop_gradient(x))


def softmaxed(parameters: Parameters, x: Array) -> Array:
    """Its head makes probabilities, which cross-entropy of logits does not expect."""
    return jax.nn.softmax(mlp(parameters, x))


def low_rank(parameters: Any, x: Array) -> Array:
    """Two factors that are both zero, beside a layer that no gradient reaches."""
    return (
        jax.lax.stop_gradient(_apply(parameters["base"], x))
        + x @ parameters["a"] @ (parameters["b"])
    )


def deep_tanh(parameters: Parameters, x: Array) -> Array:
    for i in range(DEPTH):
        x = jnp.tanh(_apply(parameters[f"fc{i}"], x))
    return _apply(parameters["head"], x)


def bag(parameters: Any, x: Array) -> Array:
    x = jnp.take(parameters["tokens"]["embedding"], x, axis=0).mean(axis=1)
    return _apply(parameters["head"], jax.nn.relu(_apply(parameters["fc"], x)))


def autoencoder(parameters: Parameters, x: Array) -> Array:
    code = _apply(parameters["encode2"], jnp.tanh(_apply(parameters["encode1"], x)))
    return _apply(parameters["decode2"], jnp.tanh(_apply(parameters["decode1"], code)))


_MLP = {"fc1": (FEATURES, WIDTH), "fc2": (WIDTH, WIDTH), "head": (WIDTH, CLASSES)}
_CHAIN = {f"fc{i}": (WIDTH if i else FEATURES, WIDTH) for i in range(DEPTH)}
_ZEROS = {"a": jnp.zeros((FEATURES, 4)), "b": jnp.zeros((4, CLASSES))}
_CODE = {
    "encode1": (FEATURES, 24),
    "encode2": (24, 8),
    "decode1": (8, 24),
    "decode2": (24, FEATURES),
}


def _bag() -> Any:
    embedding = jax.random.normal(jax.random.key(1), (VOCABULARY, WIDTH))
    dense = _parameters({"fc": (WIDTH, WIDTH), "head": (WIDTH, CLASSES)})
    return {"tokens": {"embedding": embedding}, **dense}


BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "mlp": lambda: (mlp, _parameters(_MLP)),
    "detached": lambda: (detached, _parameters(_MLP)),
    "softmaxed": lambda: (softmaxed, _parameters(_MLP)),
    "forgetful": lambda: (mlp, _parameters(_MLP | {"forgotten": (4, 4)})),
    "low rank": lambda: (low_rank, _parameters({"base": (FEATURES, CLASSES)}) | _ZEROS),
    "deep_tanh": lambda: (deep_tanh, _parameters(_CHAIN | {"head": (WIDTH, CLASSES)})),
    "bag": lambda: (bag, _bag()),
    "autoencoder": lambda: (autoencoder, _parameters(_CODE)),
}


class MLP(eqx.Module):
    fc1: eqx.nn.Linear
    fc2: eqx.nn.Linear
    head: eqx.nn.Linear
    detached: bool = eqx.field(static=True, default=False)

    def __call__(self, x: Array) -> Array:
        x = jax.nn.relu(jax.vmap(self.fc1)(x))
        x = jax.nn.relu(jax.vmap(self.fc2)(x))
        return jax.vmap(self.head)(jax.lax.stop_gradient(x) if self.detached else x)


class Chain(eqx.Module):
    layers: list[eqx.nn.Linear]
    head: eqx.nn.Linear

    def __call__(self, x: Array) -> Array:
        for layer in self.layers:
            x = jnp.tanh(jax.vmap(layer)(x))
        return jax.vmap(self.head)(x)


def _equinox_mlp(detached: bool) -> MLP:
    keys = iter(jax.random.split(jax.random.key(0), 3))
    layers = {name: eqx.nn.Linear(*size, key=next(keys)) for name, size in _MLP.items()}
    return MLP(**layers, detached=detached)


def _equinox_chain() -> Chain:
    keys = iter(jax.random.split(jax.random.key(0), DEPTH + 1))
    layers = [eqx.nn.Linear(*size, key=next(keys)) for size in _CHAIN.values()]
    return Chain(layers, eqx.nn.Linear(WIDTH, CLASSES, key=next(keys)))


EQUINOX: dict[str, Callable[[], eqx.Module]] = {
    "mlp": lambda: _equinox_mlp(detached=False),
    "detached": lambda: _equinox_mlp(detached=True),
    "deep_tanh": _equinox_chain,
}
