"""Moments of an activation under a normal input, and the gains that keep them at one.

A weight of standard deviation gain/√fan keeps the second moment of the signal (forward gain, fan
of the forward pass) or of the gradient (backward gain, fan of the backward pass). The two differ
for every activation that is not homogeneous: one number cannot serve both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from firstlight.errors import BadInputError, InfeasibleError
from firstlight.theory.activations import Activation, ActivationLike, activation
from firstlight.theory.adaptive import settled
from firstlight.theory.formulas import Array
from firstlight.theory.quadrature import REACH, finite, gaussian_rule, standard_deviation

# An outermost node that carries more of E φ² than this shows that the integral was cut short.
_LARGEST_END_SHARE = 1e-12


@dataclass(frozen=True)
class Moments:
    """Expectations over z ~ N(0, 1), with the argument √q·z.

    Args:
        mean: E φ.
        second_moment: E φ².
        variance: E (φ − E φ)².
        derivative_second_moment: E φ′².
    """

    mean: float
    second_moment: float
    variance: float
    derivative_second_moment: float


class Sampled(NamedTuple):
    """φ and φ′ at √q·z on quadrature nodes z, with weights that hold the normal density."""

    z: Array
    weights: Array
    value: Array
    derivative: Array


def sampled(act: Activation, q: float) -> Sampled:
    """φ(√q·z) and φ′(√q·z) on the nodes of a Gaussian quadrature.

    Raises:
        BadInputError: q is negative, or φ or φ′ is not finite between −13√q and 13√q, or φ² grows
            as fast as the normal density falls.
    """
    scale = standard_deviation(q)
    act = settled(act, scale)
    assert act.kinks is not None and act.derivative is not None  # what settled is for
    z, weights = gaussian_rule(act.kinks, scale)
    x = scale * z
    value = finite(act.function(x), x, f"activation {act.name!r}")
    derivative = finite(act.derivative(x), x, f"derivative of {act.name!r}")
    shares = weights * value**2
    if max(shares[0], shares[-1]) > _LARGEST_END_SHARE * float(shares.sum()):
        raise BadInputError(
            f"activation {act.name!r}: E φ² at q = {q:g} does not converge within"
            f" {REACH:g} standard deviations (φ grows too fast); bound it, or ask for a smaller q"
        )
    return Sampled(z, weights, value, derivative)


def moments(act: ActivationLike, q: float = 1.0) -> Moments:
    """Mean, second moment, variance and derivative's second moment of φ(√q·z), z ~ N(0, 1).

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: second moment of the pre-activation, ≥ 0; 0 means the limit q → 0.

    Returns:
        The moments: to about 1e-14 for activations of the table, 1e-8 for other float64 functions.

    Raises:
        BadInputError: an unknown name, a negative q, or a function that is not finite.

    >>> relu = moments("relu")
    >>> round(relu.second_moment, 12), round(relu.derivative_second_moment, 12)
    (0.5, 0.5)
    """
    resolved = activation(act)
    # Only the table's functions are known not to change between two calls.
    from_table = isinstance(act, str) or not (callable(act) or isinstance(act, Activation))
    return (_cached_moments if from_table else _moments)(resolved, float(q))


def _moments(act: Activation, q: float) -> Moments:
    sample = sampled(act, q)
    mean = float(sample.weights @ sample.value)
    return Moments(
        mean=mean,
        second_moment=float(sample.weights @ sample.value**2),
        variance=float(sample.weights @ (sample.value - mean) ** 2),
        derivative_second_moment=float(sample.weights @ sample.derivative**2),
    )


_cached_moments: Callable[[Activation, float], Moments] = lru_cache(maxsize=4096)(_moments)


def forward_gain(act: ActivationLike, q: float = 1.0) -> float:
    """The gain that keeps the length q from one pre-activation to the next: √q / √E φ(√q·z)².

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: second moment of the pre-activation, > 0.

    Returns:
        The gain; the weight's standard deviation is gain/√(forward fan).

    Raises:
        InfeasibleError: φ is zero almost everywhere.

    Source: He et al. 2015 for ReLU (√2). torch's ``calculate_gain`` has 5/3 for tanh and 3/4 for
    SELU, which are empirical, and 1 for sigmoid; this has 1.5925, 1 and 1.8462.

    >>> round(forward_gain("relu") ** 2, 12)
    2.0
    >>> round(forward_gain("tanh"), 8)
    1.59253742
    """
    return _gain(act, q, "E φ²", moments(act, q).second_moment, standard_deviation(q))


def centered_gain(act: ActivationLike, q: float = 1.0) -> float:
    """The forward gain where the mean is removed before the weight: √q / √Var φ(√q·z).

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: second moment of the pre-activation, > 0.

    Returns:
        The gain, at least the forward one.

    Raises:
        InfeasibleError: φ is constant almost everywhere.

    Source: Brock et al. 2021 (scaled weight standardization), √(2/(1 − 1/π)) for ReLU.

    >>> round(centered_gain("relu"), 8)
    1.71285855
    """
    return _gain(act, q, "Var φ", moments(act, q).variance, standard_deviation(q))


def backward_gain(act: ActivationLike, q: float = 1.0) -> float:
    """The gain that keeps the second moment of the gradient: 1 / √E φ′(√q·z)².

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: second moment of the pre-activation, ≥ 0; 0 means the limit q → 0.

    Returns:
        The gain; the weight's standard deviation is gain/√(backward fan).

    Raises:
        InfeasibleError: φ′ is zero almost everywhere (a step function).

    >>> round(backward_gain("gelu"), 8)
    1.48111441
    """
    return _gain(act, q, "E φ′²", moments(act, q).derivative_second_moment, 1.0)


def _gain(act: ActivationLike, q: float, what: str, moment: float, numerator: float) -> float:
    if moment <= 0:
        raise InfeasibleError(
            f"activation {activation(act).name!r}: {what} is zero at q = {q:g}, so that no gain"
            " keeps it; take another activation or another q"
        )
    return numerator / math.sqrt(moment)
