"""The verbs on Keras models: healthy starts, planted faults, losses, batches, bad input."""

from __future__ import annotations

from typing import Any

import keras
import keras_models as zoo
import numpy as np
import pytest
from keras import layers

import firstlight as fl
from firstlight.errors import BadInputError


@pytest.mark.parametrize("name", list(zoo.MODELS))
def test_sensible_starts_are_healthy_and_so_is_what_initialize_gives(name: str) -> None:
    model = zoo.MODELS[name]()
    inputs, target = zoo.batch_of(name)
    before = fl.check(model, inputs, target=target)
    assert before.healthy, before.findings
    receipt = fl.initialize(model, inputs, target=target, seed=0)
    assert receipt.after is not None
    assert receipt.after.healthy, receipt.after.findings
    assert receipt.model is model
    seen = receipt.after.observation
    assert seen.loss == pytest.approx(seen.undecided_loss, rel=0.05)
    targets = {e.name: e.target for e in receipt.plan if e.target is not None}
    for operation in receipt.after.network.weighted():
        reading = seen.reading(operation.index)
        wanted = next((targets.pop(n) for n in operation.parameters if n in targets), None)
        if wanted is not None and reading is not None and reading.second_moment is not None:
            assert 0.25 <= reading.second_moment.value / wanted <= 4, operation.name


def test_the_same_seed_gives_the_same_network_to_a_model_built_again() -> None:
    first, second = zoo.convnet(), zoo.convnet()
    for model in (first, second):
        fl.apply(model, fl.plan(model), seed=3)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(a, b) or a.dtype.kind in "ui"


def _planted(fault: str) -> tuple[Any, str]:
    model = zoo.mlp()
    weights = model.get_weights()
    if fault == "symmetric-units":
        weights[2] = np.full_like(weights[2], 0.02)
    elif fault == "dead-units":
        weights[1] = np.full_like(weights[1], -50.0)
    elif fault == "non-finite":
        weights[2][0, 0] = np.nan
    elif fault == "loss-at-start":
        weights[4] = weights[4] * 60
    model.set_weights(weights)
    return model, fault


@pytest.mark.parametrize(
    "fault",
    ["symmetric-units", "dead-units", "non-finite", "loss-at-start"],
)
def test_planted_faults_are_found(fault: str) -> None:
    model, kind = _planted(fault)
    inputs, target = zoo.batch_of("mlp", 64)
    found = fl.check(model, inputs, target=target).findings
    assert kind in [f.kind for f in found] + [c.kind for f in found for c in f.consequences]


def test_softmax_heads_are_known_for_what_they_are() -> None:
    given = keras.Input((20,))
    head = layers.Dense(3, activation="softmax", name="head")
    model = keras.Model(given, head(layers.Dense(16, activation="relu")(given)))
    inputs, target = zoo.batch_of("mlp", 64)
    inferred = fl.check(model, inputs, target=target).observation
    expected = keras.losses.sparse_categorical_crossentropy(
        target, model(inputs, training=True), from_logits=False
    )
    loss = float(keras.ops.convert_to_numpy(keras.ops.mean(expected)))
    assert inferred.loss == pytest.approx(loss, rel=1e-5)
    assert inferred.task == "classification"
    assert inferred.undecided_loss == pytest.approx(np.log(3), rel=1e-5)
    model.compile(loss="sparse_categorical_crossentropy")
    assert fl.check(model, inputs, target=target).observation.loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy", "mean_absolute_error", "huber"])
def test_a_compiled_loss_is_the_loss(loss: str) -> None:
    ending = "sigmoid" if loss == "binary_crossentropy" else None
    model = keras.Sequential([keras.Input((20,)), layers.Dense(1, activation=ending)])
    model.compile(loss=loss)
    inputs, _ = zoo.batch_of("mlp", 64)
    target = (inputs[:, :1] > 0).astype(np.float32)
    expected = keras.losses.get(loss)(target, model(inputs))
    seen = fl.check(model, inputs, target=target).observation
    wanted = float(keras.ops.convert_to_numpy(keras.ops.mean(expected)))
    assert seen.loss == pytest.approx(wanted, rel=1e-4)


def test_without_a_batch_a_synthetic_one_is_made() -> None:
    for build in (zoo.mlp, zoo.convnet, zoo.transformer, zoo.subclassed):
        assert fl.check(build()).observation.samples >= 16


def test_several_inputs_are_a_tuple_or_a_mapping() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    model = keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([a, b])))
    given = np.ones((8, 4), np.float32), np.ones((8, 3), np.float32)
    assert fl.check(model, given).observation.samples == 8
    named = keras.Model({"a": a, "b": b}, model([a, b]))
    assert fl.check(named, {"a": given[0], "b": given[1]}).observation.samples == 8


