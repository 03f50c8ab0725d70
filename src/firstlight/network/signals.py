"""What is carried through a network: moments of a result, and how alike its places are.

Averages (pooling, attention, the centring of norms) depend on how much of a signal is common to
what they average. Besides mean and second moment, a signal therefore has three mean products of one
unit's values: at neighbouring positions, at any two positions of a sample, in two samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from firstlight.theory.formulas import Array
from firstlight.theory.quadrature import gaussian_rule

Function = Callable[[Array], Array]

_REACH, _POINTS = 5.5, 89
"""Grid of the two-dimensional means: 1e-3 at a kink, and no better is needed for likenesses."""

_NEGLIGIBLE = 1e-9

_EVEN, _MOST_UNEVEN = 0.01, 4.0
"""Unevenness below which it is left out, and beyond which three points no longer describe it."""


@dataclass(frozen=True)
class Root:
    """The normal signal of which a result is an elementwise function.

    Args:
        key: where it was made and how it was reshaped since; None if it cannot be compared.
        base: its moments.
        function: what was done to it, None for nothing.
    """

    key: tuple[Any, ...] | None
    base: Signal
    function: Function | None = None

    def then(self, function: Function) -> Function:
        """``function`` after what was already done."""
        before = self.function
        return function if before is None else lambda x: function(before(x))

    @property
    def whole(self) -> Function:
        """What was done so far."""
        return self.function or _identity


def _identity(x: Array) -> Array:
    return x


@dataclass(frozen=True, kw_only=True)
class Signal:
    """The moments of one result.

    Args:
        mean: over samples, positions and units.
        square: mean square.
        near: mean product of one unit's values at neighbouring positions.
        positions: at any two different positions of a sample.
        samples: in two different samples.
        axes: what each axis counts: ``batch``, ``position``, ``unit`` or ``key``.
        root: of what normal signal it is a function; None: of itself.
        odd: the same moments of (x − x̃)/√2, where x̃ is the unit's mirrored twin.
        heavy: of logits: relative variance, from query to query, of their variance.
        place: relative variance, from place to place, of the mean square over the units there.
        unit: the same from unit to unit.
        tails: E x⁴ / (E x²)²; 3 for a normal signal.
        terms: products that it sums, if it was just made by a weight.
        tilt: of softmax weights, E (Σ p z)² of their standardised logits.
        inverse_visible: for masked logits, mean over rows of one over the keys that are seen.
    """

    mean: float
    square: float
    near: float
    positions: float
    samples: float
    axes: tuple[str, ...] = ()
    root: Root | None = None
    odd: Signal | None = None
    heavy: float = 0.0
    place: float = 0.0
    unit: float = 0.0
    tails: float = 3.0
    terms: float = 0.0
    tilt: float = 0.0
    inverse_visible: float | None = None

    @property
    def variance(self) -> float:
        """Around the mean over everything."""
        return max(0.0, self.square - self.mean**2)

    def scaled(self, factor: float) -> Signal:
        """The signal of ``factor`` times the values."""
        s = factor * factor
        return replace(
            self,
            mean=factor * self.mean,
            square=s * self.square,
            near=s * self.near,
            positions=s * self.positions,
            samples=s * self.samples,
            root=None,
            odd=None if self.odd is None else self.odd.scaled(factor),
        )

    def own_root(self, index: int) -> Root:
        """Its root; itself, made by operation ``index``, if it has none."""
        return self.root or Root((index,), replace(self, odd=None))

    def root_for(self, made: int, user: int) -> Root:
        """The root for a function of it: that of ``user`` where nobody can tell which part it is.

        Args:
            made: the operation that made it.
            user: the operation that is a function of it.
        """
        root = self.own_root(made)
        return root if root.key is not None else replace(root, key=(user,))


def independent(mean: float, square: float, axes: tuple[str, ...] = ()) -> Signal:
    """A signal whose places have nothing but the mean in common."""
    m = mean * mean
    return Signal(mean=mean, square=square, near=m, positions=m, samples=m, axes=axes)


@lru_cache(maxsize=16)
def _rule(scale: float) -> tuple[Array, Array]:
    return gaussian_rule(scale=scale)


@lru_cache(maxsize=1)
def grid() -> tuple[Array, Array]:
    """Points and weights of a plain grid for E f(z), z normal."""
    z = np.linspace(-_REACH, _REACH, _POINTS)
    weights = np.exp(-0.5 * z**2)
    return z, weights / weights.sum()


def expectations(function: Function, mean: float, variance: float) -> tuple[float, float]:
    """E f and E f² of a normal argument."""
    std = float(np.sqrt(variance))
    z, weights = _rule(float(2 ** max(0, np.ceil(np.log2(max(std, 1e-12))))))
    with np.errstate(all="ignore"):
        values = function(mean + std * z)
    return float(weights @ values), float(weights @ values**2)


def product_mean(function: Function, mean: float, variance: float, common: float) -> float:
    """E f(u) f(u′) of two normal arguments with covariance ``common``."""
    z, weights = grid()
    shared = min(abs(common), variance)
    shift = np.sqrt(shared) * z[:, None]
    rest = np.sqrt(max(0.0, variance - shared)) * z
    with np.errstate(all="ignore"):
        inner = function(mean + shift + rest) @ weights
    other = inner if common >= 0 else inner[::-1]
    return float(weights @ (inner * other))


def uneven(spread: float) -> tuple[tuple[float, float], ...]:
    """Weights and factors of a positive number of mean one with this relative variance.

    Three points of a log-normal law, those of Gauss and Hermite.

    >>> [round(sum(w * x**k for w, x in uneven(0.2)), 2) for k in (0, 1, 2)]
    [1.0, 1.0, 1.2]
    """
    if spread <= _EVEN:
        return ((1.0, 1.0),)
    width = math.sqrt(math.log1p(min(spread, _MOST_UNEVEN)))
    factors = [math.exp(width * z - width * width / 2) for z in (-math.sqrt(3), 0, math.sqrt(3))]
    weights = (1 / 6, 2 / 3, 1 / 6)
    mean = sum(w * x for w, x in zip(weights, factors, strict=True))
    return tuple((w, x / mean) for w, x in zip(weights, factors, strict=True))


def _tails(function: Function, mean: float, variance: float) -> float:
    """E f⁴ of a normal argument."""
    return expectations(lambda x: function(x) ** 2, mean, variance)[1]


@lru_cache(maxsize=4096)
def _moments(
    function: Function,
    mean: float,
    variance: float,
    commons: tuple[float, ...],
    spread: float = 0.0,
    place: float = 0.0,
) -> tuple[float, ...]:
    """E f, E f², then E f f′ for each covariance; at the end what is left of unevenness, E f⁴.

    The variance is uneven by ``spread``, of which ``place`` from place to place.
    """
    points = uneven(spread)
    each = [(w, *expectations(function, mean, variance * x)) for w, x in points]
    first, square = (sum(e[0] * e[i] for e in each) for i in (1, 2))
    fourth = sum(w * _tails(function, mean, variance * x) for w, x in points)
    places = [(w, expectations(function, mean, variance * x)[1]) for w, x in uneven(place)]
    centre = sum(w * q for w, q in places)
    varied = sum(w * (q - centre) ** 2 for w, q in places) / max(centre**2, 1e-300)
    found = [first, square]
    for common in commons:
        if abs(common) <= _NEGLIGIBLE * max(variance, 1e-30):
            found.append(first * first)
        elif common >= (1 - _NEGLIGIBLE) * variance:
            found.append(square)
        else:
            found.append(min(square, product_mean(function, mean, variance, common)))
    return (*found, varied, fourth / max(square**2, 1e-300))


def _rounded(value: float) -> float:
    """Seven digits: deep networks ask the same questions again and again."""
    return float(f"{value:.7g}")


def applied(base: Signal, function: Function) -> tuple[float, ...]:
    """Of an elementwise function of a signal: mean, mean square, likenesses, unevenness, tails."""
    m = base.mean
    commons = tuple(_rounded(c - m * m) for c in (base.near, base.positions, base.samples))
    spread, place = float(f"{base.place + base.unit:.2g}"), float(f"{base.place:.2g}")
    return _moments(function, _rounded(m), _rounded(base.variance), commons, spread, place)


def elementwise(root: Root, function: Function, axes: tuple[str, ...]) -> Signal:
    """The signal of a function of the root's normal signal.

    Args:
        root: where it comes from; what was done to it before is not applied.
        function: from the root's values to the result.
        axes: of the result.
    """
    mean, square, near, positions, samples, place, tails = applied(root.base, function)
    return Signal(
        mean=mean,
        square=square,
        near=near,
        positions=positions,
        samples=samples,
        axes=axes,
        place=place,
        unit=root.base.unit,
        tails=tails,
        root=Root(root.key, root.base, function),
    )
