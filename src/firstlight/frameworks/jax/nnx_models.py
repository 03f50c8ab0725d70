"""Flax NNX modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.arguments import filled, keys
from firstlight.frameworks.jax.flax_layouts import read
from firstlight.frameworks.jax.held import (
    Held,
    checked_arrays,
    floating,
    parameters_of,
    placed_like,
)
from firstlight.frameworks.jax.sharding import is_abstract, plain_shape, started
from firstlight.frameworks.jax.uses import Use
from firstlight.frameworks.jax.view import View
from firstlight.laws.addresses import canonical_name

_Path = tuple[Any, ...]


def _children(node: Any) -> list[tuple[Any, Any]]:
    """What a node holds by key, in the order in which its constructor wrote it."""
    implementation = nnx.graphlib.get_node_impl(node)
    held = {} if implementation is None else dict(implementation.node_dict(node))
    if isinstance(node, nnx.Module):
        order = {name: place for place, name in enumerate(vars(node))}
        return sorted(held.items(), key=lambda item: order.get(item[0], len(order)))
    return list(held.items())


def _occurrences(
    node: Any, path: _Path = (), owners: tuple[Any, ...] = ()
) -> Iterator[tuple[_Path, tuple[Any, ...], Any]]:
    """Each place of each variable: path, the modules around it, itself."""
    if isinstance(node, nnx.Variable):
        yield path, owners, node
        return
    if any(node is owner for owner in owners) or not nnx.graphlib.is_node(node):
        return
    for key, child in _children(node):
        yield from _occurrences(child, (*path, key), (*owners, node))


def _name(path: _Path) -> str:
    return canonical_name(".".join(str(part) for part in path))


def _modules(owners: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without lists and dictionaries."""
    return tuple(o for o in owners if isinstance(o, nnx.Module) and not isinstance(o, nnx.List))


