"""The exceptions; each message is one line: where, what came, what is allowed, what next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FirstlightError(Exception):
    """Base of all errors that Firstlight raises on purpose."""


class BadInputError(FirstlightError, ValueError):
    """An argument, file or model that cannot be used as it came."""


class NotDrawableError(BadInputError):
    """A law that cannot fill a tensor of this layout."""


class NoRuleError(FirstlightError):
    """A parameter that no planning rule matched."""


class ModelRaisedError(FirstlightError):
    """The user's model raised while it was being looked at; the original error is the cause."""


class UnhealthyError(FirstlightError, AssertionError):
    """`assert_healthy` found errors."""


class InfeasibleError(FirstlightError, ValueError):
    """What was asked for does not exist mathematically (an edge of chaos for softplus, say)."""


def near_names(name: str, allowed: Iterable[str]) -> str:
    """A half sentence that offers the nearest allowed names, or lists them all if none is near.

    Args:
        name: what the user wrote.
        allowed: the names that exist.

    Returns:
        ``did you mean 'he_normal'?`` or ``known: a, b, c``.

    >>> near_names("he_norml", ["he_normal", "zeros"])
    "did you mean 'he_normal'?"
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "known: " + ", ".join(names)
