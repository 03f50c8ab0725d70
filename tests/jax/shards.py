"""Abstract models, and starts with ``out_sharding``, on eight devices: run with XLA_FLAGS set.

Prints as JSON which cases are not what one device gives, and how much was drawn at once.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import firstlight as fl
import firstlight.jax as init
from firstlight.laws import parts

SIZE = 16
SEED = 7
BATCH = np.random.default_rng(0).standard_normal((32, SIZE), np.float32)
MESHES = {1: (1, 1), 2: (2, 1), 8: (4, 2)}
SPECS = {"rows": P("a"), "columns": P(None, "b"), "both": P(("a"), "b"), "copies": P()}
SKIPPED = ("constant", "variance_scaling", "zeros", "ones")  # no techniques as the others are
_KERNEL = nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, "b"))
_LINEN = linen.with_partitioning(linen.initializers.lecun_normal(), (None, "b"))


class Net(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.fc1 = nnx.Linear(SIZE, 2 * SIZE, rngs=rngs, kernel_init=_KERNEL)
        self.norm = nnx.BatchNorm(2 * SIZE, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.fc2 = nnx.Linear(2 * SIZE, 8, rngs=rngs, param_dtype=jnp.bfloat16)

    def __call__(self, x: Any) -> Any:
        return self.fc2(self.drop(nnx.relu(self.norm(self.fc1(x)))))


class Lin(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.relu(linen.Dense(2 * SIZE, name="fc1", kernel_init=_LINEN)(x))
        return linen.Dense(8, name="fc2")(x)


class Eqx(eqx.Module):
    fc1: eqx.nn.Linear
    fc2: eqx.nn.Linear

    def __init__(self) -> None:
        self.fc1 = eqx.nn.Linear(SIZE, 2 * SIZE, key=jax.random.key(0))
        self.fc2 = eqx.nn.Linear(2 * SIZE, 8, key=jax.random.key(1))

    def __call__(self, x: Any) -> Any:
        return self.fc2(jax.nn.relu(self.fc1(x)))


def function(params: Any, x: Any) -> Any:
    return jax.nn.relu(x @ params["fc1"]["kernel"] + params["fc1"]["bias"]) @ params["fc2"]


def params() -> Any:
    return {
        "fc1": {"kernel": jnp.ones((SIZE, 2 * SIZE)), "bias": jnp.zeros(2 * SIZE)},
        "fc2": jnp.ones((2 * SIZE, 8)),
    }


def mesh_of(number: int) -> Mesh:
    devices = np.array(jax.devices()[:number]).reshape(MESHES[number])
    return Mesh(devices, ("a", "b"), axis_types=(AxisType.Auto, AxisType.Auto))


def on(mesh: Mesh, tree: Any, spec: P) -> Any:
    """Shapes that say where they belong: matrices by the spec, vectors everywhere."""

    def shape_of(leaf: Any) -> Any:
        here = NamedSharding(mesh, spec if leaf.ndim == 2 else P())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)

    return jax.tree.map(shape_of, tree)


def values(model: Any) -> dict[str, Any]:
    from firstlight.frameworks.jax.adapter import JaxAdapter

    return dict(JaxAdapter().values(model))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def spread(model: Any) -> int:
    """The most parts that one of its matrices lies in."""
    places = [
        leaf.sharding.devices_indices_map(leaf.shape)
        for leaf in jax.tree.leaves(model)
        if isinstance(leaf, jax.Array) and leaf.ndim == 2
    ]
    return max(len(set(map(str, each.values()))) for each in places)


def models(found: dict[str, bool]) -> None:
    lin = Lin()
    with jax.set_mesh(mesh_of(1)):
        real_net = Net()
    real = {
        "nnx": real_net,
        "linen": (lin, lin.init(jax.random.key(0), BATCH)),
        "equinox": Eqx(),
        "function": (function, params()),
    }
    for technique, how in {"own": {}, "orthogonal": {"prefer": "orthogonal"}}.items():
        plans = {name: fl.plan(model, BATCH, **how) for name, model in real.items()}
        first = {
            name: values(fl.apply(model, plans[name], seed=SEED).model)
            for name, model in real.items()
        }
        for number in MESHES:
            mesh = mesh_of(number)
            abstract: dict[str, Callable[[], Any]] = {
                "nnx": lambda: nnx.eval_shape(Net),
                "linen": lambda: (lin, jax.eval_shape(lin.init, jax.random.key(0), BATCH)),
                "equinox": lambda mesh=mesh: on(mesh, eqx.filter_eval_shape(Eqx), P("a")),
                "function": lambda mesh=mesh: (function, on(mesh, params(), P("a", "b"))),
            }
            with jax.set_mesh(mesh):
                for name, make in abstract.items():
                    plan = fl.plan(make(), BATCH, **how)
                    receipt = fl.apply(make(), plan, seed=SEED)
                    case = f"{name} {technique} {number}"
                    found[f"{case} plan"] = not plans[name].diff(plan)
                    found[f"{case} values"] = same(values(receipt.model), first[name])
                    rows, columns = MESHES[number]
                    wanted = {"equinox": rows, "function": rows * columns}.get(name, columns)
                    held = nnx.state(receipt.model) if name == "nnx" else receipt.model
                    found[f"{case} spread"] = spread(held) == wanted
    with jax.set_mesh(mesh_of(8)):
        for name, make in abstract.items():
            receipt = fl.initialize(make(), BATCH, seed=SEED)
            after = receipt.after
            found[f"{name} initialize"] = receipt.before is None and bool(after and after.healthy)
        nowhere = nnx.eval_shape(Net)
    try:  # shardings over axes alone, and no mesh
        fl.apply(nowhere, plans["nnx"], seed=SEED)
        found["no mesh"] = False
    except fl.BadInputError as error:
        found["no mesh"] = "jax.set_mesh" in str(error)


def starts(found: dict[str, bool], drawn: list[int]) -> None:
    matrix, kernel = (2 * SIZE, SIZE), (4, 4, SIZE, SIZE)
    for technique, shape in product(fl.techniques(), (matrix, kernel)):
        if technique.name in SKIPPED or not hasattr(init, technique.name):
            continue
        start = getattr(init, technique.name)(seed=3)
        for dtype in (jnp.float32, jnp.bfloat16):
            try:
                alone = np.asarray(start(jax.random.key(1), shape, dtype))
            except fl.BadInputError:
                break
            for number in MESHES:
                for place, spec in SPECS.items():
                    here = NamedSharding(mesh_of(number), spec)
                    drawn.clear()
                    array = start(jax.random.key(1), shape, dtype, here)
                    case = f"{technique.name} {len(shape)} {dtype.__name__} {number} {place}"
                    found[case] = np.array_equal(np.asarray(array), alone) and (
                        array.sharding == here
                    )
                    if technique.name == "he_normal" and shape == matrix:
                        part = here.shard_shape(shape)
                        once, most = sum(drawn) == prod(shape), max(drawn) == prod(part)
                        found[f"{case} drawn"] = once and most
    key, shape = jax.random.key(1), matrix
    rbg = jax.random.key(1, impl="rbg")
    start = init.he_normal(seed=3)
    for number in MESHES:
        here = NamedSharding(mesh_of(number), P("a", "b"))
        for name, one in (("threefry", key), ("rbg", rbg)):
            compiled = jax.jit(lambda key: start(key, shape), out_shardings=here)(one)
            found[f"jit {name} {number}"] = np.array_equal(
                np.asarray(compiled), np.asarray(start(one, shape))
            )


def main() -> None:
    warnings.simplefilter("ignore")
    drawn: list[int] = []
    fill = parts.fill

    def counted(law: Any, key: Any, rows: range, columns: range, out: Any) -> None:
        drawn.append(len(rows) * len(columns))
        fill(law, key, rows, columns, out)

    parts.fill = counted
    found: dict[str, bool] = {}
    models(found)
    starts(found, drawn)
    print(json.dumps({"cases": len(found), "wrong": [k for k, good in found.items() if not good]}))


if __name__ == "__main__":
    main()
