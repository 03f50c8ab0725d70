"""Layer by layer: length, gradient and the correlation of two inputs through a wide network.

One recursion for chains and residual networks, bare or normalised, with or without dropout:

- chain: z ← W·D(φ(z)) + b; with a norm, z ← norm(W·D(φ(z)) + b);
- residual: h ← h + s·(W·D(φ(h)) + b); with a norm, φ reads norm(h) (pre-norm).

D is inverted dropout at keep rate ρ: it divides a second moment by ρ and leaves the product of two
inputs, which draw their own masks, as it was (Schoenholz et al. 2017). Batch norm removes the mean
over a large batch of unrelated samples, so σ_w² Var φ takes the place of the length, and scales it
to one (Yang et al. 2019 for ReLU); layer norm scales each sample to one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from firstlight.errors import BadInputError
from firstlight.records.prediction import DepthProfile, Norm, TrainableDepth
from firstlight.theory.activations import Activation, ActivationLike, activation
from firstlight.theory.adaptive import settled
from firstlight.theory.formulas import Array, Elementwise
from firstlight.theory.gains import sampled
from firstlight.theory.quadrature import REACH, standard_deviation
from firstlight.theory.spectrum import EXPONENTS, KernelTable, distance

ALIKE = 0.9
"""Correlation at which the related pair of inputs enters."""

DECADES_E = 6.0
"""A quantity counts as lost when it has changed by e to this power."""

RULE = (
    "a signal is lost when it has changed by e⁶ (about 400): ‖δ‖² from end to end, or the"
    " difference between a pair of inputs with correlation 0.9 and a pair with none"
)
SOURCE = (
    "Schoenholz et al. 2017 trained up to about 6 ξ; here the same six e-foldings are counted on"
    " the recursion itself, so that the rule also holds off the fixed point and on the edge"
)

_FORGOTTEN = 0.9 * math.exp(-DECADES_E)

HORIZON = 1000
"""Layers that are followed before the last layer's rate is extended."""

MOST_LISTED = 200