class _Data(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return zoo.batch_of("mlp", 16)


def test_a_dataset_of_keras_gives_inputs_and_targets() -> None:
    receipt = fl.initialize(zoo.mlp(), _Data(), seed=0)
    assert receipt.after is not None
    assert receipt.after.observation.samples == 16


def test_mixed_precision_draws_in_float32_and_computes_in_sixteen_bits() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = zoo.mlp()
    inputs, target = zoo.batch_of("mlp", 64)
    receipt = fl.initialize(model, inputs, target=target, seed=0)
    assert receipt.after is not None
    assert receipt.after.healthy
    assert receipt.after.network.parameter("fc1.kernel").dtype == "float32"
    first = next(receipt.after.network.weighted())
    reading = receipt.after.observation.reading(first.index)
    assert reading is not None
    assert reading.second_moment is not None
    assert reading.second_moment.value == pytest.approx(1.0, rel=0.05)


def test_frozen_layers_stay() -> None:
    model = zoo.mlp()
    model.get_layer("fc1").trainable = False
    before = model.get_layer("fc1").get_weights()
    fl.initialize(model, zoo.batch_of("mlp")[0], seed=0)
    for a, b in zip(before, model.get_layer("fc1").get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert not model.get_layer("fc1").trainable


RATE = 1e-3
SIZES = [  # of the first step in each element
    (keras.optimizers.Adam(RATE), RATE),
    (keras.optimizers.AdamW(RATE, weight_decay=0.0), RATE),
    (keras.optimizers.RMSprop(RATE, rho=0.9), RATE / 0.1**0.5),
]


@pytest.mark.parametrize(("optimizer", "size"), SIZES, ids=lambda value: type(value).__name__)
def test_how_far_an_optimizer_would_move_each_weight(optimizer: Any, size: float) -> None:
    model = zoo.mlp()
    inputs, target = zoo.batch_of("mlp", 64)
    seen = fl.check(model, inputs, target=target, optimizer=optimizer)
    ratios = [r for r in seen.observation.parameters if r.value_rms]
    assert ratios
    for r in ratios:  # a dead unit's row does not move, and ε takes from where gradients are small
        assert 0.7 * size / r.value_rms < r.update_ratio < 1.001 * size / r.value_rms
    assert len(optimizer.variables) == 2  # its rate and its count of steps: it was not built


@pytest.mark.parametrize("nesterov", [False, True])
def test_plain_descent_moves_by_the_gradient(nesterov: bool) -> None:
    model = zoo.mlp()
    inputs, target = zoo.batch_of("mlp", 64)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov)
    seen = fl.check(model, inputs, target=target, optimizer=optimizer)
    for r in seen.observation.parameters:
        if r.value_rms:
            step = 0.1 * (1.9 if nesterov else 1.0) * r.gradient_rms
            assert r.update_ratio == pytest.approx(step / r.value_rms, rel=1e-4)


def test_an_optimizer_whose_first_step_is_not_known() -> None:
    model = zoo.mlp()
    inputs, target = zoo.batch_of("mlp", 64)
    if keras.backend.backend() == "jax":  # Keras's own stateless step is asked
        seen = fl.check(model, inputs, target=target, optimizer=keras.optimizers.Lion(RATE))
        for r in seen.observation.parameters:
            assert not r.value_rms or r.update_ratio == pytest.approx(RATE / r.value_rms, rel=0.1)
    else:
        with pytest.raises(BadInputError, match=r"^optimizer: .*Lion"):
            fl.check(model, inputs, target=target, optimizer=keras.optimizers.Lion())


def test_a_race_of_keras_models() -> None:
    inputs, target = zoo.batch_of("mlp", 64)
    result = fl.race(
        zoo.mlp,
        (inputs, target, inputs, target),
        techniques=["default", "he_normal"],
        steps=4,
        seeds=2,
        learning_rates=[1e-2],
    )
    again = fl.race(
        zoo.mlp,
        (inputs, target, inputs, target),
        techniques=["default", "he_normal"],
        steps=4,
        seeds=2,
        learning_rates=[1e-2],
    )
    assert [s.runs for s in result.starts] == [s.runs for s in again.starts]


def test_glorot_behind_relu_is_remarked_on() -> None:
    wide = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, activation="relu"), layers.Dense(256, name="next")]
    )
    audit = fl.audit(wide)
    assert audit["next.kernel"].agrees
    assert [r.kind for r in audit["next.kernel"].remarks] == ["glorot-for-relu"]


def test_an_audit_names_the_layers_own_initializers() -> None:
    model = keras.Sequential(
        [
            keras.Input((80,)),
            layers.Dense(80, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.3)),
            layers.Dense(9, bias_initializer=keras.initializers.Constant(0.1)),
        ]
    )
    audit = fl.audit(model)
    assert str(audit["dense.kernel"].intended).startswith("Dense(kernel_initializer=RandomNormal)")
    assert audit["dense.kernel"].agrees
    assert audit["dense_1.bias"].agrees
    model.layers[0].kernel.assign(np.ones((80, 80)))
    assert not fl.audit(model)["dense.kernel"].agrees
    recurrent = fl.audit(zoo.recurrent())
    assert all(entry.agrees is not False for entry in recurrent.entries)


def test_an_unbuilt_model_is_told_what_to_do() -> None:
    model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
    for look in (fl.check, fl.plan, fl.initialize):
        with pytest.raises(BadInputError, match=r"is not built.*call it once on a batch"):
            look(model, np.ones((4, 5), np.float32))
    assert not model.built
    half = zoo.Subclassed()
    with pytest.raises(BadInputError, match="is not built"):
        fl.audit(half)


def test_a_pair_of_inputs_and_targets_is_no_batch() -> None:
    with pytest.raises(BadInputError, match=r"2 items, and Sequential .* takes 1 input;.*target="):
        fl.check(zoo.mlp(), zoo.batch_of("mlp"))


def test_a_model_without_weights() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.ReLU()])
    with pytest.raises(BadInputError, match="no parameters"):
        fl.audit(model)
