"""Short trainings of JAX models: as optax would, alone and together alike, repeatable."""

import jax
import jax.numpy as jnp
import jax_models as nets
import numpy as np
import optax
import pytest

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.frameworks.jax.adapter import JaxAdapter
from firstlight.frameworks.jax.training_data import as_data, orders
from firstlight.frameworks.jax.training_updates import moments, updated
from firstlight.records.race import Recipe

RNG = np.random.default_rng(1)
INPUTS = RNG.standard_normal((200, nets.INPUTS)).astype(np.float32)
CLASSES = INPUTS[:, : nets.CLASSES].argmax(axis=1)
DATA = (INPUTS[:150], CLASSES[:150], INPUTS[150:], CLASSES[150:])


def recipe(**how):
    return Recipe(**{"loss": None, "steps": 30, "batch_size": 25, **how})


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_each_step_is_optaxs(optimizer):
    theirs = {
        "sgd": optax.sgd(0.05, momentum=0.9),
        "adam": optax.adam(0.05),
        "adamw": optax.adamw(0.05),
        "rmsprop": optax.rmsprop(0.05),
    }[optimizer]
    how = recipe(optimizer=optimizer, clip_norm=0.5)
    chain = optax.chain(optax.clip_by_global_norm(0.5), theirs)
    mine = expected = {"a": jnp.asarray(RNG.standard_normal(5)), "b": jnp.ones((2, 2))}
    memory, state = moments(how, mine), chain.init(expected)
    for count in range(1, 4):
        gradient = {n: jnp.asarray(RNG.standard_normal(a.shape), a.dtype) for n, a in mine.items()}
        mine, memory = updated(
            how, mine, gradient, memory, jnp.float32(0.05), jnp.asarray(count, jnp.int32)
        )
        change, state = chain.update(gradient, state, expected)
        expected = optax.apply_updates(expected, change)
        for name, array in mine.items():
            # A few roundings of float32 in numbers around 1.
            np.testing.assert_allclose(array, expected[name], rtol=2e-6, atol=1e-7)


def test_batches_are_the_epochs_of_each_seed():
    found = orders(as_data(DATA), recipe(steps=12), [0, 1])
    assert found.shape == (2, 12, 25)
    for seed in found:
        assert sorted(seed[:6].ravel()) == list(range(150))
        assert not np.array_equal(seed[:6], seed[6:])
    assert not np.array_equal(found[0], found[1])


def test_together_is_as_alone_and_a_diverged_one_does_no_harm(untouched):
    adapter, how = JaxAdapter(), recipe(looks=(10,))
    models = [nets.nnx_net(seed) for seed in range(4)]
    rates, seeds = [0.05, 0.05, 0.02, 1e30], [0, 1, 2, 3]
    done = []
    with untouched(models[0]):
        runs = adapter.train(
            models, DATA, how, learning_rates=rates, seeds=seeds, progress=done.append
        )
    (alone,) = adapter.train(models[1:2], DATA, how, learning_rates=[0.05], seeds=[1])
    assert sum(done) == 4 * 30
    assert [run.diverged for run in runs] == [False, False, False, True]
    assert len(runs[3].losses) < 30
    assert not np.isfinite(runs[3].losses[-1])
    assert np.isfinite(runs[3].losses[:-1]).all()
    # Thirty steps of float32 with another order of sums.
    np.testing.assert_allclose(runs[1].losses, alone.losses, rtol=1e-3)
    assert len(alone.scores) == 2
    assert runs[1].scores[-1] > 0.6
    again = adapter.train(models, DATA, how, learning_rates=rates, seeds=seeds)
    assert again[:3] == runs[:3]


def test_a_diverged_model_stays_as_it_was_before_the_step_that_lost_it():
    def loss(output, target):
        found = jnp.mean((output - target) ** 2)
        return found + jnp.where(jnp.any(target == 9), jnp.nan, 0.0)

    targets = RNG.standard_normal((200, nets.CLASSES)).astype(np.float32)
    data = (INPUTS[:150], targets[:150].copy(), INPUTS[150:], targets[150:])
    batches = orders(as_data(data), recipe(), [0])[0]
    data[1][batches[4][0]] = 9

    def run(steps):
        how = recipe(loss=loss, steps=steps)
        return JaxAdapter().train([nets.plain_net(0)], data, how, learning_rates=[0.01], seeds=[0])[
            0
        ]

    lost, before = run(20), run(4)
    assert (lost.diverged, before.diverged, len(lost.losses)) == (True, False, 5)
    assert lost.losses[:4] == before.losses
    assert np.isfinite(lost.score)
    assert lost.score == before.score


def test_a_training_by_hand_gives_the_same_losses():
    function, parameters = nets.plain_net(0)
    how = recipe(optimizer="adam", clip_norm=None, steps=5)
    (run,) = JaxAdapter().train(
        [(function, parameters)], DATA, how, learning_rates=[0.01], seeds=[4]
    )
    arrays = {name: parameters[name] for name in ("fc1", "head")}
    optimizer = optax.adam(0.01)
    state = optimizer.init(arrays)
    expected = []
    for chosen in orders(as_data(DATA), how, [4])[0]:

        def loss(arrays, chosen=chosen):
            logits = function(arrays, DATA[0][chosen])
            found = optax.losses.softmax_cross_entropy_with_integer_labels
            return found(logits, jnp.asarray(DATA[1][chosen])).mean()

        value, gradient = jax.value_and_grad(loss)(arrays)
        expected.append(float(value))
        change, state = optimizer.update(gradient, state, arrays)
        arrays = optax.apply_updates(arrays, change)
    np.testing.assert_allclose(run.losses, expected, rtol=1e-4)


def test_small_networks_train_as_one_and_convolutions_do_not():
    adapter = JaxAdapter()
    assert adapter.together(nets.linen_net(0), DATA, recipe()).count > 1

    def convolution(parameters, x):
        image = x.reshape(-1, nets.INPUTS, 1)
        found = jax.lax.conv_general_dilated(
            image, parameters["w"], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
        )
        return found.reshape(len(x), -1)

    made = (convolution, {"w": jnp.ones((3, 1, 2))})
    found = adapter.together(made, DATA, recipe())
    assert (found.count, "convolutions" in found.reason) == (1, True)


def test_too_many_classes_are_refused():
    wrong = (DATA[0], DATA[1] + 1, DATA[2], DATA[3])
    with pytest.raises(BadInputError, match="targets go up to 3, the model gives 3 classes"):
        JaxAdapter().train([nets.plain_net(0)], wrong, recipe(), learning_rates=[0.1], seeds=[0])


def test_models_race_and_their_factory_is_given_the_seed():
    given = []

    def build(seed):
        given.append(seed)
        return nets.plain_net(seed)

    race = fl.race(
        build, DATA, techniques=("default", "he_normal"), seeds=2, steps=10, learning_rates=[0.1]
    )
    assert {0, 1} <= set(given)
    assert race["default"].runs[0].losses != race["default"].runs[1].losses
    assert all(0 <= run.score <= 1 for run in race["he_normal"].runs)
