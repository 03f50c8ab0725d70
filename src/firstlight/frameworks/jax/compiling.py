"""What has been compiled once is not compiled again: programs are known by what they compute.

A model is traced anew for each look, since only tracing shows what it computes now. Compiling takes
far longer, and depends on the steps, types and constants alone; so those are the key. Derivative
rules that somebody wrote are functions, and two of one name may differ in what they close over;
they enter by the steps that they trace to.
"""

from __future__ import annotations

import enum
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.dtypes import prng_key
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from firstlight.frameworks.jax.flat import CUSTOM, Constant, Flat

_MOST = 64
"""So many compiled programs are kept; the one that was not used for longest goes first."""

_kept: OrderedDict[Hashable, Any] = OrderedDict()


_inside: list[bool] = []


class _UnknownError(Exception):
    """Something that has no name by its value."""


def once(key: Hashable | None, make: Callable[[], Any]) -> Any:
    """What was made for this key before, or is made now; never kept under None."""
    if key is None:
        return make()
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    made = _kept[key] = make()
    while len(_kept) > _MOST:
        _kept.popitem(last=False)
    return made


def compiled(closed: ClosedJaxpr) -> Callable[..., list[Array]]:
    """A jaxpr as a compiled function of its inputs; the same one for what computes the same."""
    made: Callable[..., list[Array]] = once(key_of(closed), lambda: jax.jit(jaxpr_as_fun(closed)))
    return made


def key_of(*parts: Any) -> bytes | None:
    """A key that equal computations share, and no others; None if there is something unknown.

    Args:
        parts: jaxprs, flat programs, records, arrays, numbers, names.
    """
    known = hashlib.blake2b(digest_size=16)
    try:
        for part in parts:
            _add(known.update, part)
    except _UnknownError:
        return None
    return known.digest()


_Add = Callable[[bytes], None]


def _add(add: _Add, value: Any) -> None:
    """Feed a value to the digest."""
    if value is None or isinstance(value, str | int | float | complex | bool | bytes | enum.Enum):
        add(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, np.ndarray | np.generic | Array):
        _add_array(add, value)
    elif isinstance(value, ClosedJaxpr):
        _add_jaxpr(add, value.jaxpr)
        _add_all(add, value.consts)
    elif isinstance(value, Jaxpr):
        _add_jaxpr(add, value)
    elif isinstance(value, Flat):
        _add_flat(add, value)
    elif isinstance(value, Mapping):
        _add_all(add, (part for item in value.items() for part in item))
    elif isinstance(value, tuple | list):
        _add_all(add, value)
    elif isinstance(value, set | frozenset):
        _add_all(add, sorted(map(repr, value)))
    elif is_dataclass(value) and not isinstance(value, type):
        add(type(value).__qualname__.encode())
        _add_all(add, (getattr(value, field.name) for field in fields(value)))
    else:
        name = repr(value)
        if " at 0x" in name:
            raise _UnknownError
        add(f"{type(value).__name__} {name};".encode())


def _add_all(add: _Add, values: Iterable[Any]) -> None:
    add(b"(")
    for value in values:
        _add(add, value)
    add(b")")


def _add_array(add: _Add, value: Any) -> None:
    if isinstance(value, Array) and jax.numpy.issubdtype(value.dtype, prng_key):
        add(repr(value.dtype).encode())
        value = jax.random.key_data(value)
    array = np.asarray(value)
    add(f"{array.dtype} {array.shape};".encode())
    add(np.ascontiguousarray(array).tobytes())


def _add_jaxpr(add: _Add, jaxpr: Jaxpr) -> None:
    numbers: dict[Any, int] = {}

    def number(var: Any) -> Any:
        return numbers.setdefault(var, len(numbers))

    for var in (*jaxpr.constvars, *jaxpr.invars):
        number(var)
        add(repr(var.aval).encode())
    for eqn in jaxpr.eqns:
        _add_inputs(add, (v.val if isinstance(v, Literal) else number(v) for v in eqn.invars))
        _add_params(add, eqn.primitive, eqn.params, [v.aval for v in eqn.invars])
        for var in eqn.outvars:
            add(f"{number(var)} {var.aval!r};".encode())
    _add_inputs(add, (v.val if isinstance(v, Literal) else number(v) for v in jaxpr.outvars))


def _add_flat(add: _Add, flat: Flat) -> None:
    def plain(atom: Any) -> Any:
        return atom.value if isinstance(atom, Constant) else ("value", atom)

    add(repr(flat.avals[: flat.arguments]).encode())
    for step in flat.steps:
        _add_inputs(add, map(plain, step.inputs))
        _add_params(add, step.primitive, step.params, [flat.aval(atom) for atom in step.inputs])
        for place in step.outputs:
            add(f"{place} {flat.avals[place]!r};".encode())
    _add_all(add, map(plain, flat.outputs))


def _add_inputs(add: _Add, values: Iterable[Any]) -> None:
    _add_all(add, values)


def _add_params(add: _Add, primitive: Any, params: Mapping[str, Any], avals: Sequence[Any]) -> None:
    add(primitive.name.encode())
    if primitive.name in CUSTOM:
        _add(add, params.get("call_jaxpr", params.get("fun_jaxpr")))
        if not _inside:  # a rule may call what it is the rule of
            _inside.append(True)
            try:
                _add(add, _with_its_rule(primitive, params, avals))
            finally:
                _inside.pop()
        return
    for name in sorted(params):
        add(name.encode())
        _add(add, params[name])


def _with_its_rule(primitive: Any, params: Mapping[str, Any], avals: Sequence[Any]) -> ClosedJaxpr:
    """The steps of a call and of its derivative rule."""

    def call(*inputs: Any) -> Any:
        given = primitive.get_bind_params(dict(params))
        # Older versions give the functions apart.
        functions, rest = given if isinstance(given, tuple) else ((), given)
        return primitive.bind(*functions, *inputs, **rest)

    def both(*inputs: Any) -> Any:
        made, back = jax.vjp(call, *inputs)
        return made, back(jax.tree.map(_cotangent, made))

    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    return jax.make_jaxpr(both)(*shapes)


def _cotangent(made: Array) -> Any:
    if jax.numpy.issubdtype(made.dtype, np.inexact):
        return jax.numpy.ones_like(made)
    return np.zeros(made.shape, jax.dtypes.float0)
