"""How length, correlation and gradient travel through a deep network of great width.

For z^l = W^l φ(z^(l−1)) + b^l with weights of variance σ_w²/fan_in and biases of variance σ_b².
Only these two variances enter. Poole et al. 2016; Schoenholz et al. 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.errors import BadInputError, InfeasibleError
from firstlight.theory.activations import Activation, ActivationLike, activation
from firstlight.theory.adaptive import settled
from firstlight.theory.gains import moments, sampled
from firstlight.theory.quadrature import bivariate_mean, standard_deviation

# A σ_b² or a change of length smaller than this (relative to q) is rounding, and counts as zero.
_ROUNDING = 1e-9
# Where the search for a fixed length gives up: below, the signal is gone; above, it diverges.
_SHORTEST, _LONGEST = 1e-20, 1e8
_WIDEST = 1e3  # standard deviation at which the search for an operating point ends
# The correlation map is not told from the diagonal this close to c = 1.
_NEAR_ONE = 1e-7


@dataclass(frozen=True)
class DepthScales:
    """Layers over which a quantity changes by a factor e; infinite on the edge of chaos.

    Args:
        length: ξ_q, of the approach to the fixed length.
        correlation: ξ_c, of the approach to the fixed correlation. Networks train up to a depth of
            about six times this.
        gradient: ξ_∇, of the squared gradient; negative where it grows towards the input.
    """

    length: float
    correlation: float
    gradient: float


def _check_variances(sigma_w2: float, sigma_b2: float = 0.0) -> None:
    for name, value in (("sigma_w2", sigma_w2), ("sigma_b2", sigma_b2)):
        if not (math.isfinite(value) and value >= 0):
            raise BadInputError(f"{name} is a variance: must be finite and >= 0, got {value}")


def length_map(act: ActivationLike, q: float, sigma_w2: float, sigma_b2: float) -> float:
    """The next layer's length: σ_w²·E φ(√q·z)² + σ_b².

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: second moment of the pre-activation, ≥ 0.
        sigma_w2: fan_in times the variance of the weights, ≥ 0.
        sigma_b2: variance of the biases, ≥ 0.

    Returns:
        Second moment of the next pre-activation.

    >>> round(length_map("relu", 3.0, sigma_w2=2.0, sigma_b2=0.1), 12)
    3.1
    """
    _check_variances(sigma_w2, sigma_b2)
    return sigma_w2 * moments(act, q).second_moment + sigma_b2


def chi(act: ActivationLike, q: float, sigma_w2: float) -> float:
    """χ₁ = σ_w²·E φ′(√q·z)²: the factor of the squared gradient per layer of equal widths.

    Also the slope of the correlation map at c = 1. Below one gradients vanish, above one they
    explode. With unequal widths multiply by (backward fan)/(forward fan).

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: second moment of the pre-activation, ≥ 0; 0 means the limit q → 0.
        sigma_w2: fan_in times the variance of the weights, ≥ 0.

    >>> round(chi("relu", 1.0, sigma_w2=2.0), 12)
    1.0
    """
    _check_variances(sigma_w2)
    return sigma_w2 * moments(act, q).derivative_second_moment


def length_slope(act: ActivationLike, q: float, sigma_w2: float) -> float:
    """Slope of the length map: σ_w²·E[z·φ(√q·z)·φ′(√q·z)]/√q.

    By Stein's lemma this is χ₁ + σ_w²·E[φ″φ], but it needs no φ″ and is right at kinks. Above one,
    an error in q grows by this factor per layer.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: second moment of the pre-activation, > 0.
        sigma_w2: fan_in times the variance of the weights, ≥ 0.

    >>> round(length_slope("relu", 0.7, sigma_w2=2.0), 12)
    1.0
    """
    _check_variances(sigma_w2)
    z, weights, value, derivative = sampled(activation(act), q)
    return sigma_w2 * float(weights @ (z * value * derivative)) / standard_deviation(q)


def edge_of_chaos(act: ActivationLike, q: float = 1.0) -> tuple[float, float]:
    """The variances (σ_w², σ_b²) for which q is a fixed length and χ₁ = 1.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q: the length to be kept, > 0.

    Returns:
        σ_w² = 1/E φ′² and σ_b² = q − σ_w²·E φ². For GELU, SiLU, Mish and hardswish at q = 1 the
        fixed length is unstable: see `length_slope`.

    Raises:
        InfeasibleError: σ_b² would be negative (softplus at any q, sigmoid below q = 45.6).

    >>> [round(value, 8) for value in edge_of_chaos("tanh")]
    [2.15330265, 0.15096463]
    """
    if not q > 0:
        raise BadInputError(f"edge of chaos: the length q must be positive, got {q}")
    found, name = moments(act, q), activation(act).name
    if found.derivative_second_moment <= 0:
        raise InfeasibleError(
            f"no edge of chaos for {name} at q = {q:g}: its derivative is zero almost everywhere,"
            " and so is every gradient; take another activation"
        )
    sigma_w2 = 1 / found.derivative_second_moment
    kept = sigma_w2 * found.second_moment
    if kept > q * (1 + 10 * _ROUNDING):
        raise InfeasibleError(
            f"no edge of chaos for {name} at q = {q:g}: chi = 1 needs sigma_w2 = {sigma_w2:.4g},"
            f" which alone makes the length {kept:.4g}, so sigma_b2 would be {q - kept:.4g} < 0;"
            " take another q, remove the activation's mean, or use a mirrored start"
        )
    return sigma_w2, (q - kept if q - kept > 10 * _ROUNDING * q else 0.0)


def fixed_length(act: ActivationLike, sigma_w2: float, sigma_b2: float) -> float:
    """The length q* = σ_w²·E φ(√q*·z)² + σ_b² that is reached from q = 1.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        sigma_w2: fan_in times the variance of the weights, ≥ 0.
        sigma_b2: variance of the biases, ≥ 0.

    Returns:
        The nearest fixed point in the direction in which the length moves from one; 1 where one is
        a fixed point itself (as every length is for He-initialized ReLU); 0 where the signal dies.

    Raises:
        InfeasibleError: the length grows without bound.

    >>> round(fixed_length("tanh", 2.5, 0.05), 6)
    1.063958
    """
    from scipy.optimize import brentq

    def growth(q: float) -> float:
        return length_map(act, q, sigma_w2, sigma_b2) - q

    start = growth(1.0)
    if abs(start) <= _ROUNDING:
        return 1.0
    near, far = 1.0, 2.0 if start > 0 else 0.5
    while (growth(far) > 0) == (start > 0):
        near, far = far, far * far / near
        if far > _LONGEST:
            raise InfeasibleError(
                f"no fixed length for {activation(act).name} at sigma_w2 = {sigma_w2:g}, sigma_b2 ="
                f" {sigma_b2:g}: from q = 1 the length grows beyond {_LONGEST:g}; take a smaller"
                " sigma_w2"
            )
        if far < _SHORTEST:
            return 0.0
    return float(brentq(growth, near, far, xtol=1e-15 * far, rtol=1e-14))


def kernel(act: ActivationLike, q_aa: float, q_bb: float, c: float) -> float:
    """K = E φ(u₁)·φ(u₂) of two pre-activations with second moments q_aa, q_bb and correlation c.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        q_aa: second moment of u₁, ≥ 0.
        q_bb: second moment of u₂, ≥ 0.
        c: correlation, −1 … 1.

    Returns:
        The kernel, to about 1e-13 for activations of the table.

    >>> round(kernel("relu", 1.0, 1.0, 0.3), 12)
    0.241372141918
    """
    known = _settled_for(act, q_aa, q_bb)
    return bivariate_mean(known.function, q_aa, q_bb, c, known.kinks or ())


def derivative_kernel(act: ActivationLike, q_aa: float, q_bb: float, c: float) -> float:
    """K̇ = E φ′(u₁)·φ′(u₂), which is the derivative of `kernel` in q_ab = c·√(q_aa·q_bb) (Price).

    Args and Raises are those of `kernel`.

    >>> round(derivative_kernel("relu", 1.0, 1.0, 0.0), 12)
    0.25
    """
    known = _settled_for(act, q_aa, q_bb)
    assert known.derivative is not None  # what settled is for
    return bivariate_mean(known.derivative, q_aa, q_bb, c, known.kinks or ())


def _settled_for(act: ActivationLike, q_aa: float, q_bb: float) -> Activation:
    widest = max(standard_deviation(q_aa, "q_aa"), standard_deviation(q_bb, "q_bb"))
    return settled(activation(act), widest)


def correlation_map(
    act: ActivationLike,
    c: float,
    sigma_w2: float,
    sigma_b2: float,
    q: float | None = None,
) -> float:
    """The next layer's correlation of two inputs of equal length: (σ_w²·K(q, q, c) + σ_b²)/q′.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        c: correlation of the pre-activations, −1 … 1.
        sigma_w2: fan_in times the variance of the weights, > 0.
        sigma_b2: variance of the biases, ≥ 0.
        q: their length; None for the fixed length.

    Returns:
        The correlation, where q′ = `length_map` of q (q itself at the fixed length).

    >>> round(correlation_map("relu", 0.0, 2.0, 0.0, q=1.0) * math.pi, 12)
    1.0
    """
    q = fixed_length(act, sigma_w2, sigma_b2) if q is None else q
    following = length_map(act, q, sigma_w2, sigma_b2)
    if following <= 0:
        raise InfeasibleError(
            f"no correlation for {activation(act).name} at sigma_w2 = {sigma_w2:g}, sigma_b2 ="
            f" {sigma_b2:g}: the signal dies (length 0); take a larger sigma_w2 or sigma_b2"
        )
    return (sigma_w2 * kernel(act, q, q, c) + sigma_b2) / following


def fixed_correlation(act: ActivationLike, sigma_w2: float, sigma_b2: float) -> float:
    """The correlation c* that all pairs of inputs end at: 1 unless χ₁ > 1.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        sigma_w2: fan_in times the variance of the weights, > 0.
        sigma_b2: variance of the biases, ≥ 0.

    Returns:
        c* between 0 and 1. In the ordered phase and on the edge it is 1 (all inputs become alike);
        in the chaotic phase the fixed point below 1.

    >>> fixed_correlation("tanh", 1.3, 0.05)
    1.0
    """
    from scipy.optimize import brentq

    q = fixed_length(act, sigma_w2, sigma_b2)
    if chi(act, q, sigma_w2) <= 1 + _ROUNDING:
        return 1.0

    def gap(c: float) -> float:
        return correlation_map(act, c, sigma_w2, sigma_b2, q) - c

    if gap(0.0) <= _ROUNDING:
        return 0.0
    if gap(1 - _NEAR_ONE) >= 0:
        return 1.0
    return float(brentq(gap, 0.0, 1 - _NEAR_ONE, xtol=1e-12))


def depth_scales(act: ActivationLike, sigma_w2: float, sigma_b2: float) -> DepthScales:
    """ξ = −1/ln(slope) of the length map, the correlation map at c*, and the gradient.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        sigma_w2: fan_in times the variance of the weights, > 0.
        sigma_b2: variance of the biases, ≥ 0.

    Returns:
        The three scales, in layers.

    Raises:
        InfeasibleError: the length grows without bound.

    Source: Schoenholz et al. 2017.

    >>> round(depth_scales("tanh", 1.3, 0.05).gradient, 6)
    7.834069
    """
    q = fixed_length(act, sigma_w2, sigma_b2)
    c = fixed_correlation(act, sigma_w2, sigma_b2)
    chi_1 = chi(act, q, sigma_w2)
    slope = chi_1 if c == 1 else sigma_w2 * derivative_kernel(act, q, q, c)
    return DepthScales(
        _depth_scale(length_slope(act, q, sigma_w2)), _depth_scale(slope), _depth_scale(chi_1)
    )


def _depth_scale(slope: float) -> float:
    # Signs alternate where the slope is negative; the size decays all the same.
    slope = abs(slope)
    if abs(slope - 1) <= 10 * _ROUNDING:
        return math.inf
    return -1 / math.log(slope) if slope > 0 else 0.0


def operating_point(act: ActivationLike) -> float:
    """σ*: the standard deviation of the pre-activation at which E φ(σ*·z)² = 1.

    With unit signals and no bias, σ_w = σ* keeps the second moment of the activations at one.

    Args:
        act: a name, a reference, a function, or an `Activation`.

    Returns:
        σ* > 0.

    Raises:
        InfeasibleError: E φ² is below 1 (|φ| ≤ 1, as for tanh) or above 1 at every σ.

    >>> round(operating_point("gelu"), 8)
    1.46801126
    """
    from scipy.optimize import brentq

    def excess(sigma: float) -> float:
        return moments(act, sigma**2).second_moment - 1

    start = excess(1.0)
    if abs(start) <= 1e-13:
        return 1.0
    near, far = 1.0, 0.5 if start > 0 else 2.0
    # A bounded φ may reach 1 by rounding, hence the margin.
    while (excess(far) > _ROUNDING) == (start > 0):
        near, far = far, far * far / near
        if not 1 / _WIDEST <= far <= _WIDEST:
            side = "above" if start > 0 else "below"
            raise InfeasibleError(
                f"no operating point for {activation(act).name}: E φ(σz)² stays {side} 1 (it is"
                f" {excess(near) + 1:.4g} at σ = {near:g}); use the edge of chaos with a bias"
                " variance, or scale the activation's output"
            )
    return float(brentq(excess, near, far, xtol=1e-15, rtol=1e-14))
