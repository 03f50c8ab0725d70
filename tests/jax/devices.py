"""What one process with several devices draws, as JSON: run with XLA_FLAGS set."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import firstlight as fl
import firstlight.jax as init
from firstlight.laws import parts

SIZE = 16
SPECS = {"rows": P("a"), "columns": P(None, "a"), "both": P("a", "b"), "replicated": P()}
SKIPPED = ("forget_bias", "chrono", "sinusoidal", "mimetic_qk", "mimetic_vo")


def digest(array: Any) -> str:
    wide = np.asarray(jnp.asarray(array).astype(jnp.float32))
    return hashlib.sha256(np.ascontiguousarray(wide).tobytes()).hexdigest()[:16]


class Net(nnx.Module):
    def __init__(self) -> None:
        self.embed = nnx.Embed(SIZE, SIZE, rngs=nnx.Rngs(0))
        self.fc1 = nnx.Linear(SIZE, 2 * SIZE, rngs=nnx.Rngs(1))
        self.fc2 = nnx.Linear(2 * SIZE, 8, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(2))

    def __call__(self, tokens: Any) -> Any:
        return self.fc2(jnp.tanh(self.fc1(self.embed(tokens))))


class Lin(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.Dense(8, name="fc2")(jnp.tanh(linen.Dense(2 * SIZE, name="fc1")(x)))


def function(params: Any, x: Any) -> Any:
    return jnp.tanh(x @ params["fc1"]["kernel"] + params["fc1"]["bias"]) @ params["fc2"]["kernel"]


def spread(tree: Any, mesh: Mesh, spec: P) -> Any:
    """Each matrix as the spec says, vectors everywhere."""
    return jax.tree.map(
        lambda a: jax.device_put(a, NamedSharding(mesh, spec if a.ndim == 2 else P())), tree
    )


def techniques() -> list[str]:
    return [t.name for t in fl.techniques() if hasattr(init, t.name) and t.name not in SKIPPED]


def main() -> None:
    warnings.simplefilter("ignore")
    devices = jax.devices()
    shape = (len(devices), 1) if len(devices) < 4 else (len(devices) // 2, 2)
    mesh = Mesh(np.array(devices).reshape(shape), ("a", "b"))
    found: dict[str, str] = {}
    for name in techniques():
        start = getattr(init, name)
        if name == "constant":
            start = start(0.3)
        elif name == "variance_scaling":
            start = start(2.0, "fan_avg", "uniform", seed=3)
        elif name not in ("zeros", "ones"):  # those are starts themselves, as in JAX
            start = start(seed=3)
        for place, spec in (("rows", P("a")), ("both", P("a", "b"))):
            draw = jax.jit(
                lambda key, start=start: start(key, (SIZE, SIZE), jnp.float32),
                out_shardings=NamedSharding(mesh, spec),
            )
            try:
                array = draw(jax.random.key(1))
            except fl.BadInputError as error:
                found[f"jit {name}"] = str(error)[:40]
                break
            assert len(array.sharding.device_set) == len(devices)
            found[f"jit {name} {place}"] = digest(array)
    tokens, x = jnp.zeros((2, 3), jnp.int32), jnp.ones((4, SIZE))
    lin = Lin().init(jax.random.key(0), x)
    params = {
        "fc1": {"kernel": jnp.ones((SIZE, 2 * SIZE)), "bias": jnp.zeros(2 * SIZE)},
        "fc2": {"kernel": jnp.ones((2 * SIZE, 8))},
    }
    wishes: dict[str, dict[str, str]] = {
        "own": {},
        "uniform": {"technique": "glorot_uniform"},
        "cut": {"technique": "truncated_normal"},
        "orthogonal": {"prefer": "orthogonal"},
    }
    for technique, how in wishes.items():
        for place, spec in SPECS.items():
            net = Net()
            graph, state = nnx.split(net)
            net = nnx.merge(graph, spread(state, mesh, spec))
            fl.apply(net, fl.plan(Net(), tokens, **how), seed=7)
            for path, variable in nnx.to_flat_state(nnx.state(net, nnx.Param)):
                value = variable.get_value()
                assert value.sharding.is_equivalent_to(
                    NamedSharding(mesh, spec if value.ndim == 2 else P()), value.ndim
                )
                found[f"nnx {technique} {place} {path}"] = digest(value)
            plan = fl.plan((Lin(), lin), x, **how)
            made = fl.apply((Lin(), spread(lin, mesh, spec)), plan, seed=7).model
            for i, leaf in enumerate(jax.tree.leaves(made[1])):
                found[f"linen {technique} {place} {i}"] = digest(leaf)
            plan = fl.plan((function, params), x, **how)
            made = fl.apply((function, spread(params, mesh, spec)), plan, seed=7).model
            for i, leaf in enumerate(jax.tree.leaves(made[1])):
                found[f"function {technique} {place} {i}"] = digest(leaf)
    drawn = []
    fill = parts.fill

    def counted(law: Any, key: Any, rows: range, columns: range, out: Any) -> None:
        drawn.append(len(rows) * len(columns))
        fill(law, key, rows, columns, out)

    parts.fill = counted
    plan = fl.plan((function, params), x, technique="he_normal")
    fl.apply((function, spread(params, mesh, P("a"))), plan, seed=7)
    sizes = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(json.dumps({"bits": found, "drawn": sum(drawn), "whole": sizes, "parts": len(drawn)}))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
