"""Looking must not touch: everything that a Keras model carries, bit for bit."""

from __future__ import annotations

import random
from typing import Any

import keras
import keras_models as zoo
import numpy as np
import pytest
from keras.src.backend.common import global_state

import firstlight as fl
from firstlight.errors import ModelRaisedError


def _bits(variable: Any) -> tuple[Any, ...]:
    values = keras.ops.convert_to_numpy(variable._value)
    gradient = getattr(variable._value, "grad", None)
    return id(variable), variable.path, variable.trainable, values.tobytes(), gradient is None


def picture_of(model: Any) -> dict[str, Any]:
    """Variables of layers, metrics, optimizer and Keras's own seed; flags, losses, names."""
    found: dict[str, Any] = {}
    everything = [*model.variables, *model.metrics_variables]
    everything += model.optimizer.variables if model.optimizer is not None else []
    for place, variable in enumerate(everything):
        found[f"{place}"] = _bits(variable)
    for layer in model._flatten_layers():
        found[f"{id(layer)}"] = (
            layer.name,
            layer.trainable,
            layer.built,
            len(layer.losses),
            [id(each) for each in layer._layers],
            sorted(vars(layer)),
        )
    generator = global_state.get_global_attribute("global_seed_generator")
    found["seed"] = None if generator is None else _bits(generator.state)
    found["python"] = random.getstate()
    found["numpy"] = repr(np.random.get_state(legacy=False))
    if keras.backend.backend() == "torch":
        import torch

        found["torch"] = torch.get_rng_state().numpy().tobytes()
    return found


class _Noisy(keras.layers.Layer):
    """Noise of Keras's global generator (JAX wants one's own), a counter, a loss of its own."""

    seed: Any = None

    def build(self, _shape: Any) -> None:
        self.count = self.add_weight(name="count", shape=(), trainable=False, initializer="zeros")
        if keras.backend.backend() == "jax":
            self.seed = keras.random.SeedGenerator(0)

    def call(self, x: Any) -> Any:
        self.count.assign_add(1.0)
        self.add_loss(1e-3 * keras.ops.mean(x**2))
        return x + 0.01 * keras.random.normal(keras.ops.shape(x), seed=self.seed)


def noisy() -> Any:
    parts = [keras.Input((20,)), keras.layers.Dense(16), _Noisy(), keras.layers.Dense(3)]
    return keras.Sequential(parts)


def _compiled(name: str) -> Any:
    model = noisy() if name == "noisy" else zoo.MODELS[name]()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    inputs, target = zoo.batch_of("mlp" if name == "noisy" else name)
    if keras.backend.backend() == "torch":
        model.fit(inputs, target, verbose=0)  # builds the optimizer and the metrics
    return model


@pytest.mark.parametrize("name", [*zoo.MODELS, "noisy"])
def test_check_plan_and_audit_leave_a_model_as_it_was(name: str) -> None:
    model = _compiled(name)
    inputs, target = zoo.batch_of("mlp" if name == "noisy" else name)
    before = picture_of(model)
    fl.check(model, inputs, target=target)
    assert picture_of(model) == before
    fl.plan(model, inputs)
    fl.audit(model)
    assert picture_of(model) == before


def test_a_model_that_raises_is_left_as_it_was() -> None:
    model = _compiled("convnet")
    before = picture_of(model)
    with pytest.raises(ModelRaisedError, match=r"^Functional: raised"):
        fl.check(model, np.ones((4, 12, 12, 7), dtype=np.float32))
    assert picture_of(model) == before


def test_calibrating_and_jacobians_leave_a_model_as_it_was() -> None:
    model = _compiled("convnet")
    inputs, _ = zoo.batch_of("convnet", 8)
    before = picture_of(model)
    fl.calibrate(model, fl.plan(model, inputs), inputs)
    fl.check(model, inputs, jacobian=True)
    assert picture_of(model) == before
