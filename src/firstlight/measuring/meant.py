"""The number that a binary32 constant of a program stands for.

JAX computes with constants in float32 where torch keeps float64: 1/√8 arrives as 0.35355338. A
plan that took them as they are would part from torch's in the eighth digit, and its weights too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_SHORT = 6
"""Digits of a decimal that somebody wrote: a float32 that nobody wrote has eight or nine."""

_LARGEST = 1 << 20
"""Squares of roots that are looked for: their neighbours are a thousand float32 apart."""


def as_meant(value: Any) -> float:
    """A short decimal, a root of a whole number or its inverse, where float32 has come from one.

    Args:
        value: a number of any type; those of another type than float32 are what they are.

    >>> as_meant(np.float32(0.1)), as_meant(np.float32(8**-0.5)) == 1 / math.sqrt(8)
    (0.1, True)
    >>> as_meant(np.float32(0.12345678)) == float(np.float32(0.12345678))
    True
    """
    exact = float(value)
    if getattr(value, "dtype", None) != np.float32 or not math.isfinite(exact) or exact == 0:
        return exact
    short = float(f"{exact:.{_SHORT}g}")
    if np.float32(short) == value:
        return short
    square = exact * exact
    for whole, root in ((square, math.sqrt), (1 / square, lambda n: 1 / math.sqrt(n))):
        if 1 <= round(whole) <= _LARGEST:
            found = math.copysign(root(round(whole)), exact)
            if abs(np.float32(found) - value) <= np.spacing(abs(value)):  # √ may err by one
                return found
    return exact
