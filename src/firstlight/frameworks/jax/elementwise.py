"""Elementwise primitives of JAX in NumPy: the same functions in float64, without compiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from firstlight.frameworks.jax.flat import CUSTOM, Constant, Flat, Step, flattened

Params = Mapping[str, Any]
Rule = Callable[..., Any]


def _select(_: Params, which: Any, *cases: Any) -> Any:
    if len(cases) == 2:
        return np.where(np.asarray(which, bool), cases[1], cases[0])
    return np.choose(which, cases)


def _cast(params: Params, x: Any) -> Any:
    kind = np.dtype(params["new_dtype"]).kind
    return np.asarray(x).astype({"b": bool, "i": np.int64, "u": np.int64}.get(kind, np.float64))


def _plain(function: Callable[..., Any]) -> Rule:
    return lambda _, *args: function(*args)


_RULES: dict[str, Rule] = {
    **{
        name: _plain(function)
        for name, function in {
            "add": np.add,
            "add_any": np.add,
            "sub": np.subtract,
            "mul": np.multiply,
            "div": np.true_divide,
            "rem": np.fmod,
            "neg": np.negative,
            "max": np.maximum,
            "min": np.minimum,
            "pow": np.power,
            "exp": np.exp,
            "exp2": np.exp2,
            "expm1": np.expm1,
            "log": np.log,
            "log1p": np.log1p,
            "sqrt": np.sqrt,
            "cbrt": np.cbrt,
            "rsqrt": lambda x: 1 / np.sqrt(x),
            "square": np.square,
            "abs": np.abs,
            "sign": np.sign,
            "floor": np.floor,
            "ceil": np.ceil,
            "sin": np.sin,
            "cos": np.cos,
            "tan": np.tan,
            "asin": np.arcsin,
            "acos": np.arccos,
            "atan": np.arctan,
            "atan2": np.arctan2,
            "sinh": np.sinh,
            "cosh": np.cosh,
            "tanh": np.tanh,
            "asinh": np.arcsinh,
            "acosh": np.arccosh,
            "atanh": np.arctanh,
            "logistic": special.expit,
            "erf": special.erf,
            "erfc": special.erfc,
            "erf_inv": special.erfinv,
            "lgamma": special.gammaln,
            "digamma": special.digamma,
            "is_finite": np.isfinite,
            "gt": np.greater,
            "ge": np.greater_equal,
            "lt": np.less,
            "le": np.less_equal,
            "eq": np.equal,
            "ne": np.not_equal,
            "and": np.logical_and,
            "or": np.logical_or,
            "not": np.logical_not,
            "xor": np.logical_xor,
            "clamp": lambda low, x, high: np.clip(x, low, high),
            "copy": lambda x: x,
            "copy_p": lambda x: x,
            "stop_gradient": lambda x: x,
            "optimization_barrier": lambda x: x,
            "reduce_precision": lambda x: x,
        }.items()
    },
    "round": lambda _, x: np.round(x),
    "integer_pow": lambda p, x: np.asarray(x, np.float64) ** p["y"],
    "select_n": _select,
    "convert_element_type": _cast,
}

_OF_CONSTANTS: dict[str, Rule] = {
    "broadcast_in_dim": lambda p, x, *_: np.broadcast_to(
        np.asarray(x).reshape(
            [
                np.shape(x)[list(p["broadcast_dimensions"]).index(a)]
                if a in p["broadcast_dimensions"]
                else 1
                for a in range(len(p["shape"]))
            ]
        ),
        p["shape"],
    ),
    "reshape": lambda p, x, *_: np.reshape(x, p["new_sizes"]),
    "squeeze": lambda p, x: np.squeeze(x, tuple(p["dimensions"])),
    "expand_dims": lambda p, x: np.expand_dims(x, tuple(p["dimensions"])),
    "transpose": lambda p, x: np.transpose(x, p["permutation"]),
    "iota": lambda p: np.broadcast_to(
        np.arange(p["shape"][p["dimension"]]).reshape(
            [-1 if a == p["dimension"] else 1 for a in range(len(p["shape"]))]
        ),
        p["shape"],
    ),
    "slice": lambda p, x: x[
        tuple(
            slice(a, b, c)
            for a, b, c in zip(
                p["start_indices"],
                p["limit_indices"],
                p["strides"] or [1] * len(p["start_indices"]),
                strict=True,
            )
        )
    ],
    "concatenate": lambda p, *xs: np.concatenate(xs, p["dimension"]),
}


@lru_cache(maxsize=1024)
def _inside(jaxpr: Any) -> Flat:
    return flattened(jaxpr)


def inside(step: Step) -> Flat | None:
    """The steps of a call that has a derivative rule of its own."""
    jaxpr = step.params.get("call_jaxpr") or step.params.get("fun_jaxpr")
    return _inside(jaxpr) if hasattr(jaxpr, "consts") else None


def is_elementwise(step: Step) -> bool:
    """Whether a step makes one value of each place from the values of that place."""
    if step.name in _RULES:
        return len(step.outputs) == 1
    if step.name not in CUSTOM or len(step.outputs) != 1:
        return False
    inner = inside(step)
    return inner is not None and all(
        is_elementwise(s) or (s.name == "broadcast_in_dim" and not inner.aval(s.inputs[0]).shape)
        for s in inner.steps
    )


def evaluated(step: Step, inputs: Sequence[Any]) -> Any:
    """What a step makes of NumPy arrays; None for a primitive that is not known here."""
    if step.name in CUSTOM:
        inner = inside(step)
        if inner is None:
            return None
        values: dict[int, Any] = dict(enumerate(inputs))
        for each in inner.steps:
            given = [a.value if isinstance(a, Constant) else values[a] for a in each.inputs]
            # A number is a number, however long the array that it is tried on.
            spread = each.name == "broadcast_in_dim"
            found = given[0] if spread else evaluated(each, given)
            if found is None:
                return None
            values[each.outputs[0]] = found
        last = inner.outputs[0]
        return last.value if isinstance(last, Constant) else values[last]
    rule = _RULES.get(step.name) or _OF_CONSTANTS.get(step.name)
    if rule is None:
        return None
    with np.errstate(all="ignore"):
        return rule(step.params, *inputs)
