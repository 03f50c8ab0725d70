"""Functions of parameters: plain ones, and those of Haiku."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array, tree_util

from firstlight.frameworks.jax.arguments import filled, key_place, keys
from firstlight.frameworks.jax.held import (
    Held,
    checked_arrays,
    floating,
    parameters_of,
    placed_like,
    places,
    tree_names,
)
from firstlight.frameworks.jax.pairs import binding
from firstlight.frameworks.jax.sharding import is_abstract, plain_shape, started
from firstlight.frameworks.jax.uses import guessed
from firstlight.frameworks.jax.view import View


class Leaves:
    """A pytree's floating arrays by name, and the way back; all else in it stays as it is.

    Args:
        tree: of parameters.
        wanted: whether a leaf is a parameter.
    """

    def __init__(self, tree: Any, wanted: Callable[[Any], bool] = floating) -> None:
        self._leaves, self._structure = tree_util.tree_flatten(tree)
        self._names = tree_names(tree)
        self._chosen = [i for i in places(tree) if wanted(self._leaves[i])]

    def arrays(self, model: str) -> dict[str, Array]:
        """The arrays in the order in which the user wrote them; see `checked_arrays`."""
        return checked_arrays(model, {self._names[i]: self._leaves[i] for i in self._chosen})

    def tree(self, arrays: Mapping[str, Array]) -> Any:
        """The tree with other arrays in it."""
        leaves = list(self._leaves)
        for i in self._chosen:
            leaves[i] = arrays[self._names[i]]
        return tree_util.tree_unflatten(self._structure, leaves)


def hold(model: tuple[Any, ...], function: Callable[..., Any]) -> Held:
    """A function with its parameters, and with its state if it has one.

    It is called as function(parameters, [state,] [key,] *inputs), with a key where its next
    argument is called ``rng`` or ``key``, as Haiku's is. With a state it returns (output, state).

    Args:
        model: (function, parameters) or (function, parameters, state).
        function: what is called.
    """
    name = getattr(function, "__qualname__", None) or type(function).__name__
    name = name.rpartition("<locals>.")[2].replace("<lambda>", "function")
    leaves = Leaves(model[1])
    arrays = leaves.arrays(name)
    uses = {key: guessed(key, tuple(value.shape)) for key, value in arrays.items()}
    stateful = len(model) == 3
    rest = model[2:]
    wants_key = key_place(function, 1 + stateful)

    def made(given: Mapping[str, Array], _: Array) -> Any:
        return (model[0], leaves.tree(given), *(_started(held, everywhere=True) for held in rest))

    def both(
        given: tuple[Any, ...],
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        key: Array,
        *,
        training: bool,
    ) -> tuple[Any, Any]:
        args = (*given[1:], *((key,) if wants_key else ()), *args)
        more = {} if wants_key else keys(key)
        found = function(*args, **filled(function, args, keywords, training=training, more=more))
        if not stateful or not isinstance(found, tuple) or len(found) != 2:
            return found, given[2] if stateful else ()
        return found

    def called(bound: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], key: Array) -> Any:
        return both(bound, args, keywords, key, training=True)[0]

    bound, run = binding(made, called)

    def rebuild(given: Mapping[str, Array]) -> Any:
        fresh = {key: placed_like(given[key], old) for key, old in arrays.items()}
        return (model[0], leaves.tree(fresh), *map(_started, rest))

    def call(
        given: Mapping[str, Array],
        state: Any,
        key: Array,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        training: bool,
    ) -> tuple[Any, Any]:
        now = (model[0], leaves.tree(given), *((state,) if stateful else ()))
        return both(now, args, keywords, key, training=training)

    state = model[2] if stateful else ()
    kept = tree_util.tree_leaves(state)
    return Held(
        view=View(
            name=name,
            framework="jax",
            arrays=arrays,
            parameters=parameters_of(arrays, uses),
            bound=bound,
            run=run,
            rebuild=rebuild,
        ),
        state=state,
        call=call,
        buffers={
            f"state.{key}": value
            for key, value in zip(tree_names(state), kept, strict=True)
            if isinstance(value, jax.Array)
        },
    )


_AVERAGES = ("hidden", "average", "counter")
"""What Haiku's running means keep, all of which start at zero."""


def _started(state: Any, *, everywhere: bool = False) -> Any:
    """State with values where it is known what it starts as: Haiku's running means.

    Args:
        state: a pytree.
        everywhere: zeros for the rest, for a pass that only looks at shapes.
    """

    def value_of(path: Any, value: Any) -> Any:
        leaf = str(getattr(path[-1], "key", "")) if path else ""
        if not is_abstract(value) or not (everywhere or leaf in _AVERAGES):
            return value
        return started(leaf, plain_shape(value) if everywhere else value)

    return tree_util.tree_map_with_path(value_of, state)
