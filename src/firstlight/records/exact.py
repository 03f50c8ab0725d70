"""Numbers that are the same on every machine: the base of the laws.

Every number in a law is rounded to nine significant decimal digits when the law is made. The
functions that compute scales (exp, log, erf …) differ in their last bits between processors; nine
digits are the same everywhere, and a float32 needs no more to be told from its neighbours.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from firstlight.errors import BadInputError


def nine_digits(value: float) -> float:
    """Round to nine significant decimal digits.

    >>> nine_digits(1 / 3)
    0.333333333
    """
    return float(f"{value:.9g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Exact:
    """Rounds each number and tuple of numbers to nine digits and refuses what is not finite."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if _is_number(value):
                object.__setattr__(self, field.name, self._rounded(field.name, value))
            elif isinstance(value, tuple) and value and all(map(_is_number, value)):
                rounded = tuple(self._rounded(field.name, number) for number in value)
                object.__setattr__(self, field.name, rounded)

    def _rounded(self, field: str, value: float) -> float:
        if not math.isfinite(value):
            raise BadInputError(
                f"{type(self).__name__}: {field} must be a finite number, got {value}"
            )
        return nine_digits(float(value))

    def _refuse(self, field: str, allowed: str) -> None:
        value = getattr(self, field)
        raise BadInputError(f"{type(self).__name__}: {field} must be {allowed}, got {value:g}")
