"""The arguments that a model wants besides its batch: training mode, and a key for dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any

from jax import Array

TRAINING = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
}
"""Names that libraries give to the mode, and their values in training."""

KEYS = ("key", "rng", "rng_key", "prng_key", "prng", "dropout_key", "dropout_rng")
"""Names under which functions take a key."""


def _signature(function: Callable[..., Any]) -> Signature | None:
    try:
        return signature(function)
    except (TypeError, ValueError):
        return None  # built in


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name."""
    known = _signature(function)
    return known is not None and name in known.parameters


def filled(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    *,
    training: bool,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The keywords of a call, with the mode and ``more`` where the function takes them.

    What was given stays as it is.

    Args:
        function: to be called with ``args`` and the result.
        args: positional arguments.
        keywords: as given.
        training: whether to train or to evaluate.
        more: further keywords by name.
    """
    known = _signature(function)
    found = dict(keywords)
    if known is None:
        return found
    try:
        given = known.bind_partial(*args, **keywords).arguments
    except TypeError:
        return found  # the call will say it better
    offered = {name: value == training for name, value in TRAINING.items()} | dict(more or {})
    for name, parameter in known.parameters.items():
        kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        if name in offered and name not in given and parameter.kind in kinds:
            found[name] = offered[name]
    return found


def key_place(function: Callable[..., Any], first: int) -> bool:
    """Whether a function's positional parameter number ``first`` is a key, as Haiku's is."""
    known = _signature(function)
    if known is None:
        return False
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, p in known.parameters.items() if p.kind in kinds]
    return len(names) > first and names[first] in KEYS


def keys(key: Array) -> dict[str, Any]:
    """A key under each of its names."""
    return dict.fromkeys(KEYS, key)
