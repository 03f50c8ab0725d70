"""The figures of a prediction: gains, edge of chaos, fixed point, and where theory stops."""

from __future__ import annotations

import math
from typing import Any

from firstlight.errors import BadInputError, InfeasibleError
from firstlight.theory.activations import Activation
from firstlight.theory.gains import backward_gain, centered_gain, forward_gain, moments
from firstlight.theory.mean_field import edge_of_chaos, fixed_length, length_slope
from firstlight.theory.propagation import Journey, Medium, Setting

_EQUAL = 1e-8  # laws are rounded to nine digits
_NOTHING = 1e-14  # a mean below this is rounding
_NEAR_ONE = 1e-7
_SPREAD_WORTH_SAYING, _SPREAD_BEYOND_MEASURE = 0.5, 5.0


def keeping(medium: Medium, length: float, sigma_b2: float, dropout: float) -> float:
    """σ_w² for which a signal of this length keeps it, dropout and biases included.

    Raises:
        InfeasibleError: φ is zero, or the biases alone make the signal longer.

    >>> round(keeping(Medium("relu"), 1.0, 0.0, 0.0), 12)
    2.0
    """
    second = medium.statistics(length).second
    if sigma_b2 >= length or second <= 0:
        raise InfeasibleError(
            f"no sigma_w2 keeps the second moment {length:g} of {medium.activation.name} at"
            f" sigma_b2 = {sigma_b2:g}; give sigma_w2, or a smaller sigma_b2"
        )
    return (1 - dropout) * (length - sigma_b2) / second


def gains(act: Activation) -> dict[str, Any]:
    """Moments at q = 1 and the three gains, by the names of a prediction's fields."""
    found = moments(act)
    result: dict[str, Any] = {
        "mean": found.mean if abs(found.mean) > _NOTHING else 0.0,
        "second_moment": found.second_moment,
        "variance": found.variance,
        "derivative_second_moment": found.derivative_second_moment,
    }
    named = {
        "forward_gain": forward_gain,
        "centered_gain": centered_gain,
        "backward_gain": backward_gain,
    }
    for name, gain in named.items():
        try:
            result[name] = gain(act)
        except InfeasibleError:
            result[name] = None
    return result


def edge(act: Activation) -> dict[str, Any]:
    """The edge of chaos at length 1, or why there is none."""
    try:
        sigma_w2, sigma_b2 = edge_of_chaos(act)
    except InfeasibleError as error:
        return {"edge": None, "edge_note": str(error).partition(": ")[2]}
    slope = length_slope(act, 1.0, sigma_w2)
    note = (
        f"unstable: an error in the length grows by {slope:.4g} a layer"
        if slope > 1 + _EQUAL
        else ""
    )
    return {"edge": (sigma_w2, sigma_b2), "edge_note": note}


def fixed_point(medium: Medium, setting: Setting, journey: Journey, depth: int) -> dict[str, Any]:
    """q*, χ, the length slope, c* and the three depth scales, by the names of the fields."""
    q = _fixed_length(medium, setting)
    if q is None or q <= 0:
        last = journey.log_gradient_rate[max(0, depth - 2)]
        p = min(max(float(journey.second_moment[depth - 1]), 1e-12), 1e6)
        slope = setting.sigma_w2 / (1 - setting.dropout) * medium.statistics(p).slope
        if setting.skip is not None:
            slope = 1 + setting.skip**2 * slope if setting.norm is None else 1.0
        return {
            "fixed_length": q,
            "chi": math.exp(last),
            "length_slope": slope,
            "fixed_correlation": None,
            "xi_length": None,
            "xi_correlation": None,
            "xi_gradient": None,
        }
    keep, w2 = 1 - setting.dropout, setting.sigma_w2
    at = medium.statistics(q)
    raw, chi = w2 * at.second / keep, w2 * at.derivative / keep
    passed, slope = q, w2 * at.slope / keep
    if setting.norm == "layer":
        passed, slope = raw + setting.sigma_b2, 0.0
    elif setting.norm == "batch":
        passed = raw - w2 * at.mean**2
        slope = w2 * (at.slope / keep - at.mean * at.tilt) / passed
    chi = chi if setting.norm is None else chi / passed
    scale = w2 * at.second / passed
    c = _fixed_correlation(medium, q, scale, raw / passed, chi if keep == 1 else math.inf)
    steepness = chi if c == 1 else scale * medium.steepness(q, c)
    return {
        "fixed_length": q,
        "chi": chi,
        "length_slope": slope,
        "fixed_correlation": c,
        "xi_length": _scale(slope),
        "xi_correlation": _scale(steepness),
        "xi_gradient": _scale(chi),
    }


