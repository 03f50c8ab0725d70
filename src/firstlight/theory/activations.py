"""Activations by name or by function: what the rest of the theory computes with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from firstlight.errors import BadInputError, near_names
from firstlight.records.network import ActivationRef
from firstlight.theory.formulas import FAMILIES, Array, Elementwise


@dataclass(frozen=True)
class Activation:
    """An elementwise function φ and what is known about it.

    Args:
        name: for messages.
        function: φ, from a float64 array to one of the same shape.
        derivative: φ′, or None if it has to be found numerically.
        kinks: where φ is not smooth (x, not z), or None if that is unknown.
        saturated: outputs outside this interval lie on a flat end; None if φ has no flat end.
    """

    name: str
    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array] | None
    kinks: tuple[float, ...] | None
    saturated: tuple[float, float] | None


ActivationLike = str | ActivationRef | Activation | Elementwise

# Squashed (lower case, no separators) second names; every table name is its own.
_ALIASES = {
    "identity": "linear",
    "none": "linear",
    "leaky": "leaky_relu",
    "lrelu": "leaky_relu",
    "swish": "silu",
    "gelunew": "gelu_tanh",
    "geluapproximate": "gelu_tanh",
    "gelupytorchtanh": "gelu_tanh",
    "hardsilu": "hardswish",
    "hswish": "hardswish",
    "hsigmoid": "hardsigmoid",
    "logistic": "sigmoid",
    "expit": "sigmoid",
    "relu^2": "relu_squared",
    "relu**2": "relu_squared",
    "relu²": "relu_squared",
    "relu2": "relu_squared",
    "squaredrelu": "relu_squared",
    "sine": "sin",
    "siren": "sin",
}


def _squash(name: str) -> str:
    return name.strip().lower().replace("_", "").replace("-", "").replace(" ", "")


_SEEN: dict[ActivationRef, Activation] = {}
"""Functions that adapters read from models of this process."""


def remember(reference: ActivationRef, act: Activation) -> None:
    """Let a reference stand for a function that was read from a model."""
    _SEEN.setdefault(reference, act)


def is_known(reference: ActivationRef) -> bool:
    """Whether theory can compute with a reference: a saved record may name what it never saw.

    >>> is_known(ActivationRef(name="gelu")), is_known(ActivationRef(name="custom:Snake"))
    (True, False)
    """
    return reference in _SEEN or not reference.is_custom


_NAMES = {_squash(name): name for name in FAMILIES} | _ALIASES


def activation_names() -> tuple[str, ...]:
    """The names in the table, in alphabetical order.

    >>> "gelu" in activation_names()
    True
    """
    return tuple(sorted(FAMILIES))


def activation(
    which: ActivationLike,
    parameter: float | None = None,
    derivative: Elementwise | None = None,
) -> Activation:
    """The activation of a name, a reference or a function.

    Args:
        which: a name (``"gelu"``, ``"LeakyReLU"``, ``"swish"``; case, ``_`` and ``-`` do not
            matter), an `ActivationRef`, an `Activation` (returned as it is), or any elementwise
            function from a float64 array to an array of the same shape.
        parameter: the slope (leaky_relu, prelu, rrelu), α (elu, celu), β (softplus), half width
            (softshrink) or frequency (sin). None takes the frameworks' default.
        derivative: φ′ of a function; without it, it is found numerically.

    Returns:
        The activation. Softmax is not elementwise and therefore not among them.

    Raises:
        BadInputError: an unknown name, a parameter that the activation does not have, or something
            that is no function.

    >>> activation("Leaky-ReLU", 0.2).function(np.array([-1.0, 1.0])).tolist()
    [-0.2, 1.0]
    >>> activation(lambda x: x**3).kinks is None
    True
    """
    if isinstance(which, ActivationRef):
        if parameter is not None and which.parameter is not None:
            raise BadInputError(
                f"activation {which}: the reference already has a parameter, got {parameter:g} too;"
                " give one of them"
            )
        if which in _SEEN and parameter is None and derivative is None:
            return _SEEN[which]
        if which.is_custom:
            raise BadInputError(
                f"activation {which}: read from a model of another process; check or plan that"
                " model again, or give the function itself"
            )
        return activation(
            which.name, which.parameter if parameter is None else parameter, derivative
        )
    if isinstance(which, str):
        if derivative is not None:
            raise BadInputError(
                f"activation {which!r}: its derivative is known; give derivative= only with a"
                " function"
            )
        return _from_table(which, None if parameter is None else float(parameter))
    if not callable(which) and not isinstance(which, Activation):
        raise BadInputError(
            f"activation: expected a name or a function of an array, got {which!r};"
            " see activation_names()"
        )
    if parameter is not None:
        raise BadInputError(
            f"activation: parameter = {parameter:g} goes with a name; put it into the function"
        )
    if isinstance(which, Activation):
        return which if derivative is None else replace(which, derivative=derivative)
    name = getattr(which, "__name__", type(which).__name__)
    name = "custom" if name == "<lambda>" else name
    slope = None if derivative is None else _guarded(derivative, f"derivative of {name}")
    return Activation(name, _guarded(which, name), slope, None, None)


def _from_table(name: str, parameter: float | None) -> Activation:
    squashed = _squash(name)
    if squashed == "softmax":
        raise BadInputError(
            "activation 'softmax': it is not elementwise and has no gain; treat it as a head"
        )
    if squashed not in _NAMES:
        raise BadInputError(
            f"activation: unknown name {name!r}; {near_names(name, FAMILIES)}"
            " Or give the function itself"
        )
    key = _NAMES[squashed]
    family = FAMILIES[key]
    if parameter is None:
        return _built(key, None)
    if family.default is None:
        raise BadInputError(f"activation {key!r}: takes no parameter, got {parameter:g}")
    if not math.isfinite(parameter) or (family.positive and parameter <= 0):
        allowed = "positive and finite" if family.positive else "finite"
        raise BadInputError(f"activation {key!r}: parameter must be {allowed}, got {parameter:g}")
    return _built(key, parameter)


@lru_cache(maxsize=256)
def _built(key: str, parameter: float | None) -> Activation:
    # Cached so that equal names give the same object, by which results are cached in turn.
    family = FAMILIES[key]
    value = family.default if parameter is None else parameter
    formula = family.build() if value is None else family.build(value)
    return Activation(key if parameter is None else f"{key}({parameter:g})", *formula)


def _guarded(function: Elementwise, name: str) -> Elementwise:
    """A user's function that answers in float64, or fails with one clear line."""

    def guarded(x: Array) -> Array:
        try:
            with np.errstate(all="ignore"):  # what is not finite is reported by who asks for it
                result = np.asarray(function(x), dtype=np.float64)
        except Exception as error:
            raise BadInputError(
                f"activation {name!r}: raised {type(error).__name__} on a float64 NumPy array"
                f" ({str(error).splitlines()[0] if str(error) else 'no message'}); give a function"
                " from an array to an array of the same shape, or a name"
            ) from error
        if result.shape != x.shape:
            raise BadInputError(
                f"activation {name!r}: returned shape {result.shape} for shape {x.shape};"
                " give a function that keeps the shape"
            )
        return result

    return guarded
