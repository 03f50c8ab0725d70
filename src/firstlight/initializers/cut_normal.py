"""A normal that is cut where its *parent* is described, as torch and JAX describe theirs.

Our own `TruncatedNormal` states the std that is left after the cut. torch's ``trunc_normal_`` and
JAX's ``truncated_normal`` state the std before it, so the law has to be worked out.
"""

from __future__ import annotations

import math

from firstlight.errors import BadInputError
from firstlight.laws.cut import cut_moments
from firstlight.records.law import Law, Normal, TruncatedNormal

REACH = 6.34
"""σ that no drawn value exceeds: bounds beyond it cut nothing."""

_LARGEST_BOUND = 6.0
_FARTHEST_START = 5.0


def cut_normal(mean: float, std: float, low: float, high: float, *, where: str) -> Law:
    """N(mean, std²) cut at ``low`` and ``high``; mean and std are those *before* the cut.

    With a = (low − mean)/std, b likewise, Z = Φ(b) − Φ(a), ϕ the normal density::

        realised mean = mean + std·(ϕ(a) − ϕ(b))/Z
        realised variance = std²·(1 + (aϕ(a) − bϕ(b))/Z − ((ϕ(a) − ϕ(b))/Z)²)

    Args:
        mean: of the parent.
        std: of the parent, > 0.
        low: absolute lower bound.
        high: absolute upper bound, above ``low``.
        where: whose arguments these are, for errors.

    Returns:
        A `TruncatedNormal`, or a `Normal` where neither bound cuts anything.

    Raises:
        BadInputError: a std that is not positive, bounds the wrong way round, or an interval
            that starts more than 5σ from the mean.

    >>> str(cut_normal(0, 1, -2, 2, where="trunc_normal_"))
    'N(0, 0.8796²) cut at ±2σ'
    >>> str(cut_normal(0, 0.02, -2, 2, where="trunc_normal_"))
    'N(0, 0.02²)'
    """
    if not std > 0:
        raise BadInputError(f"{where}: std must be positive, got {std:g}; for one value constant")
    if not low < high:
        raise BadInputError(f"{where}: the bounds must rise, got {low:g} … {high:g}")
    a, b = (low - mean) / std, (high - mean) / std
    if a <= -REACH and b >= REACH:
        return Normal(mean=mean, std=std)
    if a > _FARTHEST_START or b < -_FARTHEST_START:
        raise BadInputError(
            f"{where}: [{low:g}, {high:g}] lies more than {_FARTHEST_START:g} std ({std:g}) from"
            f" the mean {mean:g}; use uniform, or a mean inside"
        )
    # Numbers of a law have nine digits and its scale is rounded to binary32: a hair inside the
    # bounds, so that rounding never leaves them.
    hair = 3e-7 * (1 + abs(mean) / std)
    if b - a > 100 * hair:
        a, b = a + hair * (a > -REACH), b - hair * (b < REACH)
    a, b = max(a, -_LARGEST_BOUND), min(b, _LARGEST_BOUND)
    shift, variance = cut_moments(a, b)
    return TruncatedNormal(
        mean=mean + std * shift, std=std * math.sqrt(variance), low_sigma=a, high_sigma=b
    )
