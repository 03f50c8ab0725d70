"""Keras's fit: a model that is initialized before its first step, and watched."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

from firstlight.integrations.keras import FirstlightCallback

if __name__ == "__main__":
    x = np.random.default_rng(0).standard_normal((512, 8), np.float32)
    y = (x.sum(1) > 0).astype(int)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(2)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = FirstlightCallback(x[:128], y[:128], initialize=True, every=4)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    print(callback.watched)
