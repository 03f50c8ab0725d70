"""The kernel of two inputs of equal length as a power series in their correlation.

With normalised Hermite polynomials h_n and a_n = E[φ(√q·z)·h_n(z)], K(c) = Σ a_n²·cⁿ: one set of
coefficients serves every correlation, where a two-dimensional quadrature serves one. A kink makes
a_n² fall only as a power of n, so the tail beyond the last coefficient is replaced by a power law
that carries exactly the missing part of K(1) = E φ² and of K′(1) = q·E φ′².
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from firstlight.theory.activations import Activation
from firstlight.theory.formulas import Array
from firstlight.theory.gains import sampled

_TERMS = 120
# Nodes of the tail: n = _TERMS · x, x from 1 to 1e8, where cⁿ is zero unless c is one.
_TAIL_X, _TAIL_STEP = np.linspace(0.0, math.log(1e8), 60, retstep=True)
_TAIL_N = _TERMS * np.exp(_TAIL_X)
EXPONENTS: Array = np.concatenate([np.arange(_TERMS, dtype=np.float64), _TAIL_N])
"""The powers of c that `spectrum` gives weights for."""

# A tail whose mean power is above this times its first cannot be told from one with infinite slope.
_LONGEST_TAIL = 50.0
_NEGLIGIBLE = 1e-13


def spectrum(act: Activation, q: float) -> Array:
    """Weights w of K(c) = Σ w_n·c^n over `EXPONENTS`, for 0 ≤ c ≤ 1.

    Args:
        act: the activation.
        q: second moment of both pre-activations, > 0.

    Returns:
        The weights; they add up to E φ², and Σ n·w_n is q·E φ′² to the extent that a power law
        allows.

    >>> from firstlight.theory.activations import activation
    >>> w = spectrum(activation("relu"), 1.0)
    >>> round(float(w @ 0.3**EXPONENTS), 6)  # the closed form gives .241372
    0.241372
    """
    z, weights, value, derivative = sampled(act, q)
    weighted, squares = weights * value, np.zeros(_TERMS)
    before, now = np.zeros_like(z), np.ones_like(z)
    for n in range(_TERMS):
        squares[n] = float(weighted @ now) ** 2
        before, now = now, (z * now - math.sqrt(n) * before) / math.sqrt(n + 1)
    total = float(weights @ value**2)
    slope = q * float(weights @ derivative**2)
    return np.concatenate([squares, _tail(squares, total, slope)])


def _tail(squares: Array, total: float, slope: float) -> Array:
    missing = total - float(squares.sum())
    if missing <= _NEGLIGIBLE * total:
        return np.zeros_like(_TAIL_N)
    missing_slope = slope - float(np.arange(_TERMS) @ squares)
    mean = missing_slope / missing / _TERMS
    # The mean of a power law n^(−p) from N on is N·(p − 1)/(p − 2).
    p = (2 * mean - 1) / (mean - 1) if 1 < mean < _LONGEST_TAIL else 1.5
    if mean <= 1:
        p = 2.5
    shape = np.exp((1 - p) * _TAIL_X)  # n^(−p)·dn with dn = n·dx
    shape[[0, -1]] *= 0.5
    result: Array = missing * shape / shape.sum()
    return result


class KernelTable:
    """Normalised spectra of one activation at any length, interpolated between stored lengths.

    Args:
        act: the activation.
    """

    _SPACING = 0.1  # in ln q

    def __init__(self, act: Activation) -> None:
        self._at = lru_cache(maxsize=None)(self._computed)
        self._act = act

    def _computed(self, index: int) -> Array:
        weights = spectrum(self._act, math.exp(index * self._SPACING))
        total = float(weights.sum())
        return weights / total if total > 0 else weights

    def at(self, q: float) -> Array:
        """Weights that add up to one: K(c)/K(1) at length q is Σ w·c^n.

        A cubic through the four stored lengths around q; between them it is off by about 1e-6.
        """
        place = math.log(q) / self._SPACING
        low = math.floor(place)
        t = place - low
        if t < 1e-9:
            return self._at(low)
        shares = (
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        )
        result: Array = sum(share * self._at(low + i) for i, share in enumerate(shares, start=-1))  # type: ignore[assignment]
        return result


def distance(weights: Array, epsilon: float) -> float:
    """1 − Σ w·cⁿ for c = 1 − ε between 0 and 1, without loss of digits where ε is small."""
    if epsilon >= 1:
        return float(weights[1:].sum())
    return float(weights @ -np.expm1(EXPONENTS * math.log1p(-epsilon))) if epsilon > 0 else 0.0