# Beyond these lengths an activation is taken for a power of |x|.
_SHORT, _LONG = 1e-12, 1e4
_SHORT_KERNEL, _LONG_KERNEL = 1e-8, 1e4
# Their squares are floats too.
_TINY, _HUGE, _LARGEST_LOG = 1e-140, 1e140, 330.0
_ROUNDING = 1e-8  # laws are rounded to nine digits
_STILL = 1e-6  # a rate per layer below this is taken for none
_WIDE_SCALES = (16.0, 4.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a network is built and started.

    Args:
        sigma_w2: fan_in times the variance of the weights, > 0.
        sigma_b2: variance of the biases, ≥ 0.
        norm: ``batch``, ``layer`` or None.
        skip: scale s of the residual branch; None without skips.
        dropout: rate at which units are dropped, 0 … below 1.
        length: second moment of the first pre-activation (or of the stream), > 0.
    """

    sigma_w2: float
    sigma_b2: float = 0.0
    norm: Norm | None = None
    skip: float | None = None
    dropout: float = 0.0
    length: float = 1.0


@dataclass(frozen=True)
class Statistics:
    """Expectations at one length q, with z standard normal and φ at √q·z.

    Args:
        mean: E φ.
        second: E φ².
        kurtosis: E φ⁴/(E φ²)².
        derivative: E φ′².
        slope: E[z·φ·φ′]/√q.
        tilt: E[z·φ′].
    """

    mean: float
    second: float
    kurtosis: float
    derivative: float
    slope: float
    tilt: float


@dataclass(frozen=True)
class Journey:
    """Arrays over layers 1 … L: the state on arrival, and the rates between neighbours (L − 1)."""

    second_moment: Array
    epsilon_unrelated: Array
    epsilon_alike: Array
    log_gradient_rate: Array
    log_length_variance: Array


def prepared(act: ActivationLike) -> Activation:
    """The activation with kinks and derivative, found once for functions that come without them.

    Args:
        act: a name, a reference, a function, or an `Activation`.

    Returns:
        An activation that is cheap to integrate at any length; far out, the derivative of an
        unknown function is a central difference.
    """
    given = activation(act)
    if given.kinks is not None and given.derivative is not None:
        return given
    for scale in _WIDE_SCALES:
        try:
            found = settled(given, scale)
        except BadInputError:
            if scale == _WIDE_SCALES[-1]:
                raise
            continue
        return replace(found, derivative=_joined(given, found, REACH * scale * 0.98))
    raise AssertionError  # pragma: no cover - the loop returns or raises


def _joined(given: Activation, found: Activation, reach: float) -> Elementwise:
    """The derivative as found within ``reach``, a central difference beyond."""
    near = found.derivative
    assert near is not None  # what settled is for
    if given.derivative is not None:
        return given.derivative

    def derivative(x: Array) -> Array:
        far = np.abs(x) > reach
        slope = near(np.clip(x, -reach, reach))
        if far.any():
            step = 1e-5 * np.abs(x[far])
            slope[far] = (given.function(x[far] + step) - given.function(x[far] - step)) / (
                2 * step
            )
        return slope

    return derivative


class Medium:
    """One activation with everything that the recursion asks of it, computed once.

    Args:
        act: a name, a reference, a function, or an `Activation`.
    """

    def __init__(self, act: ActivationLike) -> None:
        self.activation = prepared(act)
        self._kernels = KernelTable(self.activation)
        self._statistics = lru_cache(maxsize=65536)(self._integrated)

    def _integrated(self, q: float) -> Statistics:
        z, weights, value, derivative = sampled(self.activation, q)
        second = float(weights @ value**2)
        return Statistics(
            mean=float(weights @ value),
            second=second,
            kurtosis=float(weights @ (value**2 / second) ** 2) if second > 0 else 1.0,
            derivative=float(weights @ derivative**2),
            slope=float(weights @ (z * value * derivative)) / standard_deviation(q),
            tilt=float(weights @ (z * derivative)),
        )

    def statistics(self, q: float) -> Statistics:
        """Expectations at length q; very far from one by the power law that holds there."""
        inside = min(max(q, _SHORT), _LONG)
        found = self._statistics(inside)
        if q == inside:
            return found
        far = math.log(q / inside)
        # φ ~ |x|^(e/2) out there: e is 1 for ReLU and its like, 0 for what saturates.
        e = found.slope * inside / found.second if found.second > 0 else 1.0
        bent = e - 1 if e > 0.5 else -0.5
        return replace(
            found,
            mean=found.mean * _power(far, e / 2),
            second=found.second * _power(far, e),
            derivative=found.derivative * _power(far, bent),
            slope=found.slope * _power(far, e - 1),
            tilt=found.tilt * _power(far, bent / 2),
        )

    def steepness(self, q: float, c: float) -> float:
        """dK/dc over K(1) at length q, for 0 ≤ c < 1."""
        weights = self._kernels.at(min(max(q, _SHORT_KERNEL), _LONG_KERNEL))
        return float((weights * EXPONENTS)[1:] @ c ** (EXPONENTS[1:] - 1))

    def unlike(self, q: float, epsilon: float) -> float:
        """1 − K(c)/K(1) at length q and c = 1 − ε."""
        return distance(self._kernels.at(min(max(q, _SHORT_KERNEL), _LONG_KERNEL)), epsilon)


def _power(log: float, exponent: float) -> float:
    return math.exp(min(log * exponent, _LARGEST_LOG))


def travel(
    medium: Medium, setting: Setting, layers: int, *, width: int = 1, horizon: int = 0
) -> Journey:
    """Follow the recursion.

    Args:
        medium: the activation.
        setting: the network.
        layers: how many to follow, ≥ 1.
        width: units, for `Journey.log_length_variance`.
        horizon: follow up to this many until gradient and correlation are both lost.

    Returns:
        The journey.
    """
    lost, total = False, 0.0
    keep, s2 = 1 - setting.dropout, None if setting.skip is None else setting.skip**2
    w2, b2, norm = setting.sigma_w2, setting.sigma_b2, setting.norm
    # Chains with a norm carry what the norm lets through: length one.
    p = 1.0 if norm is not None and s2 is None else setting.length
    mean2 = spread = 0.0
    gaps = [1.0, 1 - ALIKE]  # p·(1 − c) of either pair, over p
    arrived: list[tuple[float, ...]] = []
    rates: list[float] = []
    spreads: list[float] = []
    for layer in range(max(layers, horizon)):
        total += rates[-1] if rates else 0.0
        lost = lost or abs(total) > DECADES_E
        if layer >= layers and lost and abs(gaps[0] - gaps[1]) < _FORGOTTEN * ALIKE:
            break
        scale = p - mean2 if norm == "batch" else p  # what a norm divides by
        seen = [min(1.0, max(0.0, gap * p / scale)) if scale > 0 else 0.0 for gap in gaps]
        arrived.append((p, *seen))
        spreads.append(spread)
        if not _TINY < p < _HUGE:
            rates.append(rates[-1] if rates else 0.0)
            continue
        q = 1.0 if norm is not None else p
        at = medium.statistics(q)
        raw = w2 * at.second / keep
        apart = [raw - w2 * at.second * (1 - medium.unlike(q, e)) for e in seen]
        gain = w2 * at.derivative / keep
        if s2 is not None:
            rates.append(math.log1p(s2 * gain / (1.0 if norm is None else scale)))
            following = p + s2 * (raw + b2)
            gaps = [(gap * p + s2 * a) / following for gap, a in zip(gaps, apart, strict=True)]
            mean2 += s2 * (w2 * at.mean**2 + b2)
            p = following
            continue
        passed = raw - w2 * at.mean**2 if norm == "batch" else raw + b2
        rates.append(_log(gain) if norm is None else _log(gain) - _log(passed))
        gaps = [a / passed if passed > 0 else 0.0 for a in apart]
        if norm is None:
            if passed <= 0:
                p = 0.0
                continue
            steepness = w2 * at.slope / keep * q / passed
            noise = (raw / passed) ** 2 * (at.kurtosis / keep - 1) / width
            spread = steepness**2 * spread + noise
            # A fixed length is kept even where it is unstable: rounding must not push it off.
            p = p if abs(passed - p) <= _ROUNDING * p else passed
    columns = np.array(arrived, dtype=np.float64).T
    return Journey(
        columns[0], columns[1], columns[2], np.array(rates[: len(arrived) - 1]), np.array(spreads)
    )


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def profile(journey: Journey, depth: int) -> DepthProfile:
    """The first ``depth`` layers as plain data, thinned to `MOST_LISTED` of them."""
    listed = np.unique(np.round(np.linspace(1, depth, min(depth, MOST_LISTED))).astype(int)) - 1
    with np.errstate(over="ignore", invalid="ignore"):
        # Layer by layer from the last one back, so that the sum needs no subtraction.
        back = np.append(np.cumsum(journey.log_gradient_rate[: depth - 1][::-1])[::-1], 0.0)
        delta = np.exp(back)

    def chosen(values: Array) -> tuple[float, ...]:
        return tuple(float(v) for v in values[listed])

    return DepthProfile(
        layers=tuple(int(i) + 1 for i in listed),
        second_moment=chosen(journey.second_moment),
        delta_square=chosen(delta),
        unrelated=chosen(1 - journey.epsilon_unrelated),
        alike=chosen(1 - journey.epsilon_alike),
    )


def delta_square_ratio(journey: Journey, depth: int) -> float:
    """‖δ‖² at the first over the last of ``depth`` layers."""
    total = float(np.sum(journey.log_gradient_rate[: depth - 1]))
    return math.inf if total > 709 else math.exp(total)


def trainable_depth(journey: Journey) -> TrainableDepth:
    """How deep such a network may be; see `RULE`.

    Args:
        journey: at least two layers; where it ends too early its last rate is extended.

    Returns:
        The two depths, whole layers where they lie within the journey.
    """
    gradient = np.abs(np.concatenate([[0.0], np.cumsum(journey.log_gradient_rate)]))
    difference = np.abs(journey.epsilon_unrelated - journey.epsilon_alike)
    with np.errstate(divide="ignore"):
        forgotten = -np.log(difference / difference[0])
    return TrainableDepth(
        by_gradient_layers=_crossing(gradient),
        by_correlation_layers=_crossing(forgotten),
        rule=RULE,
        source=SOURCE,
    )


def _crossing(lost: Array) -> float:
    """How many layers keep a loss below `DECADES_E`, whose size is given for each layer."""
    beyond = np.flatnonzero(~(lost <= DECADES_E))
    if beyond.size:
        return float(beyond[0])
    rate = float(lost[-1] - lost[-2]) if lost.size > 1 else 0.0
    return lost.size + (DECADES_E - float(lost[-1])) / rate if rate > _STILL else math.inf
