"""Equinox modules, which mostly take one sample: a batch is mapped over, as their users do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
from jax import Array, tree_util

from firstlight.frameworks.jax.arguments import filled, keys, takes
from firstlight.frameworks.jax.equinox_layouts import read
from firstlight.frameworks.jax.functions import Leaves
from firstlight.frameworks.jax.held import Held, parameters_of, placed_like, tree_names
from firstlight.frameworks.jax.pairs import binding
from firstlight.frameworks.jax.uses import Use
from firstlight.frameworks.jax.view import View


def hold(model: Any, state: Any = None) -> Held:
    """A module, or a module with its state.

    ``run`` maps the model over the samples of a batch; where it does not run so, it takes the
    batch as a whole.
    """
    kind = type(model).__name__
    leaves = Leaves(model)
    arrays = leaves.arrays(kind)
    stateful = state is not None

    def module_of(given: Mapping[str, Array], *, training: bool = True) -> Any:
        return eqx.nn.inference_mode(leaves.tree(given), value=not training)

    def made(given: Mapping[str, Array], _: Array) -> Any:
        held = tree_util.tree_map(lambda leaf: leaf, state)
        return (module_of(given), held) if stateful else module_of(given)

    def called(bound: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], key: Array) -> Any:
        module, held = bound if stateful else (bound, None)
        return _mapped(module, held, args, keywords, key, training=True)[0]

    bound, run = binding(made, called)

    def rebuild(given: Mapping[str, Array]) -> Any:
        written = leaves.tree({n: placed_like(given[n], old) for n, old in arrays.items()})
        return (written, state) if stateful else written

    def call(
        given: Mapping[str, Array],
        held: Any,
        key: Array,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        *,
        training: bool,
    ) -> tuple[Any, Any]:
        module = module_of(given, training=training)
        return _mapped(module, held, args, keywords, key, training=training)

    kept = tree_util.tree_leaves(state)
    return Held(
        view=View(
            name=kind,
            framework="jax",
            arrays=arrays,
            parameters=parameters_of(arrays, _uses(model, arrays)),
            bound=bound,
            run=run,
            rebuild=rebuild,
        ),
        state=state,
        call=call,
        buffers={
            f"state.{name}": value
            for name, value in zip(tree_names(state), kept, strict=True)
            if isinstance(value, Array)
        },
    )


def _uses(model: Any, arrays: Mapping[str, Array]) -> dict[str, Use]:
    found = {}
    for name, array in arrays.items():
        path, owners, node = name.split("."), [model], model
        for part in path[:-1]:
            node = _child(node, part)
            if isinstance(node, eqx.Module):
                owners.append(node)
        found[name] = read(owners, path, tuple(array.shape))
    return found


def _child(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    if isinstance(node, Sequence) and part.isdigit():
        return node[int(part)]
    return getattr(node, part, None)


def _mapped(
    module: Any,
    state: Any,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    key: Array,
    *,
    training: bool,
) -> tuple[Any, Any]:
    """Output and state over a batch: sample by sample, or as a whole where that does not run."""
    each = _by_sample(module, state, args, keywords, key, training=training)
    if each is not None and _runs(each):
        return each()
    return _whole(module, state, args, keywords, key, training=training)


def _whole(
    module: Any,
    state: Any,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    key: Array,
    *,
    training: bool,
) -> tuple[Any, Any]:
    # A state can be used once; the user's own must not be used up.
    given = (*args, tree_util.tree_map(lambda leaf: leaf, state)) if state is not None else args
    chosen = filled(module.__call__, given, keywords, training=training, more=keys(key))
    found = module(*given, **chosen)
    return found if state is not None else (found, None)


def _by_sample(
    module: Any,
    state: Any,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    key: Array,
    *,
    training: bool,
) -> Callable[[], tuple[Any, Any]] | None:
    arrays = [a for a in tree_util.tree_leaves((args, keywords)) if hasattr(a, "shape")]
    if not arrays or not all(a.ndim for a in arrays) or len({len(a) for a in arrays}) > 1:
        return None

    def sample(mine: Array, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        return _whole(module, state, given, named, mine, training=training)

    name = next(iter(_axis_names(module)), None)
    drawn = any(takes(module.__call__, word) for word in ("key", "rng"))
    split = jax.random.split(key, len(arrays[0])) if drawn else key

    def run() -> tuple[Any, Any]:
        mapped = jax.vmap(
            sample,
            in_axes=(0 if drawn else None, 0, 0),
            out_axes=(0, None),
            axis_name=name or "batch",
        )
        found: tuple[Any, Any] = mapped(split, args, dict(keywords))
        return found

    return run


def _axis_names(module: Any) -> list[str]:
    """What batch normalization calls the axis that it is mapped over."""
    found = []
    for node in tree_util.tree_leaves(module, is_leaf=_normalizes):
        axis = getattr(node, "axis_name", None) if _normalizes(node) else None
        if axis is not None:
            found += [axis] if isinstance(axis, str) else list(axis)
    return found


def _normalizes(node: Any) -> bool:
    return isinstance(node, eqx.nn.BatchNorm)


def _runs(function: Callable[[], Any]) -> bool:
    try:
        jax.eval_shape(lambda: tree_util.tree_leaves(function()))
    except Exception:
        return False
    return True
