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
# Nodes of the tail, n = _TERMS·e^x by Simpson's rule: far beyond every c that a float can hold.
_TAIL_X = np.linspace(0.0, 32.0, 101)
_SIMPSON = np.where(np.arange(101) % 2 == 1, 4.0, 2.0)
_SIMPSON[[0, -1]] = 1.0
_TAIL_N = _TERMS * np.exp(_TAIL_X)
EXPONENTS: Array = np.concatenate([np.arange(_TERMS, dtype=np.float64), _TAIL_N])
"""The powers of c that `spectrum` gives weights for."""

# A jump in the k-th derivative gives p = k + 3/2.
_FLATTEST, _SMOOTH, _STEEPEST = 1.1, 6.0, 40.0
_JUMP = 1.5
_NEGLIGIBLE = 1e-13


def spectrum(act: Activation, q: float) -> Array:
    """Weights w of K(c) = Σ w_n·c^n over `EXPONENTS`, for 0 ≤ c ≤ 1.

    Args:
        act: the activation.
        q: second moment of both pre-activations, > 0.

    Returns:
        The weights; they add up to E φ², and Σ n·w_n is q·E φ′². At q = 1 and 2, 1 − K(c)/K(1) is
        off by up to 3e-5 of itself where φ has kinks, and by 1e-11 where it is smooth.

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
    wanted = missing_slope / missing
    if wanted <= _TERMS:  # a jump of φ itself, whose slope at c = 1 is infinite, not E φ′²
        return missing * _law(_JUMP)
    # The power law n^(−p) of this mean power; the steeper, the smaller the mean.
    low, high = _FLATTEST, _STEEPEST
    while high - low > 1e-3:
        p = (low + high) / 2
        low, high = (p, high) if _law(p) @ _TAIL_N > wanted else (low, p)
    nearest = round(low) + 0.5 * (1 if low > round(low) else -1)
    if low < _SMOOTH:
        # A jump of φ or of a derivative: its exponent is known, and what its law leaves over
        # of either sum stands at the first node.
        law = _law(nearest)
        share = (missing_slope / missing / _TERMS - 1) / (law @ _TAIL_N / _TERMS - 1)
        law *= share
        law[0] += 1 - share
        return missing * law
    return missing * _law(low)


def _law(p: float) -> Array:
    shape = _SIMPSON * np.exp((1 - p) * _TAIL_X)  # n^(−p)·dn with dn = n·dx
    result: Array = shape / shape.sum()
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
        self._last: tuple[float, Array] = (math.nan, np.empty(0))

    def _computed(self, index: int) -> Array:
        weights = spectrum(self._act, math.exp(index * self._SPACING))
        total = float(weights.sum())
        return weights / total if total > 0 else weights

    def at(self, q: float) -> Array:
        """Weights that add up to one: K(c)/K(1) at length q is Σ w·c^n.

        A cubic through the four stored lengths around q; between them it is off by about 1e-6.
        """
        if q != self._last[0]:
            self._last = q, self._interpolated(q)
        return self._last[1]

    def _interpolated(self, q: float) -> Array:
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
