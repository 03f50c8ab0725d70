"""The callback in Keras's own `fit`, on whichever backend the tests run."""

from __future__ import annotations

import numpy as np
import pytest

X = np.random.default_rng(0).standard_normal((96, 8), np.float32)
Y = np.arange(96) % 2


def keras_net(initializer="glorot_uniform"):
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, "relu", kernel_initializer=initializer),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_keras_looks_watches_and_touches_nothing():
    import keras

    from firstlight.integrations.keras import FirstlightCallback

    x, y = X, Y
    weights = []
    callback = FirstlightCallback(x[:64], y[:64], every=2)
    for callbacks in ([], [callback]):
        model = keras_net()
        keras.utils.set_random_seed(1)
        model.fit(x, y, batch_size=32, epochs=2, verbose=0, callbacks=callbacks)
        weights.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    assert callback.start.healthy
    assert [glance.step for glance in callback.watched] == [0, 2, 4]
    assert len({glance.loss for glance in callback.watched}) == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_keras_initializes_before_the_first_step():
    from firstlight.integrations.keras import FirstlightCallback

    x, y = X, Y
    model = keras_net("ones")
    callback = FirstlightCallback(x[:64], y[:64], initialize=True)
    model.fit(x, y, batch_size=32, epochs=1, verbose=0, callbacks=[callback])
    assert callback.start.after.healthy
    assert not (model.get_weights()[0] == 1).any()
    again = FirstlightCallback(x[:64], y[:64], initialize=True, alarm="none")
    before = model.get_weights()[0].copy()
    model.optimizer.learning_rate = 0.0
    model.fit(x, y, batch_size=32, epochs=1, verbose=0, callbacks=[again])
    assert (model.get_weights()[0] == before).all(), "a training that goes on keeps its weights"
