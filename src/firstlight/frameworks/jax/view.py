"""A JAX model as a function of named arrays, whatever library wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from jax import Array

from firstlight.records.network import Parameter


@dataclass(frozen=True, kw_only=True)
class View:
    """What the rest of this room needs to know of a model; everything in it is pure.

    Args:
        name: the model's class or function.
        framework: ``jax``, or ``keras`` for a Keras model on the JAX backend.
        arrays: the parameters by canonical name (``blocks.0.fc1.kernel``), each tied one once.
        parameters: the same as records, in the same order: layouts, kinds and addresses as far as
            the owning modules tell; `Program` refines what only the computation shows.
        bound: (arrays, key) → a context with the model as its user knows it, in training mode,
            holding these arrays, which may be traced. What the model writes to its state meanwhile
            (batch statistics, random streams) is dropped when the context ends.
        run: (model from ``bound``, positional arguments, keywords) → the model's output.
        rebuild: arrays (all of them) → the model that carries them: the same object where modules
            are mutable, a new one elsewhere.
    """

    name: str
    framework: str
    arrays: Mapping[str, Array]
    parameters: tuple[Parameter, ...]
    bound: Callable[[Mapping[str, Array], Array], AbstractContextManager[Any]]
    run: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]
    rebuild: Callable[[Mapping[str, Array]], Any]
