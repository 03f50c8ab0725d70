"""Short trainings on the backend in use: as Keras itself takes the same steps, and raced."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.records.race import Recipe
from firstlight.verbs.adapters import adapter_for

ON_JAX = keras.backend.backend() == "jax"
RNG = np.random.default_rng(5)
INPUTS = RNG.standard_normal((96, 6)).astype(np.float32)
CLASSES = INPUTS[:, :3].argmax(axis=1)
VALUES = INPUTS[:, :1] * INPUTS[:, 1:2] + 1.5
DATA = (INPUTS[:64], CLASSES[:64], INPUTS[64:], CLASSES[64:])


def plain() -> Any:
    parts = [layers.Dense(16, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((6,)), *parts, layers.Dense(3)])


def stateful() -> Any:
    """Batch statistics, and a layer that does not learn."""
    frozen = layers.Dense(8, activation="tanh", trainable=False)
    parts = [layers.Dense(8), layers.BatchNormalization(momentum=0.7), frozen, layers.Dense(1)]
    return keras.Sequential([keras.Input((6,)), *parts])


def dropping() -> Any:
    parts = [layers.Dense(8), layers.Dropout(0.5, seed=3), layers.Dense(3)]
    return keras.Sequential([keras.Input((6,)), *parts])


def trained(models: list[Any], data: Any, **how: Any) -> Any:
    seeds = how.pop("seeds", list(range(len(models))))
    recipe = Recipe(**{"loss": None, "steps": 4, "batch_size": 64, **how})
    rates = [0.05] * len(models)
    return adapter_for(models[0]).train(models, data, recipe, learning_rates=rates, seeds=seeds)


def _bits(model: Any) -> list[bytes]:
    return [keras.ops.convert_to_numpy(v).tobytes() for v in model.variables]


def test_steps_and_statistics_are_those_of_keras() -> None:
    model = stateful()
    before = _bits(model)
    data = INPUTS[:64], VALUES[:64], INPUTS[64:], VALUES[64:]
    (run,) = trained([model], data, clip_norm=None)
    assert _bits(model) == before
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="mse")
    theirs = []
    for _ in range(4):
        model.reset_metrics()  # Keras would tell the average over the steps so far
        theirs.append(float(model.train_on_batch(data[0], data[1])))
    assert run.losses == pytest.approx(theirs, rel=1e-4)
    # What is scored takes the batch statistics of the steps, and the frozen layer as it was.
    output = keras.ops.convert_to_numpy(model(data[2], training=False))
    assert run.score == pytest.approx(float(np.mean((output - data[3]) ** 2)), rel=1e-4)


def test_dropout_hangs_on_the_seed_of_the_run_alone() -> None:
    model = dropping()
    # The whole data in each step: nothing but dropout differs between seeds.
    first, second, again = trained([model] * 3, DATA, seeds=[0, 1, 0], steps=2)
    assert first.losses == pytest.approx(again.losses, rel=1e-5)
    assert abs(first.losses[0] - second.losses[0]) > 1e-3
    assert len(set(first.losses)) == 2


def test_the_loss_is_the_models_own() -> None:
    """Probabilities and logits of the same numbers train alike; classes may lie in a column."""
    given = keras.Input((6,))
    hidden = layers.Dense(3)(given)
    logits, shares = keras.Model(given, hidden), keras.Model(given, layers.Softmax()(hidden))
    (one,) = trained([logits], DATA, seeds=[0])
    (other,) = trained([shares], DATA, seeds=[0])
    assert other.losses == pytest.approx(one.losses, rel=1e-5)
    assert one.score == other.score
    logits.compile(loss="mae")
    wanted = np.tile(VALUES, 3)
    (absolute,) = trained([logits], (DATA[0], wanted[:64], DATA[2], wanted[64:]), seeds=[0])
    expected = np.abs(keras.ops.convert_to_numpy(logits(DATA[0])) - wanted[:64]).mean()
    assert absolute.losses[0] == pytest.approx(expected, rel=1e-5)


def test_the_same_start_wins_on_every_backend() -> None:
    """Run once per backend: he_normal learns, small numbers learn late, zeros never."""
    names = ["zeros", "random_normal", "he_normal"]
    result = fl.race(
        plain, DATA, techniques=names, steps=30, seeds=2, learning_rates=[0.05], batch_size=16
    )
    best = max(result.starts, key=lambda start: start.mean)
    assert best.name == "he_normal"
    assert best.mean > 0.75
    # 32 held-out samples of three classes: zeros name the commonest.
    assert result["zeros"].mean < 0.6


@pytest.mark.skipif(not ON_JAX, reason="torch trains Keras models one after another")
def test_models_of_one_factory_train_as_one_and_as_alone() -> None:
    models = [plain() for _ in range(4)]
    adapter, recipe = adapter_for(models[0]), Recipe(loss=None, steps=4, batch_size=64)
    assert adapter.together(models[0], DATA, recipe).count >= 4
    together = trained(models, DATA)
    (alone,) = trained(models[2:3], DATA, seeds=[2])
    assert together[2].losses == pytest.approx(alone.losses, rel=1e-4)
    assert len({run.losses for run in together}) == 4

    from firstlight.frameworks.jax.training import _PROGRAMS

    count = len(_PROGRAMS)
    trained([plain() for _ in range(4)], DATA)
    assert len(_PROGRAMS) == count  # another four of the factory compile nothing


def test_nothing_to_learn_is_refused() -> None:
    model = plain()
    model.trainable = False
    with pytest.raises(BadInputError, match="no trainable parameter"):
        adapter_for(model).together(model, DATA, Recipe(loss=None, steps=2, batch_size=8))
