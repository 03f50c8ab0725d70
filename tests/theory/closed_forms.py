"""Closed forms of moments and kernels, against which the quadrature is tested.

Diagonal moments are functions of q and give (E φ, E φ², E φ′²); kernels are functions of q_aa,
q_bb and c and give (K, K̇). Sources: Cho and Saul 2009 (ReLU), Williams 1997 (erf), Tsuchida et al.
2020 (GELU); the others follow by integration of normal densities.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import erfcx, ndtr

Triple = tuple[float, float, float]
Pair = tuple[float, float]
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def leaky(s: float) -> Callable[[float], Triple]:
    return lambda q: (
        (1 - s) * math.sqrt(q / (2 * math.pi)),
        q * (1 + s * s) / 2,
        (1 + s * s) / 2,
    )


def erf(q: float) -> Triple:
    return (
        0.0,
        2 / math.pi * math.asin(2 * q / (1 + 2 * q)),
        4 / math.pi / math.sqrt(1 + 4 * q),
    )


def scaled_elu(scale: float, alpha: float) -> Callable[[float], Triple]:
    def triple(q: float) -> Triple:
        one, two = float(erfcx(math.sqrt(q / 2))), float(erfcx(math.sqrt(2 * q)))
        return (
            scale * (math.sqrt(q / (2 * math.pi)) + alpha * (one / 2 - 0.5)),
            scale**2 * (q / 2 + alpha**2 * (two / 2 - one + 0.5)),
            scale**2 * (0.5 + alpha**2 * two / 2),
        )

    return triple


def gelu(q: float) -> Triple:
    angle = math.asin(q / (1 + q))
    return (
        q / math.sqrt(2 * math.pi * (1 + q)),
        q / 4 + q / (2 * math.pi) * (angle + 2 * q / ((1 + q) * math.sqrt(1 + 2 * q))),
        0.25 + (angle + q * (5 * q + 3) / ((1 + q) * (1 + 2 * q) ** 1.5)) / (2 * math.pi),
    )


def sin(q: float) -> Triple:
    return 0.0, -math.expm1(-2 * q) / 2, (1 + math.exp(-2 * q)) / 2


def hardtanh(q: float) -> Triple:
    t = 1 / math.sqrt(q)
    inside = 2 * float(ndtr(t)) - 1
    return 0.0, q * (inside - 2 * t * density(t)) + 2 * float(ndtr(-t)), inside


def relu_squared(q: float) -> Triple:
    return q / 2, 1.5 * q * q, 2 * q


MOMENTS: dict[tuple[str, float | None], Callable[[float], Triple]] = {
    ("linear", None): lambda q: (0.0, q, 1.0),
    ("relu", None): leaky(0.0),
    ("leaky_relu", 0.2): leaky(0.2),
    ("prelu", -0.5): leaky(-0.5),
    ("erf", None): erf,
    ("selu", None): scaled_elu(SELU_SCALE, SELU_ALPHA),
    ("elu", None): scaled_elu(1.0, 1.0),
    ("gelu", None): gelu,
    ("sin", None): sin,
    ("hardtanh", None): hardtanh,
    ("relu_squared", None): relu_squared,
}


def leaky_kernel(s: float) -> Callable[[float, float, float], Pair]:
    def pair(a: float, b: float, c: float) -> Pair:
        angle = math.pi - math.acos(c)
        arc = (math.sqrt(1 - c * c) + angle * c) / math.pi
        return (
            math.sqrt(a * b) / 2 * ((1 - s) ** 2 * arc + 2 * s * c),
            0.5 * ((1 - s) ** 2 * angle / math.pi + 2 * s),
        )

    return pair


def erf_kernel(a: float, b: float, c: float) -> Pair:
    q, size = c * math.sqrt(a * b), (1 + 2 * a) * (1 + 2 * b)
    return (
        2 / math.pi * math.asin(2 * q / math.sqrt(size)),
        4 / math.pi / math.sqrt(size - 4 * q * q),
    )


def gelu_kernel(a: float, b: float, c: float) -> Pair:
    q, S = c * math.sqrt(a * b), (1 + a) * (1 + b)
    d = math.sqrt(S - q * q)
    angle = math.atan2(q, d)
    slope = angle + q / d + 2 * q / (S * d) + q**3 / (S * d**3) - a * b * q / (S * d)
    return (
        q / 4 + (q * angle + (q * q + a * b * d * d) / (S * d)) / (2 * math.pi),
        0.25 + slope / (2 * math.pi),
    )


def sin_kernel(a: float, b: float, c: float) -> Pair:
    q, size = c * math.sqrt(a * b), math.exp(-(a + b) / 2)
    return size * math.sinh(q), size * math.cosh(q)


def linear_kernel(a: float, b: float, c: float) -> Pair:
    return c * math.sqrt(a * b), 1.0


KERNELS: dict[tuple[str, float | None], Callable[[float, float, float], Pair]] = {
    ("linear", None): linear_kernel,
    ("relu", None): leaky_kernel(0.0),
    ("leaky_relu", 0.2): leaky_kernel(0.2),
    ("erf", None): erf_kernel,
    ("gelu", None): gelu_kernel,
    ("sin", None): sin_kernel,
}
