"""How a batch reaches a Keras model: several inputs are one argument, unless it is a subclass's."""

from __future__ import annotations

from inspect import Parameter as Argument
from inspect import signature
from typing import Any

import keras

from firstlight.errors import BadInputError


def arguments(
    model: Any, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Several inputs of a functional model are one argument, a list or a mapping."""
    takes = _call_arguments(model)
    if keywords:
        known = takes is not None and set(keywords) <= {a.name for a in takes}
        return ((), keywords) if known else ((keywords,), {})
    inputs = getattr(model, "inputs", None)
    if len(args) < 2:
        return args, {}
    if isinstance(inputs, list) and len(inputs) == len(args):
        return (list(args),), {}
    if inputs is None and takes is not None and len(takes) >= len(args):
        return args, {}
    number = len(inputs) if isinstance(inputs, list) else len(takes or ())
    raise BadInputError(
        f"batch: {len(args)} items, and {type(model).__name__} '{model.name}' takes"
        f" {number} input{'s' * (number != 1)}; of (inputs, targets) pass the inputs, and"
        " target=targets"
    )


def _call_arguments(model: Any) -> list[Argument] | None:
    """The arguments of a subclass's own ``call`` that carry data; None if it takes any number."""
    if isinstance(model, keras.Sequential) or hasattr(model, "_functional"):
        return None
    found = list(signature(model.call).parameters.values())
    if any(a.kind in (Argument.VAR_POSITIONAL, Argument.VAR_KEYWORD) for a in found):
        return None
    return [a for a in found if a.name not in ("training", "mask")]
