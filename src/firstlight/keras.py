"""Firstlight's initializers for Keras: change the import, and nothing else.

    from firstlight.keras import he_normal        # was: from keras.initializers import he_normal
    Dense(64, activation="relu", kernel_initializer=he_normal())

All names of `keras.initializers` are here, and every technique of `firstlight.techniques` as a
class (``ActivationGain``) with its snake-case alias (``activation_gain``).

>>> import keras
>>> layer = keras.layers.Dense(4, kernel_initializer=he_normal(seed=0), name="fc")
>>> layer.build((None, 3))
>>> keras.initializers.get("firstlight>he_normal")
HeNormal()
"""

from __future__ import annotations

from typing import Any

from keras.initializers import STFT as STFT
from keras.initializers import Initializer as Initializer
from keras.initializers import deserialize as deserialize
from keras.initializers import get as get
from keras.initializers import serialize as serialize
from keras.initializers import stft as stft

from firstlight.frameworks.keras.initializers import CLASSES
from firstlight.frameworks.keras.initializers import (
    FirstlightInitializer as FirstlightInitializer,
)

STFTInitializer = STFT
globals().update(CLASSES)

__all__ = [  # noqa: PLE0604 - the names are the registry's
    *CLASSES,
    "STFT",
    "FirstlightInitializer",
    "Initializer",
    "STFTInitializer",
    "deserialize",
    "get",
    "serialize",
    "stft",
]


def __getattr__(name: str) -> Any:
    """For type checkers, which cannot see the names that the registry gives."""
    from firstlight.errors import near_names

    raise AttributeError(f"module 'firstlight.keras' has no '{name}'; {near_names(name, __all__)}")
