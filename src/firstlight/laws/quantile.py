"""From a 32-bit word to a point of a law, by its quantile function.

One word makes one element: the top bit is the sign, the other 31 a point of the half-line. No
rejection and no pairing, so that an element depends on its own address only. The arithmetic is
+ − × ÷ and integer operations in a fixed order, in float64 and without contraction: every
processor that follows IEEE 754 gets the same bits. No function of libm is called.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.philox import Words

Reals = NDArray[np.float64]

# z/x as a function of w = −ln(1 − x²), where Φ(z) − Φ(−z) = x: a minimax rational fit of type
# (8, 7) on 0 ≤ w ≤ 22.2, relative error 6.1e-11. `tests/laws/test_quantile.py` checks it.
_NUMERATOR = (
    1.2533141373906069,
    0.36552468952215861,
    0.067378064544744695,
    0.0086655114657050048,
    0.00075702393907346244,
    4.5404770170693565e-05,
    2.6300133892546914e-06,
    2.7843560210174679e-07,
    9.0069434933281789e-10,
)
_DENOMINATOR = (
    1,
    0.029847118835306923,
    0.032913929069871714,
    0.00054310822729210879,
    0.0002560949913000136,
    4.6286296539940331e-07,
    1.0335706368067666e-06,
    1.7840283376802902e-08,
)
_RATIONAL = np.array([_NUMERATOR[::-1], (0.0, *_DENOMINATOR[::-1])]).T[:, :, None]
_LN2 = 0.6931471805599453
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
# 2·artanh(s) = s·(2 + 2s²/3 + 2s⁴/5 + …); |s| ≤ 0.1716 makes the remainder 5e-13.
_LOG_SERIES = tuple(2.0 / (2 * k + 1) for k in range(7))


def signed_fraction(word: Words) -> Reals:
    """The open interval (−1, 1) in 2³² equal steps: ±(m + ½)/2³¹, never zero."""
    magnitude = (word & np.uint32(0x7FFFFFFF)).astype(np.float64)
    magnitude += 0.5
    magnitude *= 2.0**-31
    return np.copysign(magnitude, word.view(np.int32), out=magnitude)


def _minus_log(y: Reals) -> Reals:
    """−ln y for 0 < y ≤ 1, by splitting off the exponent."""
    bits = y.view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> np.int64(52)
    mantissa = (bits - (exponent << np.int64(52))).view(np.float64)  # in [√½, √2)
    s = mantissa - 1.0
    mantissa += 1.0
    s /= mantissa
    square = np.multiply(s, s, out=mantissa)
    series = square * _LOG_SERIES[-1]
    series += _LOG_SERIES[-2]
    for coefficient in _LOG_SERIES[-3::-1]:
        series *= square
        series += coefficient
    series *= s
    series += exponent * _LN2
    return np.negative(series, out=series)


def _rational(w: Reals) -> Reals:
    """N(w)/D(w): both by Horner's rule in one array, D's leading coefficient being a zero."""
    both = np.empty((2, w.size))
    both[:] = _RATIONAL[0]
    flat = w.reshape(-1)
    for coefficients in _RATIONAL[1:]:
        both *= flat
        both += coefficients
    both[0] /= both[1]
    ratio: Reals = both[0].reshape(w.shape)
    return ratio


def over_fraction(rest: Reals) -> Reals:
    """z/fraction as `normal_quantile` has it, but of 1 − |fraction|, which may be tiny."""
    return _rational(_minus_log(rest * (2.0 - rest)))


def normal_quantile(fraction: Reals) -> Reals:
    """The standard normal z with Φ(z) − Φ(−z) = ``fraction``, for −1 < fraction < 1.

    Args:
        fraction: signed; from `signed_fraction` it gives |z| ≤ 6.34.

    Returns:
        z, of relative accuracy 1e-10.
    """
    x = np.abs(fraction)
    y = 1.0 - x
    x += 1.0
    y *= x
    z = _rational(_minus_log(y))
    z *= fraction
    return z
