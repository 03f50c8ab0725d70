"""What Keras on JAX starts as under a distribution, as JSON: run with XLA_FLAGS set."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import keras
import numpy as np

import firstlight as fl
import firstlight.keras as init
from firstlight.laws import parts


def digest(values: Any) -> str:
    wide = np.ascontiguousarray(np.asarray(values), np.float32)
    return hashlib.sha256(wide.tobytes()).hexdigest()[:16]


def build() -> Any:
    layers = [
        keras.Input((16,)),
        keras.layers.Dense(32, "relu", kernel_initializer=init.HeNormal(seed=1), name="fc1"),
        keras.layers.Dense(16, kernel_initializer=init.GlorotUniform(seed=1), name="fc2"),
        keras.layers.Dense(8, kernel_initializer=init.Orthogonal(seed=1), name="head"),
    ]
    return keras.Sequential(layers, name="net")


def main() -> None:
    names = [str(device) for device in keras.distribution.list_devices()]
    mesh = keras.distribution.DeviceMesh((1, len(names)), ("batch", "model"), names)
    rows = keras.distribution.LayoutMap(mesh)
    rows[".*kernel"] = (None, "model")
    ways = {
        "alone": None,
        "data": keras.distribution.DataParallel(devices=names),
        "model": keras.distribution.ModelParallel(layout_map=rows, batch_dim_name="batch"),
    }
    batch = np.ones((8, 16), np.float32)
    found: dict[str, str] = {}
    spread: dict[str, int] = {}
    plan = fl.plan(build(), batch)
    drawn: list[int] = []
    fill = parts.fill

    def counted(law: Any, key: Any, rows: range, columns: range, out: Any) -> None:
        drawn.append(len(rows) * len(columns))
        fill(law, key, rows, columns, out)

    parts.fill = counted
    regions: dict[str, list[int]] = {}
    for way, distribution in ways.items():
        keras.distribution.set_distribution(distribution)
        model = build()
        for weight in model.trainable_variables:
            found[f"{way}, initializer, {weight.path}"] = digest(weight.value)
        regions[f"{way}, initializer"] = sorted(drawn)
        drawn.clear()
        fl.apply(model, plan, seed=2)
        regions[f"{way}, applied"] = sorted(drawn)
        drawn.clear()
        for weight in model.trainable_variables:
            found[f"{way}, applied, {weight.path}"] = digest(weight.value)
            spread[f"{way} {weight.path}"] = len(weight.value.sharding.device_set)
    keras.distribution.set_distribution(None)
    more = {"spread": spread, "devices": len(jax.devices()), "regions": regions}
    print(json.dumps({"bits": found, **more}))


if __name__ == "__main__":
    main()