def hold(model: nnx.Module) -> Held:
    """A module with its parameters (`nnx.Param` and what is derived from it) and its state."""
    kind = type(model).__name__
    places: dict[int, list[tuple[_Path, tuple[Any, ...], Any]]] = {}
    for occurrence in _occurrences(model):
        if isinstance(occurrence[2], nnx.Param):
            places.setdefault(id(occurrence[2]), []).append(occurrence)
    variables: dict[str, nnx.Param[Any]] = {}
    names: dict[int, str] = {}
    uses: dict[str, Use] = {}
    ties: dict[str, tuple[str, ...]] = {}
    for identity, found in places.items():
        found.sort(key=lambda each: _name(each[0]))
        variable = found[0][2]
        if not floating(variable.get_value()):
            continue
        name = _name(found[0][0])
        shape = tuple(variable.get_value().shape)
        tied = [read(_modules(o), [str(p) for p in path], shape) for path, o, _ in found]
        # A table that is the head as well is an embedding.
        chosen = next((use for use in tied if use.kind == "embedding"), tied[0])
        variables[name], names[identity], uses[name] = variable, name, chosen
        ties[name] = tuple(_name(path) for path, _, _ in found[1:])
    arrays = checked_arrays(kind, {name: v.get_value() for name, v in variables.items()})
    state = _State(model, names)
    running: list[Array] = []

    @contextmanager
    def bound(given: Mapping[str, Array], key: Array) -> Iterator[nnx.Module]:
        copy = state.merged(given, state.rest, key)
        copy.train()
        running.append(key)
        try:
            yield copy
        finally:
            running.pop()

    def run(copy: nnx.Module, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        return _called(copy, args, keywords, running[-1], training=True)

    def rebuild(given: Mapping[str, Array]) -> nnx.Module:
        for name, variable in variables.items():
            variable.set_value(placed_like(given[name], variable.get_value()))
        for path, _, variable in _occurrences(model):
            if isinstance(variable, nnx.BatchStat | nnx.RngState):
                value = variable.get_value()
                if is_abstract(value):
                    variable.set_value(started(str(path[-1]), value))
        return model

    def call(
        given: Mapping[str, Array],
        rest: Any,
        key: Array,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        training: bool,
    ) -> tuple[Any, Any]:
        copy = state.merged(given, rest, key)
        copy.train() if training else copy.eval()
        output = _called(copy, args, keywords, key, training=training)
        return output, state.taken(copy)

    return Held(
        view=View(
            name=kind,
            framework="jax",
            arrays=arrays,
            parameters=parameters_of(arrays, uses, ties),
            bound=bound,
            run=run,
            rebuild=rebuild,
        ),
        state=state.rest,
        call=call,
        streams=tuple(
            variable.get_value()
            for _, _, variable in _occurrences(model)
            if isinstance(variable, nnx.RngKey)
        ),
        buffers={
            _name(path): variable.get_value()
            for path, _, variable in _occurrences(model)
            if not isinstance(variable, nnx.Param | nnx.RngState)
            and isinstance(variable.get_value(), Array)
        },
    )


class _State:
    """A module taken apart: what it is, its parameters, its random streams, and the rest."""

    def __init__(self, model: nnx.Module, names: Mapping[int, str]) -> None:
        # Integer parameters are no parameters of ours: they stay with the rest.
        wanted = {id(v) for _, _, v in _occurrences(model) if id(v) in names}
        paths = {path: names[id(v)] for path, v in nnx.iter_graph(model) if id(v) in wanted}
        self._paths = paths
        self._split = (lambda path, _: tuple(path) in paths, nnx.RngKey, ...)
        parts: Any = nnx.split(model, *self._split)
        self._graph, parameters, streams, self.rest = parts
        self._parameters = nnx.to_flat_state(parameters)
        self._streams = nnx.to_flat_state(streams)

    def merged(self, arrays: Mapping[str, Array], rest: Any, key: Array) -> nnx.Module:
        """A new module with these values, whose random streams start from ``key``."""
        values = [
            (path, variable.replace(arrays[self._paths[path]]))
            for path, variable in self._parameters
        ]
        streams = [
            (path, variable.replace(_fresh(_filled(path, variable.get_value()), key, number)))
            for number, (path, variable) in enumerate(self._streams)
        ]
        # The copy would write its state into the variables of ``rest`` otherwise.
        state = [
            (path, v.replace(_filled(path, v.get_value())) if isinstance(v, nnx.Variable) else v)
            for path, v in nnx.to_flat_state(rest)
        ]
        copy: nnx.Module = nnx.merge(
            self._graph, *map(nnx.from_flat_state, (values, streams, state))
        )
        for _, module in nnx.iter_modules(copy):
            if isinstance(module, nnx.Dropout) and module.rngs is None:
                module.rngs = nnx.Rngs(dropout=key).dropout
        return copy

    def taken(self, copy: nnx.Module) -> Any:
        """The rest of a module that has run: batch statistics, counts."""
        return nnx.split(copy, *self._split)[-1]


def _filled(path: _Path, value: Any) -> Any:
    """State for a pass over a model without values, wherever it is to lie later."""
    return started(str(path[-1]), plain_shape(value))


def _fresh(old: Array, key: Array, number: int) -> Array:
    """A key of its own for each stream, of the old one's kind and shape."""
    mine = jax.random.fold_in(key, number)
    if not jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
        return old
    if jax.random.key_impl(old) != jax.random.key_impl(mine):
        seed = jax.random.bits(mine, (), "uint32").astype("int32")
        mine = jax.random.key(seed, impl=jax.random.key_impl(old))
    return jax.random.split(mine, old.shape) if old.shape else mine


def _called(
    model: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], key: Array, *, training: bool
) -> Any:
    function: Callable[..., Any] | None = getattr(model, "__call__", None)  # noqa: B004
    if function is None:
        raise BadInputError(
            f"model: {type(model).__name__} has no __call__; pass step=lambda model, batch: …"
        )
    more = {**keys(key), "rngs": nnx.Rngs(key)}
    return function(*args, **filled(function, args, keywords, training=training, more=more))
