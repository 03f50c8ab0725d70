"""One small network in every form in which JAX's users write it; its parts have the same names."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

INPUTS, HIDDEN, CLASSES = 6, 16, 3
BATCH = np.random.default_rng(0).standard_normal((12, INPUTS)).astype(np.float32)


class NnxNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.fc1 = nnx.Linear(INPUTS, HIDDEN, rngs=rngs)
        self.norm = nnx.BatchNorm(HIDDEN, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(HIDDEN, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(self.drop(nnx.relu(self.norm(self.fc1(x)))))


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = linen.Dense(HIDDEN, name="fc1")(x)
        x = linen.relu(linen.BatchNorm(use_running_average=not train, name="norm")(x))
        x = linen.Dropout(0.5, deterministic=not train)(x)
        return linen.Dense(CLASSES, name="head")(x)


class EquinoxNet(eqx.Module):
    fc1: eqx.nn.Linear
    drop: eqx.nn.Dropout
    head: eqx.nn.Linear

    def __init__(self, key: Any) -> None:
        one, two = jax.random.split(key)
        self.fc1 = eqx.nn.Linear(INPUTS, HIDDEN, key=one)
        self.drop = eqx.nn.Dropout(0.5)
        self.head = eqx.nn.Linear(HIDDEN, CLASSES, key=two)

    def __call__(self, x: Any, *, key: Any = None) -> Any:
        return self.head(self.drop(jax.nn.relu(self.fc1(x)), key=key))


class StatefulNet(eqx.Module):
    fc1: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    head: eqx.nn.Linear

    def __init__(self, key: Any) -> None:
        one, two = jax.random.split(key)
        self.fc1 = eqx.nn.Linear(INPUTS, HIDDEN, key=one)
        self.norm = eqx.nn.BatchNorm(HIDDEN, "batch", mode="batch")
        self.head = eqx.nn.Linear(HIDDEN, CLASSES, key=two)

    def __call__(self, x: Any, state: Any) -> Any:
        x, state = self.norm(self.fc1(x), state)
        return self.head(jax.nn.relu(x)), state


def _of_haiku(x: Any, is_training: bool = True) -> Any:
    x = hk.Linear(HIDDEN, name="fc1")(x)
    x = jax.nn.relu(hk.BatchNorm(True, True, 0.9, name="norm")(x, is_training))
    if is_training:
        x = hk.dropout(hk.next_rng_key(), 0.5, x)
    return hk.Linear(CLASSES, name="head")(x)


def plain(parameters: Any, x: Any) -> Any:
    return (
        jax.nn.relu(x @ parameters["fc1"]["w"] + parameters["fc1"]["b"]) @ (parameters["head"]["w"])
    )


def nnx_net(seed: int) -> Any:
    return NnxNet(nnx.Rngs(seed))


def linen_net(seed: int) -> Any:
    module = LinenNet()
    return module, module.init(jax.random.key(seed), BATCH, train=False)


def bound_net(seed: int) -> Any:
    module, variables = linen_net(seed)
    return module.bind(variables, rngs={"dropout": jax.random.key(1)})


def equinox_net(seed: int) -> Any:
    return EquinoxNet(jax.random.key(seed))


def stateful_net(seed: int) -> Any:
    return eqx.nn.make_with_state(StatefulNet)(jax.random.key(seed))


def haiku_net(seed: int) -> Any:
    network = hk.transform_with_state(_of_haiku)
    return (network.apply, *network.init(jax.random.key(seed), BATCH))


def plain_net(seed: int) -> Any:
    draw = np.random.default_rng(seed)
    return plain, {
        "fc1": {
            "w": jnp.asarray(draw.standard_normal((INPUTS, HIDDEN), np.float32)),
            "b": jnp.zeros(HIDDEN),
        },
        "head": {"w": jnp.asarray(draw.standard_normal((HIDDEN, CLASSES), np.float32))},
        "layers": 2,
    }


FORMS: Mapping[str, Callable[[int], Any]] = {
    "nnx": nnx_net,
    "linen": linen_net,
    "bound": bound_net,
    "equinox": equinox_net,
    "stateful": stateful_net,
    "haiku": haiku_net,
    "plain": plain_net,
}
