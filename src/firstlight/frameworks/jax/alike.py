"""Whether two models differ in nothing but the values of their arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import sha256
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_DEEPEST = 40


def signature(model: Any, carried: frozenset[int]) -> Hashable:
    """What is equal for two models that compute the same function of their arrays.

    Classes are told apart by their code, attributes by their values as far as these are numbers,
    words, functions, arrays or containers of such. What is of no known kind makes a model unlike
    every other.

    Args:
        model: of any library.
        carried: identities of the arrays that the function is given; of these only shape and type
            count.
    """
    return _print(model, 0, {}, carried)


def _print(value: Any, depth: int, seen: dict[int, int], carried: frozenset[int]) -> Hashable:
    if id(value) in carried:
        return _kind(value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return type(value).__name__, value
    if isinstance(value, Array | np.ndarray | np.generic):
        return _kind(value), _digest(value)
    if isinstance(value, type | ModuleType | BuiltinFunctionType | np.dtype):
        return _class(value) if isinstance(value, type) else str(value)
    if depth > _DEEPEST:
        return "deep", id(value)
    if id(value) in seen:
        return "again", seen[id(value)]  # shared, or a circle
    seen[id(value)] = len(seen)

    def inside(item: Any) -> Hashable:
        return _print(item, depth + 1, seen, carried)

    if isinstance(value, FunctionType):
        return _function(value, inside)
    if isinstance(value, MethodType):
        return "method", value.__func__.__qualname__, inside(value.__self__)
    if isinstance(value, partial):
        return "partial", inside(value.func), inside(value.args), inside(value.keywords)
    if isinstance(value, Mapping):
        items = tuple((str(key), inside(item)) for key, item in value.items())
        return type(value).__qualname__, items
    if isinstance(value, tuple | list):
        return type(value).__qualname__, tuple(inside(item) for item in value)
    if isinstance(value, set | frozenset):
        return type(value).__qualname__, tuple(sorted(map(str, value)))
    return _object(value, inside)


def _kind(array: Any) -> Hashable:
    return tuple(array.shape), str(array.dtype), bool(getattr(array, "weak_type", False))


def _digest(value: Any) -> bytes:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return sha256(np.ascontiguousarray(value).tobytes()).digest()


def _class(kind: type) -> Hashable:
    # By name and code: a class made anew by each call of a factory is the same class to us.
    called = getattr(kind, "__call__", None)  # noqa: B004
    code = getattr(getattr(called, "__wrapped__", called), "__code__", None)
    return kind.__module__, kind.__qualname__, code


def _function(function: FunctionType, inside: Any) -> Hashable:
    cells: list[Hashable] = []
    for cell in function.__closure__ or ():
        try:
            cells.append(inside(cell.cell_contents))
        except ValueError:  # not filled yet
            cells.append(None)
    return "function", function.__code__, inside(function.__defaults__), tuple(cells)


def _object(value: Any, inside: Any) -> Hashable:
    """An instance by its class and what it holds."""
    held: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        held = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    # Plain `getattr` would ask the array that an NNX variable, which has slots alone, holds.
    with suppress(AttributeError):
        held |= object.__getattribute__(value, "__dict__")
    for kind in type(value).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if isinstance(name, str) and not name.startswith("__"):
                held.setdefault(name, getattr(value, name, None))
    hidden = (
        "_trace_state",
        "_object__state",
        "_pytree__state",
        "_id",
        "parent",
        "scope",
        "_state",
    )
    items = tuple((k, inside(v)) for k, v in sorted(held.items()) if k not in hidden)
    if not items and not _is_stateless(value):
        return "unknown", id(value)
    return "object", _class(type(value)), items


def _is_stateless(value: Any) -> bool:
    """Whether an instance without attributes is of a class written in Python."""
    return type(value).__module__ != "builtins" and hasattr(type(value), "__dict__")