def _fixed_length(medium: Medium, setting: Setting) -> float | None:
    if setting.skip is not None:
        return None
    if setting.norm is not None:
        return 1.0
    w2 = setting.sigma_w2 / (1 - setting.dropout)
    start = w2 * medium.statistics(setting.length).second + setting.sigma_b2
    if abs(start - setting.length) <= _EQUAL * setting.length:
        return setting.length
    try:
        return fixed_length(medium.activation, w2, setting.sigma_b2)
    except (InfeasibleError, BadInputError):  # it diverges, or leaves the reach of the quadrature
        return None


def _fixed_correlation(
    medium: Medium, q: float, scale: float, diagonal: float, chi: float
) -> float:
    """The lowest fixed point of c ← 1 − (diagonal − scale·K(c)/K(1))."""
    from scipy.optimize import brentq

    if chi <= 1 + _EQUAL:
        return 1.0

    def gap(c: float) -> float:
        return 1 - diagonal + scale * (1 - medium.unlike(q, 1 - c)) - c

    if gap(0.0) <= _EQUAL:
        return 0.0
    return 1.0 if gap(1 - _NEAR_ONE) >= 0 else float(brentq(gap, 0.0, 1 - _NEAR_ONE, xtol=1e-12))


def _scale(slope: float) -> float:
    slope = abs(slope)
    if abs(slope - 1) <= 10 * _EQUAL:
        return math.inf
    return -1 / math.log(slope) if slope > 0 else 0.0


def remarks(
    medium: Medium, setting: Setting, journey: Journey, depth: int, width: int, *, isometry: bool
) -> tuple[str, ...]:
    """Where the theory stops being exact, in sentences without a full stop."""
    said = []
    point = fixed_point(medium, setting, journey, depth)
    slope, name = point["length_slope"], medium.activation.name
    unstable = slope > 1 + 1e-6
    if setting.norm == "batch":
        said.append("batch norm is taken at a large batch of unrelated samples")
        if unstable and setting.skip is None:
            said.append(
                f"under batch norm the length of a single sample of {name} is unstable (its"
                f" deviation grows by {slope:.4g} a layer), so the gradient's factor"
                f" {point['chi']:.4g} drifts with depth: measure it"
            )
    elif setting.norm is None and setting.skip is None and unstable and point["fixed_length"]:
        said.append(
            f"the length {point['fixed_length']:.3g} is unstable: an error in it grows by"
            f" {slope:.4g} a layer, {slope ** (depth - 1):.2g} times over {depth} layers"
        )
    if setting.skip is not None:
        reads = "φ(h)" if setting.norm is None else f"φ({setting.norm} norm of h)"
        said.append(f"each layer is h + {setting.skip:g}·(W·{reads} + b)")
    spread = math.sqrt(float(journey.log_length_variance[depth - 1]))
    if spread > _SPREAD_WORTH_SAYING and not isometry:
        size = (
            f"by a factor e^±{spread:.2g}"
            if spread < _SPREAD_BEYOND_MEASURE
            else "by orders of magnitude"
        )
        said.append(
            f"at width {width} the last layer's second moment varies {size} from draw to draw of"
            " Gaussian weights, so one draw does not show the mean; isometries or more width"
            " narrow it"
        )
    if depth > width:
        said.append(f"the theory is for width well above depth; here {depth} layers of {width}")
    return tuple(said)
