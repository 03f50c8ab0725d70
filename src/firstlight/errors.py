"""The exceptions; each message is one line: where, what came, what is allowed, what next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any


class FirstlightError(Exception):
    """Base of all errors that Firstlight raises on purpose."""


class BadInputError(FirstlightError, ValueError):
    """An argument, file or model that cannot be used as it came."""


class NotDrawableError(BadInputError):
    """A law that cannot fill a tensor of this layout."""


class NotObservableError(BadInputError):
    """A model that cannot be run here, though its parameters can be drawn: a sharded one."""


class ValuelessError(BadInputError):
    """A model whose values are asked for, and that has only shapes so far."""


class NoRuleError(FirstlightError):
    """A parameter that no planning rule matched."""


class ModelRaisedError(FirstlightError):
    """The user's model raised while it was being looked at; the original error is the cause."""


class UnhealthyError(FirstlightError, AssertionError):
    """`assert_healthy` found errors."""


class UnhealthyWarning(UserWarning):
    """A model that is watched, or about to be trained, has an error."""


_STYLES = re.compile("\x1b\\[[0-9;]*m")
_WRAPPED = "Exception encountered when calling"


def said(error: BaseException, *, brief: bool = False) -> str:
    r"""What an exception said, in one line and without a terminal's styles.

    Args:
        error: any exception.
        brief: its first paragraph alone: JAX goes on to explain itself at length. Keras's first
            paragraph only names the layer, so there the second follows.

    >>> said(ValueError("no\nsuch  axis"))
    'no such axis'
    """
    parts = _STYLES.sub("", str(error)).strip().split("\n\n")
    if brief:
        parts = parts[: 2 if parts[0].startswith(_WRAPPED) else 1]
    return " ".join(" ".join(parts).split()) or "no message"


class WorkerLostError(FirstlightError):
    """An executor lost its workers in the middle of a race.

    Args:
        message: what happened, and how to go on.
        race: the `Race` of what was finished, or None if that is too little for one.
    """

    def __init__(self, message: str, race: Any = None) -> None:
        super().__init__(message)
        self.race = race


class RaceInterruptedError(KeyboardInterrupt):
    """Ctrl-C in a race: a `KeyboardInterrupt` that stops whatever Ctrl-C stops.

    Args:
        message: how much is finished, and how to go on.
        race: the `Race` of what was finished, or None if that is too little for one.
    """

    def __init__(self, message: str, race: Any = None) -> None:
        super().__init__(message)
        self.race = race


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
