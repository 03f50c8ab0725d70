"""How a batch reaches a model: which arrays in which arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, tree_util

from firstlight.errors import BadInputError, said

_WHOLE = (Array, np.ndarray, np.generic, Mapping, list, tuple, str, bytes)


def arrays_in(value: Any) -> list[Array]:
    """The arrays in nested containers; keys of random streams are none."""
    leaves = tree_util.tree_leaves(value)
    return [
        leaf
        for leaf in leaves
        if isinstance(leaf, Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    ]


def shapes_of(value: Any) -> str:
    """The shapes in a batch, for messages."""
    shapes = [f"{tuple(a.shape)} {a.dtype}" for a in arrays_in(value)]
    return ", ".join(shapes) or type(value).__name__


def placed(value: Any) -> Any:
    """A batch as arrays of JAX: NumPy's and other libraries' are copied.

    Containers keep their type; numbers and unknown objects pass as they are. 64-bit numbers become
    32-bit ones unless ``jax_enable_x64`` is set, as everywhere in JAX.
    """
    if isinstance(value, Array | str | bytes | bool | int | float | complex) or value is None:
        return value
    if isinstance(value, np.ndarray | np.generic):
        return jnp.asarray(value) if value.dtype.kind in "biufcV" else value
    if isinstance(value, Mapping):
        items = {key: placed(item) for key, item in value.items()}
        try:
            return type(value)(items)  # type: ignore[call-arg]
        except TypeError:
            return items
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(placed(item) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(placed(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tree_util.tree_map(placed, value) if _is_node(value) else value
    # Tensors of other libraries.
    return placed(np.asarray(value)) if hasattr(value, "__array__") else value


def _is_node(value: Any) -> bool:
    return not tree_util.all_leaves([value])


def arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Mapping → keywords, tuple or list → positions, anything else → the one argument."""
    if isinstance(batch, Mapping):
        return (), {str(name): value for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(batch), {}
    return (batch,), {}


def output_array(output: Any) -> Array:
    """What classes are read from: ``.logits`` or the first floating array.

    Raises:
        BadInputError: there is none.
    """
    logits = (
        output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    )
    if isinstance(logits, Array):
        return logits
    for array in arrays_in(output):
        if jnp.issubdtype(array.dtype, jnp.inexact):
            return array
    raise BadInputError(
        f"output: no floating array to compute a loss from, got {type(output).__name__}"
    )


def check_batch(batch: Any) -> None:
    """Refuse a batch without arrays, an empty one, and one that holds NaN.

    Raises:
        BadInputError: one line each.
    """
    if not arrays_in(batch):
        hint = ""
        if isinstance(batch, list | tuple) and batch:
            hint = " (jnp.asarray(batch) makes one of numbers)"
        elif gives_batches(batch):
            hint = "; of a loader pass one batch, next(iter(loader))"
        raise BadInputError(
            f"batch: no array in a {type(batch).__name__}; expected an array, tuple or mapping"
            + hint
        )
    check_values(batch, "batch")


def check_values(value: Any, what: str) -> None:
    """Refuse arrays that are empty, have no values, or hold NaN or infinity.

    Args:
        value: an array or a container of arrays.
        what: ``batch`` or ``target``, for the message.

    Raises:
        BadInputError: one line each.
    """
    for leaf in tree_util.tree_leaves(value):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise BadInputError(
                f"{what}: an array of shape {tuple(leaf.shape)} is abstract and has no values; pass"
                " real data"
            )
        if isinstance(leaf, jax.core.Tracer):
            raise BadInputError(
                f"{what}: is being traced and has no values; call Firstlight outside of jit, grad"
                " and vmap"
            )
    for array in arrays_in(value):
        if array.size == 0:
            raise BadInputError(
                f"{what}: an array of shape {tuple(array.shape)} is empty; pass at least one"
                " sample, better 64"
            )
        if jnp.issubdtype(array.dtype, jnp.inexact):
            count = int((~np.isfinite(np.asarray(array))).sum())
            if count:
                raise BadInputError(
                    f"{what}: {count} of {array.size} values are NaN or infinite;"
                    " clean the data before looking at the network"
                )


def gives_batches(value: Any) -> bool:
    """Whether ``value`` gives batches one by one: a loader, a generator, any other iterable.

    Arrays, mappings, lists, tuples and data classes are one batch, as everywhere.
    """
    whole = isinstance(value, _WHOLE) or dataclasses.is_dataclass(value)
    return not whole and isinstance(value, Iterable) and not hasattr(value, "__array__")


def several(value: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
    """The batches that a model is to be run on.

    Args:
        value: one batch, or what gives batches; of these the first ``most`` are taken.
        inputs: makes of each batch what the model is called with.
        most: at least one.

    Raises:
        BadInputError: no batch came.
    """
    if inputs is not None and not callable(inputs):
        raise BadInputError(f"inputs: expected a callable, got {type(inputs).__name__}")
    if gives_batches(value):
        found = list(islice(value, most))
        if not found:
            raise BadInputError(f"batch: the {type(value).__name__} gave no batch")
    else:
        found = [value]
    return found if inputs is None else [_inputs(inputs, each) for each in found]


def _inputs(function: Callable[[Any], Any], batch: Any) -> Any:
    try:
        return function(batch)
    except Exception as error:
        raise BadInputError(
            f"inputs: raised {type(error).__name__} on a batch of {shapes_of(batch)}: {said(error)}"
        ) from error
