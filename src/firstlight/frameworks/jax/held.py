"""A model of any JAX library as this room holds it, and what reading one needs everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, tree_util

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.sharding import cut, is_abstract, target
from firstlight.frameworks.jax.uses import Use, parameter_of
from firstlight.frameworks.jax.view import View
from firstlight.laws.addresses import canonical_name
from firstlight.laws.naming import addresses
from firstlight.records.network import Parameter


class Call(Protocol):
    """The model's output and its state afterwards, as a pure function."""

    def __call__(
        self,
        arrays: Mapping[str, Array],
        state: Any,
        key: Array,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        /,
        *,
        training: bool,
    ) -> tuple[Any, Any]:
        """Run it in training mode or in evaluation."""
        ...


@dataclass(frozen=True, kw_only=True)
class Held:
    """A model as a view, and with its state: what training and saving need besides.

    Args:
        view: the model as a function of its parameters.
        state: what it keeps besides them (batch statistics …), as a pytree.
        call: the model as a pure function of both.
        buffers: the arrays of ``state`` by name.
        streams: keys of its own that every call replaces.
    """

    view: View
    state: Any
    call: Call
    buffers: Mapping[str, Array]
    streams: tuple[Array, ...] = ()


def floating(value: Any) -> bool:
    """Whether a leaf is a parameter: an array of real or complex numbers."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, jnp.inexact))


def checked_arrays(model: str, arrays: Mapping[str, Any]) -> dict[str, Array]:
    """The same as JAX arrays, abstract ones as they are; refuses traced ones, and none at all.

    Raises:
        BadInputError: one line each.
    """
    if not arrays:
        raise BadInputError(
            f"model: {model} has no floating parameters, so there is nothing to initialize"
        )
    for name, value in arrays.items():
        if isinstance(value, jax.core.Tracer):
            raise BadInputError(
                f"{name}: is being traced and has no values; call Firstlight outside of jit, grad"
                " and vmap"
            )
        if isinstance(value, Array) and value.is_deleted():
            raise BadInputError(
                f"{name}: its buffer was donated or deleted; pass the model that came out of the"
                " training step"
            )
    return {
        name: value if isinstance(value, Array) or is_abstract(value) else jnp.asarray(value)
        for name, value in arrays.items()
    }


def parameters_of(
    arrays: Mapping[str, Array],
    uses: Mapping[str, Use],
    ties: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Parameter, ...]:
    """The record of each parameter, with its address."""
    leaves = {name: use.leaves for name, use in uses.items() if use.leaves is not None}
    at = addresses(arrays, leaves)
    # A gate's address leaves the path of its sublayer out, so it is given as a whole.
    given = {name: use.address for name, use in uses.items() if use.address is not None}
    taken = list(at.values())
    for name, address in given.items():
        if address not in taken:
            at[name] = address
    return tuple(
        parameter_of(name, array, uses[name], at[name], tuple((ties or {}).get(name, ())))
        for name, array in arrays.items()
    )


def tree_names(tree: Any) -> list[str]:
    """A name for each leaf of a pytree, in the order in which JAX flattens it.

    Keys, attributes and indices joined by dots; Haiku's ``mlp/~/linear_0`` is ``mlp.linear_0``.
    """
    paths = [path for path, _ in tree_util.tree_flatten_with_path(tree)[0]]
    raw = [".".join(part for part in map(_part, path) if part) for path in paths]
    plain = [canonical_name(name.replace("/~/", ".").replace("/", ".")) for name in raw]
    names = plain if len(set(plain)) == len(plain) else raw
    return [name or "parameters" for name in names]


def _part(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key).strip(".[]'\"")


def places(tree: Any) -> list[int]:
    """The leaves' numbers in the order in which the user wrote them: JAX sorts dictionaries."""
    keyed = tree_util.tree_flatten_with_path(tree)[0]
    ranks = [_rank(tree, path) for path, _ in keyed]
    return sorted(range(len(ranks)), key=lambda i: (ranks[i], i))


def _rank(node: Any, path: Sequence[Any]) -> tuple[int, ...]:
    found = []
    for key in path:
        if isinstance(key, tree_util.DictKey) and isinstance(node, Mapping):
            found.append(list(node).index(key.key))
            node = node[key.key]
        elif isinstance(key, tree_util.SequenceKey) and isinstance(node, list | tuple):
            found.append(key.idx)
            node = node[key.idx]
        elif isinstance(key, tree_util.GetAttrKey):
            fields = list(getattr(type(node), "__dataclass_fields__", None) or vars(node))
            found.append(fields.index(key.name) if key.name in fields else 0)
            node = getattr(node, key.name)
        else:
            break  # flattened by a rule of its own: its order stands
    return tuple(found)


def placed_like(values: Any, old: Any) -> Any:
    """Values as an array of the type and at the place of another, rounded once to nearest even.

    Args:
        values: of NumPy or JAX; shapes without values stay what they are.
        old: an array, or its shape with or without a sharding.
    """
    if is_abstract(values):
        return values
    new = values if isinstance(values, Array) else np.asarray(values)
    if new.dtype != old.dtype:
        new = new.astype(old.dtype)
    if isinstance(new, Array) and (is_abstract(old) or new.sharding == old.sharding):
        return new  # made for it
    goal = target(old, "model")
    if goal is None:
        return jnp.asarray(new)
    return jax.device_put(new, goal) if isinstance(new, Array) else cut(new, goal)
