"""Power laws over widths: exponents by least squares, with intervals over all runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firstlight.records.transfer import Slope

FOLLOWED = frozenset({"weighted", "activation", "add", "embedding", "composite", "norm"})
"""Kinds of operation whose coordinates are followed."""


def geometric(values: Sequence[float]) -> float:
    """The geometric mean; 0 if one value is, infinite if one is not finite.

    >>> geometric([1.0, 4.0])
    2.0
    """
    found = np.asarray(values, np.float64)
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.exp(np.log(found).mean())) if (found > 0).all() else 0.0


def slope(widths: Sequence[float], values: Sequence[Sequence[float]]) -> Slope | None:
    """The exponent a of value ∝ width^a, fitted to all runs of all widths at once.

    Runs at two widths share no random numbers that matter, so all of them count as independent.
    What curves in the logarithms widens the interval as noise does.

    Args:
        widths: two or more different ones, above 0.
        values: for each width one value of each run, equally many.

    Returns:
        The exponent with its 95 % interval by Student's t; None where a value is 0 or not finite.

    >>> found = slope([1, 2, 4], [[3.0], [6.0], [12.0]])
    >>> round(found.value, 6), round(found.low, 6)
    (1.0, 1.0)
    """
    from scipy.special import stdtrit

    sizes = np.asarray(values, np.float64)
    if not np.isfinite(sizes).all() or (sizes <= 0).any():
        return None
    runs = sizes.shape[1]
    x = np.repeat(np.log(np.asarray(widths, np.float64)), runs)
    y = np.log(sizes).reshape(-1)
    centred = x - x.mean()
    spread = float(centred @ centred)
    value = float(centred @ y) / spread
    left = y - y.mean() - value * centred
    freedom = len(y) - 2
    if freedom < 1:
        return Slope(value=value, low=-np.inf, high=np.inf)
    error = float(np.sqrt(left @ left / freedom / spread))
    reach = float(stdtrit(freedom, 0.975)) * error
    return Slope(value=value, low=value - reach, high=value + reach)
