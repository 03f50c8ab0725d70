"""Keras's own random states: a model built under a seed, and everything put back after."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED


@contextmanager
def put_back() -> Iterator[None]:
    """Python's and NumPy's states, Keras's seed and its shared generator are as before."""
    python, numpy = random.getstate(), np.random.get_state()
    seed = global_state.get_global_attribute(GLOBAL_RANDOM_SEED)
    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        global_state.set_global_attribute(GLOBAL_RANDOM_SEED, seed)
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, generator)


def build(factory: Callable[[], Any], seed: int) -> Any:
    """What a factory makes under `keras.utils.set_random_seed`; the caller keeps the backend's."""
    with put_back():
        keras.utils.set_random_seed(seed % 2**32)
        return factory()


def own_seed() -> int:
    """What `keras.utils.set_random_seed` was told; else a number that Python's state stands for."""
    given = global_state.get_global_attribute(GLOBAL_RANDOM_SEED)
    if given is not None:
        return int(given)
    state = repr(random.getstate()).encode()
    return int.from_bytes(blake2b(state, digest_size=4).digest(), "little")
