"""The two classic code blocks of Keras, run in Keras where it is installed."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from firstlight.exhibits.digits import digits

EPOCHS = 5


def keras_is_here() -> bool:
    """Whether Keras can be imported."""
    return find_spec("keras") is not None


def _keras() -> Any:
    """Keras, on the backend of the user's choice, or else on the one that exhibits have."""
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        import keras

        return keras
    os.environ["KERAS_BACKEND"] = "torch"
    try:
        import keras  # reads its backend once
    finally:
        del os.environ["KERAS_BACKEND"]
    return keras


@contextmanager
def _random_states_kept() -> Iterator[None]:
    """Keras seeds Python's, NumPy's and the backend's generators; the caller's go on as before."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def classic_accuracy(*, he: bool, activation: str, seed: int) -> float:
    """Held-out accuracy of the classic code on the digits, trained as it stands.

    Args:
        he: the second block, with ``he_normal()``; else the first, with ``glorot_normal()``.
        activation: ``relu`` in both blocks.
        seed: of `keras.utils.set_random_seed`.
    """
    keras = _keras()
    from firstlight.keras import glorot_normal, he_normal

    Sequential, Dense = keras.models.Sequential, keras.layers.Dense
    data = digits()
    x, y, held_x, held_y = (np.asarray(each) for each in data)
    input_shape = x.shape[1]
    with _random_states_kept(), warnings.catch_warnings():
        # Keras would rather have an Input layer than `input_dim=`, and takes it all the same.
        warnings.filterwarnings("ignore", "Do not pass an `input_shape`", UserWarning)
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        keras.utils.set_random_seed(seed)
        model = Sequential()
        if he:
            model.add(
                Dense(
                    units=64,
                    activation=activation,
                    kernel_initializer=he_normal(),
                    input_dim=input_shape,
                )
            )
            model.add(Dense(units=64, activation=activation, kernel_initializer=he_normal()))
        else:
            model.add(
                Dense(
                    units=64,
                    activation=activation,
                    kernel_initializer=glorot_normal(),
                    input_dim=input_shape,
                )
            )
            model.add(Dense(units=64, activation=activation, kernel_initializer=glorot_normal()))
        model.add(Dense(units=10, activation="softmax"))
        model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
        model.fit(x, y, epochs=EPOCHS, batch_size=32, verbose=0)
        guessed = model.predict(held_x, verbose=0).argmax(axis=1)
    return float((guessed == held_y).mean())
