"""Mean and variance of a standard normal that is cut at two bounds."""

from __future__ import annotations

import math

import numpy as np

_NARROW = 0.1
"""Width in σ below which the closed form takes nearly equal numbers off each other."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def cut_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and variance of z ~ N(0, 1), given that it lies in [low, high].

    With Z = Φ(b) − Φ(a): the mean is (ϕ(a) − ϕ(b))/Z and the variance
    1 + (aϕ(a) − bϕ(b))/Z − mean²; where the cut is narrow, both by quadrature about its centre.

    Args:
        low: in σ.
        high: in σ, above ``low``.

    >>> "{:.4f} {:.4f}".format(*cut_moments(-2, 2))
    '0.0000 0.7737'
    >>> mean, variance = cut_moments(3, 3 + 1e-6)
    >>> f"{(mean - 3) / 1e-6:.4f} {12 * variance / 1e-12:.4f}"
    '0.5000 1.0000'
    """
    if high - low < _NARROW:
        half, centre = (high - low) / 2, (high + low) / 2
        offsets = half * _NODES
        shares = _WEIGHTS * np.exp(-offsets * (centre + offsets / 2))  # over the centre's density
        shares /= shares.sum()
        mean = float(shares @ offsets) if centre else 0.0  # an even law has none, to the bit
        return centre + mean, float(shares @ (offsets - mean) ** 2)
    at_low, at_high = (math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (low, high))
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    mean = (at_low - at_high) / mass
    return mean, 1 + (low * at_low - high * at_high) / mass - mean**2
