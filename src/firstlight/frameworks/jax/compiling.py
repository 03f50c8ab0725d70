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
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.dtypes import prng_key
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from firstlight.frameworks.jax.flat import CUSTOM, Constant, Flat

_MOST = 64
"""So many compiled programs are kept; the one that was not used for longest goes first."""
_MOST_RULES = 4096

_kept: OrderedDict[Hashable, Any] = OrderedDict()
_rules: OrderedDict[Hashable, tuple[tuple[Any, ...], bytes]] = OrderedDict()
"""Digests of derivative rules by the identity of their functions, which are kept with them."""


class _UnknownError(Exception):
    """Something that has no name by its value."""


def once(key: Hashable | None, make: Callable[[], Any]) -> Any:
    """What was made for this key before, or is made now; never kept under None."""
    return make() if key is None else _recalled(_kept, key, make, _MOST)


def _recalled(
    kept: OrderedDict[Hashable, Any], key: Hashable, make: Callable[[], Any], most: int
) -> Any:
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    made = kept[key] = make()
    while len(kept) > most:
        kept.popitem(last=False)
    return made


def compiled(closed: ClosedJaxpr) -> Callable[..., list[Array]]:
    """A jaxpr as a compiled function of its inputs; the same one for what computes the same."""
    made: Callable[..., list[Array]] = once(key_of(closed), lambda: jax.jit(jaxpr_as_fun(closed)))
    return made


def evaluated(function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives, compiled once for all functions that trace to the same steps."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    return jax.tree.unflatten(jax.tree.structure(shape), compiled(closed)(*jax.tree.leaves(args)))


def key_of(*parts: Any) -> bytes | None:
    """A key that equal computations share, and no others; None if there is something unknown.

    Args:
        parts: jaxprs, flat programs, records, arrays, numbers, names.

    >>> key_of(jax.make_jaxpr(jnp.sin)(1.0)) == key_of(jax.make_jaxpr(lambda x: jnp.sin(x))(2.0))
    True
    >>> key_of(jax.make_jaxpr(jnp.sin)(1.0)) == key_of(jax.make_jaxpr(jnp.cos)(1.0))
    False
    """
    digest = _Digest()
    try:
        for part in parts:
            digest.add(part)
    except _UnknownError:
        return None
    return digest.value


class _Digest:
    """Takes in values of many kinds.

    Args:
        inside: whether it is inside a derivative rule, which may call what it is the rule of.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._inside = inside

    @property
    def value(self) -> bytes:
        """What equal values share."""
        return self._hash.digest()

    def _words(self, words: str) -> None:
        self._hash.update(words.encode())

    def add(self, value: Any) -> None:
        """Take in one value."""
        if value is None or isinstance(value, str | int | float | complex | bytes | enum.Enum):
            self._words(f"{type(value).__name__} {value!r};")
        elif isinstance(value, np.ndarray | np.generic | Array):
            self._array(value)
        elif isinstance(value, ClosedJaxpr):
            self._jaxpr(value.jaxpr)
            self._all(value.consts)
        elif isinstance(value, Jaxpr):
            self._jaxpr(value)
        elif isinstance(value, Flat):
            self._flat(value)
        elif isinstance(value, Mapping):
            self._all(part for item in value.items() for part in item)
        elif isinstance(value, tuple | list):
            self._all(value)
        elif isinstance(value, set | frozenset):
            self._all(sorted(map(repr, value)))
        elif is_dataclass(value) and not isinstance(value, type):
            self._words(type(value).__qualname__)
            self._all(getattr(value, field.name) for field in fields(value))
        else:
            name = repr(value)
            if " at 0x" in name:
                raise _UnknownError
            self._words(f"{type(value).__name__} {name};")

    def _all(self, values: Iterable[Any]) -> None:
        self._words("(")
        for value in values:
            self.add(value)
        self._words(")")

    def _array(self, value: Any) -> None:
        if isinstance(value, Array) and jnp.issubdtype(value.dtype, prng_key):
            self._words(repr(value.dtype))
            value = jax.random.key_data(value)
        array = np.asarray(value)
        self._words(f"{array.dtype} {array.shape};")
        self._hash.update(np.ascontiguousarray(array).tobytes())

    def _jaxpr(self, jaxpr: Jaxpr) -> None:
        numbers: dict[Any, int] = {}

        def number(var: Any) -> Any:
            if isinstance(var, Literal):
                return var.val
            return ("value", numbers.setdefault(var, len(numbers)))

        for var in (*jaxpr.constvars, *jaxpr.invars):
            self._words(f"{number(var)} {var.aval!r};")
        for eqn in jaxpr.eqns:
            self._all(map(number, eqn.invars))
            self._step(eqn.primitive, eqn.params, [var.aval for var in eqn.invars])
            for var in eqn.outvars:
                self._words(f"{number(var)} {var.aval!r};")
        self._all(map(number, jaxpr.outvars))

    def _flat(self, flat: Flat) -> None:
        def plain(atom: Any) -> Any:
            return atom.value if isinstance(atom, Constant) else ("value", atom)

        self._words(repr(flat.avals[: flat.arguments]))
        for step in flat.steps:
            self._all(map(plain, step.inputs))
            self._step(step.primitive, step.params, [flat.aval(atom) for atom in step.inputs])
            for place in step.outputs:
                self._words(f"{place} {flat.avals[place]!r};")
        self._all(map(plain, flat.outputs))

    def _step(self, primitive: Any, params: Mapping[str, Any], avals: Sequence[Any]) -> None:
        self._words(primitive.name)
        if primitive.name in CUSTOM:
            self.add(params.get("call_jaxpr", params.get("fun_jaxpr")))
            if not self._inside:
                self.add(_rule(primitive, params, avals))
            return
        for name in sorted(params):
            self._words(name)
            self.add(params[name])


def _rule(primitive: Any, params: Mapping[str, Any], avals: Sequence[Any]) -> bytes:
    """The digest of a derivative rule; traced once for each function that gives one."""
    names = ("jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd")
    functions = tuple(params[name] for name in names if name in params)
    key = (*map(id, functions), repr(avals))

    def traced() -> tuple[tuple[Any, ...], bytes]:
        digest = _Digest(inside=True)
        digest.add(_with_its_rule(primitive, params, avals))
        return functions, digest.value

    found: tuple[tuple[Any, ...], bytes] = _recalled(_rules, key, traced, _MOST_RULES)
    return found[1]


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
    if jnp.issubdtype(made.dtype, jnp.inexact):
        return jnp.ones_like(made)
    return np.zeros(made.shape, jax.dtypes.float0)
