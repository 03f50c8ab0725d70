"""A traced function as a flat list of steps: calls are opened, loops unrolled, names kept.

A jaxpr nests: every jitted helper, rematerialised block and scan is an equation with a jaxpr of
its own. Here all of them lie in one row, so that patterns can be found across their borders and
any value can be looked at or changed on its way. Derivative rules that somebody wrote (custom_jvp,
custom_vjp) stay one step, because only the whole of it has that rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

LONGEST_SCAN = 64
"""Loops of at most so many steps are unrolled; each step is recognised and compiled by itself."""

_INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_lin": "jaxpr",
}
CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
"""Calls with a derivative rule of their own."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A number or array that was known when the function was traced."""

    value: Any
    aval: Any


Atom = int | Constant
"""What a step reads: the number of a value, or a constant."""


@dataclass(frozen=True, eq=False)
class Step:
    """One primitive of the flat list.

    Args:
        primitive: what is computed.
        params: what it was told.
        inputs: what it reads.
        outputs: the numbers of the values that it makes.
        scope: the names that were in force (``jax.named_scope``), outermost first.
        calls: the jitted functions around it, outermost first, each with a number of its own.
    """

    primitive: Any
    params: Mapping[str, Any]
    inputs: tuple[Atom, ...]
    outputs: tuple[int, ...]
    scope: tuple[str, ...] = ()
    calls: tuple[tuple[int, str], ...] = ()

    @property
    def name(self) -> str:
        """The primitive's name."""
        return str(self.primitive.name)

    def evaluate(self, inputs: Sequence[Any]) -> list[Any]:
        """The values that it makes of these."""
        given = self.primitive.get_bind_params(dict(self.params))
        # Until 0.9 functions came beside the parameters, since then they are among them.
        functions, params = ((), given) if isinstance(given, dict) else given
        made = self.primitive.bind(*functions, *inputs, **params)
        return list(made) if self.primitive.multiple_results else [made]


@dataclass
class Flat:
    """A function as steps; values are numbered, the function's arguments first.

    Args:
        arguments: how many values come in.
        steps: in order.
        outputs: what goes out.
        avals: shape and type of each value, by its number.
    """

    arguments: int = 0
    steps: list[Step] = field(default_factory=list)
    outputs: list[Atom] = field(default_factory=list)
    avals: list[Any] = field(default_factory=list)
    _calls: int = 0

    def new(self, aval: Any) -> int:
        """The number of a new value."""
        self.avals.append(aval)
        return len(self.avals) - 1

    def call(self, name: str) -> tuple[int, str]:
        """A number for one call of a function."""
        self._calls += 1
        return self._calls, name

    def aval(self, atom: Atom) -> Any:
        """Shape and type of a value or a constant."""
        return atom.aval if isinstance(atom, Constant) else self.avals[atom]


def flattened(closed: ClosedJaxpr) -> Flat:
    """All steps of a jaxpr in one row; those whose results nobody needs are left out.

    Args:
        closed: as `jax.make_jaxpr` gives it.
    """
    flat = Flat()
    inputs = [flat.new(var.aval) for var in closed.jaxpr.invars]
    flat.arguments = len(inputs)
    flat.outputs = _lay(flat, closed.jaxpr, closed.consts, inputs, (), ())
    _drop_unused(flat)
    return flat


def _lay(
    flat: Flat,
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    inputs: Sequence[Atom],
    scope: tuple[str, ...],
    calls: tuple[tuple[int, str], ...],
) -> list[Atom]:
    """Lay the steps of a jaxpr at the end of the row; what goes out of it."""
    known: dict[Any, Atom] = dict(zip(jaxpr.invars, inputs, strict=True))
    known.update(
        (var, Constant(value, var.aval)) for var, value in zip(jaxpr.constvars, consts, strict=True)
    )

    def atom(var: Any) -> Atom:
        return Constant(var.val, var.aval) if isinstance(var, Literal) else known[var]

    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        given = [atom(var) for var in eqn.invars]
        own = str(eqn.source_info.name_stack)
        inner_scope = (*scope, *own.split("/")) if own else scope
        if name in _INLINED and _INLINED[name] in params:
            inner, inner_consts = _open(params[_INLINED[name]])
            label = params.get("name")
            inner_calls = (*calls, flat.call(str(label))) if label else calls
            made = _lay(flat, inner, inner_consts, given, inner_scope, inner_calls)
        elif name == "scan" and params["length"] <= LONGEST_SCAN:
            made = _unrolled(flat, params, given, inner_scope, calls)
        else:
            outputs = tuple(flat.new(var.aval) for var in eqn.outvars)
            flat.steps.append(
                Step(eqn.primitive, params, tuple(given), outputs, inner_scope, calls)
            )
            made = list(outputs)
        known.update(zip(eqn.outvars, made, strict=True))
    return [atom(var) for var in jaxpr.outvars]


def _open(jaxpr: Any) -> tuple[Jaxpr, Sequence[Any]]:
    if isinstance(jaxpr, ClosedJaxpr):
        return jaxpr.jaxpr, jaxpr.consts
    return jaxpr, ()


def _lay_function(
    flat: Flat, function: Callable[..., Any], given: Sequence[Atom], scope: Any, calls: Any
) -> Atom:
    """Lay what a small function of values computes."""
    closed = jax.make_jaxpr(function)(
        *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (flat.aval(g) for g in given))
    )
    return _lay(flat, closed.jaxpr, closed.consts, given, scope, calls)[0]


def _pick(index: int, array: Any) -> Any:
    return lax.squeeze(lax.slice_in_dim(array, index, index + 1), (0,))


def _pile(*arrays: Any) -> Any:
    return lax.concatenate([lax.expand_dims(array, (0,)) for array in arrays], 0)


def _unrolled(
    flat: Flat,
    params: Mapping[str, Any],
    given: Sequence[Atom],
    scope: tuple[str, ...],
    calls: tuple[tuple[int, str], ...],
) -> list[Atom]:
    """The steps of a scan, one time after the other."""
    fixed, carried = params["num_consts"], params["num_carry"]
    jaxpr, consts = _open(params["jaxpr"])
    shared, carry = list(given[:fixed]), list(given[fixed : fixed + carried])
    rows = given[fixed + carried :]
    length = params["length"]
    piled: list[list[Atom]] = [[] for _ in jaxpr.outvars[carried:]]
    times = range(length)
    for time in reversed(times) if params["reverse"] else times:
        each = [_lay_function(flat, partial(_pick, time), [row], scope, calls) for row in rows]
        made = _lay(flat, jaxpr, consts, [*shared, *carry, *each], scope, calls)
        carry = made[:carried]
        for pile, value in zip(piled, made[carried:], strict=True):
            pile.append(value)
    whole: list[Atom] = list(carry)
    for pile, var in zip(piled, jaxpr.outvars[carried:], strict=True):
        ordered = pile[::-1] if params["reverse"] else pile
        if ordered:
            whole.append(_lay_function(flat, _pile, ordered, scope, calls))
        else:
            aval: Any = var.aval
            empty = lax.full((0, *aval.shape), 0, aval.dtype)
            whole.append(Constant(empty, jax.typeof(empty)))
    return whole


def _drop_unused(flat: Flat) -> None:
    needed = {atom for atom in flat.outputs if isinstance(atom, int)}
    kept: list[Step] = []
    for step in reversed(flat.steps):
        if needed.intersection(step.outputs):
            kept.append(step)
            needed.update(atom for atom in step.inputs if isinstance(atom, int))
    flat.steps = kept[::-1]
