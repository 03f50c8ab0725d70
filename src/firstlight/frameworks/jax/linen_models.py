"""Flax Linen modules with their variables."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
from flax import linen as nn
from flax.core import DenyList, meta
from flax.errors import ScopeParamNotFoundError
from jax import Array, tree_util

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.arguments import filled, keys
from firstlight.frameworks.jax.flax_layouts import read
from firstlight.frameworks.jax.functions import Leaves
from firstlight.frameworks.jax.held import Held, parameters_of, placed_like, tree_names
from firstlight.frameworks.jax.pairs import binding
from firstlight.frameworks.jax.sharding import is_abstract, plain_shape, started
from firstlight.frameworks.jax.synthetic import guesses, runs
from firstlight.frameworks.jax.uses import Use, guessed, layout, vector, weight
from firstlight.frameworks.jax.view import View

_NO_PARAMETERS = DenyList(("params",))
"""What a call may write to: all collections but the parameters."""


def hold(model: Any, module: nn.Module, variables: Mapping[str, Any]) -> Held:
    """A Linen module with its variables.

    Args:
        model: as it was given: a pair, or a bound module.
        module: unbound.
        variables: collections by name; a mapping without ``params`` is taken for the parameters.
    """
    kind = type(module).__name__
    module = module if module.scope is None else module.unbind()[0]
    is_bound = isinstance(model, nn.Module)
    bare = "params" not in variables
    collections = {"params": variables} if bare else dict(variables)
    leaves = Leaves(_unboxed(collections["params"]))
    arrays = leaves.arrays(kind)
    state = {name: held for name, held in collections.items() if name != "params"}
    random = tuple(getattr(model.scope, "rngs", None) or ()) if is_bound else ()

    def variables_of(given: Mapping[str, Array], kept: Mapping[str, Any]) -> Any:
        boxed = _boxed(collections["params"], leaves.tree(given))
        return boxed if bare else _like(variables, {"params": boxed, **kept})

    def made(given: Mapping[str, Array], key: Array) -> Any:
        filled_in = variables_of(given, _started(state))
        if is_bound:
            streams = _streams(key, random)
            return module.bind(filled_in, rngs=streams, mutable=_NO_PARAMETERS)
        return (model[0], filled_in)

    def applied(
        held: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        key: Array,
        *,
        training: bool,
    ) -> tuple[Any, Mapping[str, Any]]:
        given = {"params": held} if bare else held
        chosen = filled(module.__call__, args, keywords, training=training, more=keys(key))
        try:
            output, changed = module.apply(
                given, *args, **chosen, rngs=_streams(key, random), mutable=_NO_PARAMETERS
            )
        except ScopeParamNotFoundError as error:
            raise BadInputError(
                f"model: the variables lack parameters of {kind} ({_line(error)}); pass what"
                " module.init gave for this module"
            ) from error
        return output, changed

    def called(now: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], key: Array) -> Any:
        if is_bound:
            return now(*args, **filled(now.__call__, args, keywords, training=True, more=keys(key)))
        return applied(now[1], args, keywords, key, training=True)[0]

    bound, run = binding(made, called)

    def rebuild(given: Mapping[str, Array]) -> Any:
        fresh = {name: placed_like(given[name], old) for name, old in arrays.items()}
        written = variables_of(fresh, _started(state, placed=True))
        if is_bound:
            scope = model.scope
            return module.bind(written, rngs=dict(scope.rngs), mutable=scope.mutable)
        return (model[0], written)

    def call(
        given: Mapping[str, Array],
        kept: Any,
        key: Array,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        training: bool,
    ) -> tuple[Any, Any]:
        output, changed = applied(variables_of(given, kept), args, keywords, key, training=training)
        return output, {name: changed.get(name, held) for name, held in kept.items()}

    view = View(
        name=kind,
        framework="jax",
        arrays=arrays,
        parameters=parameters_of(
            arrays, {n: guessed(n, tuple(a.shape)) for n, a in arrays.items()}
        ),
        bound=bound,
        run=run,
        rebuild=rebuild,
    )
    uses = _known_uses(module, view, arrays)
    arrays = {name: arrays[name] for name in uses}
    kept = tree_util.tree_leaves(state)
    return Held(
        view=replace(view, arrays=arrays, parameters=parameters_of(arrays, uses)),
        state=state,
        call=call,
        buffers={
            name: value
            for name, value in zip(tree_names(state), kept, strict=True)
            if isinstance(value, Array)
        },
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _streams(key: Array, random: tuple[str, ...]) -> dict[str, Array]:
    """Keys for all that a module may draw: what it calls otherwise falls back to ``params``."""
    names = dict.fromkeys(("params", *random))
    return {name: jax.random.fold_in(key, number) for number, name in enumerate(names)}


def _boxed(old: Any, new: Any) -> Any:
    """The new arrays in the boxes (of partitioned parameters) that the old ones had."""

    def is_box(value: Any) -> bool:
        return isinstance(value, meta.AxisMetadata)

    def put(box: Any, value: Any) -> Any:
        return box.replace_boxed(value) if is_box(box) else value

    return tree_util.tree_map(put, old, new, is_leaf=is_box)


def _unboxed(tree: Any) -> Any:
    """The arrays without their boxes; of shapes, with the sharding that their boxes tell."""

    def unboxed(box: Any) -> Any:
        if not isinstance(box, meta.Partitioned):
            return box.unbox() if isinstance(box, meta.AxisMetadata) else box
        value: Any = box.unbox(apply_constraint=False)
        mesh = box.mesh or jax.sharding.get_mesh()
        if not is_abstract(value) or value.sharding is not None or mesh.empty:
            return value
        goal = jax.sharding.NamedSharding(mesh, box.get_partition_spec())
        return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=goal)

    return tree_util.tree_map(
        unboxed, tree, is_leaf=lambda value: isinstance(value, meta.AxisMetadata)
    )


def _started(state: Mapping[str, Any], *, placed: bool = False) -> Mapping[str, Any]:
    """State with values: running statistics without any as they start, all else as it is."""

    def value_of(path: Any, value: Any) -> Any:
        here = value if placed else plain_shape(value)
        return started(str(getattr(path[-1], "key", "")), here)

    return {
        name: tree_util.tree_map_with_path(value_of, held) if name == "batch_stats" else held
        for name, held in state.items()
    }


def _like(old: Mapping[str, Any], new: dict[str, Any]) -> Any:
    """Collections in the order and of the kind of the old ones."""
    ordered = {name: new[name] for name in old}
    return ordered if type(old) is dict else type(old)(ordered)  # type: ignore[call-arg]


_KNOWN: OrderedDict[Hashable, dict[str, Use]] = OrderedDict()
_MOST_KNOWN = 32


def _known_uses(module: nn.Module, view: View, arrays: Mapping[str, Array]) -> dict[str, Use]:
    """`_uses`, found out once for equal modules with such arrays: verbs ask again and again."""
    key = (module, tuple((name, a.shape, str(a.dtype)) for name, a in arrays.items()))
    try:
        known = _KNOWN.get(key)
    except TypeError:  # a module whose fields cannot be hashed
        return _uses(view, arrays)
    if known is None:
        known = _KNOWN[key] = _uses(view, arrays)
        if len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.popitem(last=False)
    return known


def _uses(view: View, arrays: Mapping[str, Array]) -> dict[str, Use]:
    """What each parameter is to its module, which only shows while the model runs.

    Linen makes its modules as it goes. So the model is traced, without computing anything, on
    batches that its parameters suggest; where none fits, names and shapes decide. Parameters come
    in the order in which their modules run: a jitted ``init`` gives them sorted by name.
    """
    seen: dict[str, nn.Module] = {}
    for guess in guesses(view):
        seen.clear()
        try:
            with _watching(seen):
                runs(view, guess)
        except Exception:  # another batch may do
            continue
        break
    else:
        seen.clear()
    order = {path: place for place, path in enumerate(seen)}

    def rank(name: str) -> tuple[int, bool]:
        owner, _, leaf = name.rpartition(".")
        return order.get(owner, len(order)), leaf == "bias"

    ranked = sorted(arrays, key=rank)
    uses = {name: _use(name, tuple(arrays[name].shape), seen) for name in ranked}
    for name, use in list(uses.items()):
        # Linen's weight norm keeps its scales to itself, under the path of what it wraps.
        weight_of = re.sub(r"(^|\.)WeightNorm_\d+\.(.*)\.scale$", r"\1\2", name)
        if use.kind == "magnitude" and weight_of in uses:
            uses[weight_of] = replace(uses[weight_of], parametrization="weight_norm")
    return uses


@contextmanager
def _watching(seen: dict[str, nn.Module]) -> Iterator[None]:
    """Note the modules that run, by path."""

    def note(
        following: Callable[..., Any],
        args: Any,
        keywords: Any,
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if module.scope is not None:
            seen.setdefault(".".join(module.path), module)
        return following(*args, **keywords)

    with nn.intercept_methods(note):
        yield


def _use(name: str, shape: tuple[int, ...], seen: Mapping[str, nn.Module]) -> Use:
    path = name.split(".")
    owners = [seen[at] for i in range(len(path)) if (at := ".".join(path[:i])) in seen]
    if owners and (list(owners[-1].path) == path[:-1] or isinstance(owners[-1], nn.WeightNorm)):
        return read(owners, path, shape)
    return _by_name(path, shape)


def _by_name(path: list[str], shape: tuple[int, ...]) -> Use:
    """Without the module: by name and shape, and by the class in a name that Linen made up."""
    owner, leaf = (path[-2] if len(path) > 1 else ""), path[-1]
    if "WeightNorm" in ".".join(path[:-1]) and leaf == "scale" and path[-2] == "kernel":
        return vector(shape, "magnitude")
    stem, _, number = owner.rpartition("_")
    kind = stem if number.isdigit() else ""
    if kind.endswith("Norm") and leaf == "bias":
        leaf = "beta"
    if leaf == "kernel" and len(shape) == 3 and owner in ("query", "key", "value", "out"):
        # The heads of attention are one axis with what they read or give.
        first, second, third = shape
        view = (first * second, third) if owner == "out" else (first, second * third)
        return weight(layout(shape, ("in", "out"), view))
    return guessed(leaf, shape, kind)
