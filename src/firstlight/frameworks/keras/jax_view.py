"""A Keras model on the JAX backend as a function of named arrays.

Keras's variables are objects; inside a `keras.StatelessScope` they hold what they are given, which
may be traced, and what is assigned to them (batch statistics, seeds) is dropped at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import keras
from jax import Array

from firstlight.frameworks.jax.view import View
from firstlight.frameworks.keras.calling import arguments
from firstlight.frameworks.keras.models import checked
from firstlight.frameworks.keras.seeds import put_back


def seeds_of(model: Any) -> list[Any]:
    """The states of the model's seed generators, each once."""
    found = [g.state for layer in model._flatten_layers() for g in layer._seed_generators]
    return list({id(state): state for state in found}.values())


@contextmanager
def holding(model: Any, pairs: Iterable[tuple[Any, Any]], key: Array) -> Iterator[Any]:
    """The scope in which variables hold other values; random streams start from ``key``.

    Args:
        model: with the variables.
        pairs: variables and values; those of seed generators do not count.
        key: of `jax.random`.
    """
    seeds = seeds_of(model)
    keys = jax.random.split(key, max(1, len(seeds)))
    fresh = [(s, _bits(k)) for s, k in zip(seeds, keys, strict=False)]
    known = {id(s) for s, _ in fresh}
    rest = [(variable, value) for variable, value in pairs if id(variable) not in known]
    with (
        put_back(),
        _attributes_kept(model),
        keras.StatelessScope(state_mapping=[*rest, *fresh]) as scope,
    ):
        yield scope


@contextmanager
def _attributes_kept(model: Any) -> Iterator[None]:
    """No layer has an attribute more than before: cells remember their masks, even of none."""
    before = [(layer, set(vars(layer))) for layer in model._flatten_layers()]
    try:
        yield
    finally:
        for layer, names in before:
            for name in vars(layer).keys() - names:
                del vars(layer)[name]


def called(
    model: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], *, training: bool
) -> Any:
    """The output of a model."""
    positional, named = arguments(model, args, dict(keywords))
    return model(*positional, **named, training=training)


def view_of(model: Any) -> View:
    """A built Keras model as this room's neighbours read it; nothing of it is changed."""
    held = checked(model)
    drawn = [w for w in held if w.parameter.kind != "other" or "float" in w.parameter.dtype]
    variables = {w.parameter.name: w.variable for w in drawn}
    state = [v for v in model.variables if not any(v is own for own in variables.values())]
    kept = [(v, v._value) for v in state]

    @contextmanager
    def bound(arrays: Mapping[str, Array], key: Array) -> Iterator[Any]:
        pairs = [(variables[name], array) for name, array in arrays.items()]
        with holding(model, [*pairs, *kept], key):
            yield model

    def run(given: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        return called(given, args, keywords, training=True)

    def rebuild(arrays: Mapping[str, Array]) -> Any:
        for name, array in arrays.items():
            variables[name].assign(array)
        return model

    return View(
        name=type(model).__name__,
        framework="keras",
        arrays={name: variable._value for name, variable in variables.items()},
        parameters=tuple(w.parameter for w in drawn),
        bound=bound,
        run=run,
        rebuild=rebuild,
    )


def _bits(key: Array) -> Array:
    """Two 32-bit words, which a seed generator counts on from."""
    return jax.random.bits(key, (2,), "uint32")
