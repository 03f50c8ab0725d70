"""A batch for a Keras model that came without one: by its inputs, or its first weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from firstlight.errors import BadInputError

SAMPLES = 64
_SEED = 3
_LENGTHS = {2: 16, 3: 16, 4: 32, 5: 16}
"""What an axis without a size gets, by the rank of the input."""
_IMAGES = (8, 16, 32, 64, 96)


def _normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(_SEED).standard_normal(shape).astype(np.float32)


def _tokens(vocabulary: int, *shape: int) -> NDArray[np.int64]:
    return np.random.default_rng(_SEED).integers(0, vocabulary, shape)


def _vocabulary(model: Any) -> int | None:
    sizes = [e.input_dim for e in model._flatten_layers() if isinstance(e, layers.Embedding)]
    return min(sizes, default=None)


def _of_input(given: Any, vocabulary: int | None) -> NDArray[Any]:
    shape = tuple(given.shape)
    sizes = tuple(n or _LENGTHS.get(len(shape), 16) for n in shape[1:])
    samples = shape[0] or (SAMPLES if np.prod(sizes, initial=1) < 2**14 else 16)
    if vocabulary is not None and len(shape) <= 2:
        return _tokens(vocabulary, samples, *sizes)
    return _normal(samples, *sizes)


def _candidates(model: Any) -> Iterator[Any]:
    vocabulary = _vocabulary(model)
    inputs = getattr(model, "_inputs_struct", None)
    if inputs is None and getattr(model, "_functional", None) is not None:
        inputs = model._functional._inputs_struct
    if inputs is not None:
        yield keras.tree.map_structure(lambda each: _of_input(each, vocabulary), inputs)
        return
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Embedding):
            yield _tokens(layer.input_dim, SAMPLES, 16)
            yield _tokens(layer.input_dim, SAMPLES)
            return
        kernel = getattr(layer, "kernel", None)
        if isinstance(layer, layers.Dense) and kernel is not None:
            yield _normal(SAMPLES, kernel.shape[0])
            yield _normal(SAMPLES, 16, kernel.shape[0])
            return
        if isinstance(layer, layers.LSTMCell | layers.GRUCell | layers.SimpleRNNCell):
            yield _normal(SAMPLES, 16, layer.kernel.shape[0])
            return
        size = getattr(layer, "kernel_size", None)
        if size is not None and kernel is not None:
            axis = -1 if "Transpose" in type(layer).__name__ else -2
            channels = kernel.shape[axis] * getattr(layer, "groups", 1)
            for length in _IMAGES:
                yield _normal(16, *(length,) * len(size), channels)
            return


def synthetic_batch(model: Any, accepts: Callable[[Any], str | None]) -> Any:
    """A standard normal (or random token) batch that the model accepts.

    Args:
        model: left as it was.
        accepts: runs the model on a batch; what it said against it, None if nothing.

    Raises:
        BadInputError: it runs on none of them.
    """
    tried, last = 0, "nothing to try"
    for candidate in _candidates(model):
        tried += 1
        found = accepts(candidate)
        if found is None:
            return candidate
        last = found
    raise BadInputError(
        f"batch: none given, and {type(model).__name__} ran on none of {tried} synthetic ones"
        f" ({last[:160]}); pass a batch"
    )
