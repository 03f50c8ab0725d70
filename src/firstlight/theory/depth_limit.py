"""How deep a plain chain may be from a given start, and the smallest change that lifts the limit.

A plain chain is weight, activation, weight … without norm or skip. What a start can do for it is
fixed by two moments of the activation; where they do not serve, only another network will.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from firstlight.errors import InfeasibleError
from firstlight.records.prediction import Cause, Change, DepthLimit, Kind, Norm
from firstlight.theory.activations import Activation, ActivationLike, activation
from firstlight.theory.gains import forward_gain, moments
from firstlight.theory.odd_part import odd_activation, odd_part
from firstlight.theory.propagation import (
    HORIZON,
    Journey,
    Medium,
    Setting,
    delta_square_ratio,
    trainable_depth,
    travel,
)

WIDER = 4
"""The factor by which the change of width is tried."""

SUBSTITUTES = ("relu", "gelu", "silu", "softplus")
"""Activations whose odd part is exactly linear, with smoothness like that of what they replace."""

_NEAREST = {"relu6": "relu", "hardsigmoid": "relu", "sigmoid": "softplus", "logsigmoid": "softplus"}
_DEEPEST = "elu"
"""Of the common activations the one that variance scaling carries deepest."""

_SHORTEST = 100  # layers that are followed at least, for the rate to settle
_NORMS: tuple[Norm, ...] = ("layer", "batch")
_STEPS = "its derivative is zero almost everywhere, so that no gradient passes one layer"


def limit_of(
    act: ActivationLike,
    depth: int,
    *,
    width: int = 256,
    sigma_w2: float | None = None,
    sigma_b2: float = 0.0,
    length: float = 1.0,
    mirrored: bool = False,
) -> DepthLimit | None:
    """The depth limit of a plain chain, if ``depth`` is beyond it.

    Args:
        act: a name, a reference, a function, or an `Activation`.
        depth: activations in a row, ≥ 1.
        width: units of a layer, ≥ 1.
        sigma_w2: fan_in times the variance of the weights, or the square of an isometry's gain;
            None for variance scaling, which keeps the second moment at ``length``.
        sigma_b2: variance of the biases, ≥ 0.
        length: second moment of the first pre-activation, > 0.
        mirrored: whether the weights are mirrored, so that the odd part of φ acts.

    Returns:
        The limit with the changes that were considered, or None where the depth is within reach.
        A step function is limited to one layer whatever the start.

    Source: trainable depth as in `propagation.RULE`.

    >>> limit = limit_of("softplus", 100)
    >>> limit.limit_layers, limit.by, limit.smallest.kind
    (6.0, 'gradient', 'start')
    >>> limit_of("relu", 30) is None
    True
    """
    resolved = activation(act)
    if isinstance(act, str) or not callable(act):
        return _cached(act, depth, width, sigma_w2, sigma_b2, length, mirrored)
    return _limit(resolved, depth, width, sigma_w2, sigma_b2, length, mirrored)


def _limit(
    act: ActivationLike,
    depth: int,
    width: int,
    sigma_w2: float | None,
    sigma_b2: float,
    length: float,
    mirrored: bool,
) -> DepthLimit | None:
    phi = activation(act)
    if moments(phi, length).derivative_second_moment <= 0:
        changes = tuple(_changes(phi, depth, width, mirrored))
        return _written(phi.name, depth, 1.0, "derivative", 0.0, changes)
    acting = odd_activation(phi) if mirrored else phi
    if sigma_w2 is None:
        sigma_w2 = forward_gain(acting, length) ** 2 * max(0.0, 1 - sigma_b2 / length)
    setting = Setting(sigma_w2=sigma_w2, sigma_b2=sigma_b2, length=length)
    journey = travel(Medium(acting), setting, depth, horizon=HORIZON)
    found = trainable_depth(journey)
    if depth <= found.layers:
        return None
    by: Cause = (
        "gradient" if found.by_gradient_layers <= found.by_correlation_layers else "correlation"
    )
    ratio = delta_square_ratio(journey, depth)
    changes = tuple(_changes(phi, depth, width, mirrored, same=found.layers, ratio=ratio))
    return _written(phi.name, depth, found.layers, by, ratio, changes)


_cached = lru_cache(maxsize=256)(_limit)


def _changes(
    phi: Activation,
    depth: int,
    width: int,
    mirrored: bool,
    same: float = 1.0,
    ratio: float = 0.0,
) -> Iterator[Change]:
    """From the smallest to the largest."""
    yield Change(
        kind="width",
        what=f"{WIDER * width} units a layer instead of {width} (the limit lies in the mean over"
        " all draws, which no width moves)",
        limit_layers=same,
        delta_square_ratio=ratio,
        helps=False,
    )
    dead = moments(phi, 1.0).derivative_second_moment <= 0
    start = None if mirrored or dead else _deep_start(phi, depth)
    if start is not None:
        yield start
    if start is None or not start.helps:
        yield Change(
            kind="activation",
            what=f"{substitute(phi.name)} instead of {phi.name}, from the mirrored start",
            limit_layers=math.inf,
            delta_square_ratio=1.0,
            helps=True,
        )
    elif phi.name != _DEEPEST:
        keeping = Setting(sigma_w2=forward_gain(_DEEPEST) ** 2)
        what = f"{_DEEPEST} instead of {phi.name}, by variance scaling too"
        yield _tried("activation", what, Medium(_DEEPEST), keeping, depth)
    medium, square = Medium(phi), _keeping(phi)
    for norm in _NORMS:
        setting = Setting(sigma_w2=square, norm=norm)
        what = f"{norm} norm before each activation"
        if norm == "batch" and _drifts(medium):
            what += " (its factor drifts with depth: measure it)"
        yield _tried("norm", what, medium, setting, depth)
    yield _tried(
        "skip",
        f"a skip around each layer, with the branch times 1/√{depth}",
        medium,
        Setting(sigma_w2=square, skip=1 / math.sqrt(depth)),
        depth,
    )


def _deep_start(phi: Activation, depth: int) -> Change | None:
    """Unit slope of what acts, at a length that the depth can bear."""
    odd = odd_part(phi)
    if odd.slope == 0:
        return None
    form = "orthogonal" if odd.is_odd else "mirrored"
    length = {1: 1.0, 2: 0.1 / depth**2, 3: 1 / depth}[odd.order]
    where = "" if odd.linear else f", entered at a second moment of {length:.2g}"
    setting = Setting(sigma_w2=1 / odd.slope**2, length=length)
    what = f"the {form} start with gain {1 / abs(odd.slope):.3g}{where}"
    return _tried("start", what, Medium(odd_activation(phi)), setting, depth)


def _drifts(medium: Medium) -> bool:
    """Whether the length of single samples is unstable under batch norm."""
    at = medium.statistics(1.0)
    variance = at.second - at.mean**2
    return variance > 0 and (at.slope - at.mean * at.tilt) / variance > 1 + 1e-6


def _keeping(phi: Activation) -> float:
    try:
        return forward_gain(phi) ** 2
    except InfeasibleError:  # φ is zero
        return 1.0


def _tried(kind: Kind, what: str, medium: Medium, setting: Setting, depth: int) -> Change:
    if setting.skip is None and medium.statistics(1.0).derivative <= 0:
        return Change(kind=kind, what=what, limit_layers=1.0, delta_square_ratio=0.0, helps=False)
    journey: Journey = travel(medium, setting, depth, horizon=_SHORTEST)
    limit = trainable_depth(journey).layers
    return Change(
        kind=kind,
        what=what,
        limit_layers=limit,
        delta_square_ratio=delta_square_ratio(journey, depth),
        helps=depth <= limit,
    )


def substitute(name: str) -> str:
    """The nearest activation that a mirrored start carries to any depth.

    >>> substitute("selu"), substitute("relu6"), substitute("gelu")
    ('silu', 'relu', 'gelu')
    """
    bare = name.partition("(")[0]
    if bare in SUBSTITUTES:
        return bare
    return _NEAREST.get(bare, "silu")


def _written(
    name: str, depth: int, limit: float, by: Cause, ratio: float, changes: tuple[Change, ...]
) -> DepthLimit:
    return DepthLimit(
        activation=name,
        depth=depth,
        limit_layers=limit,
        by=by,
        delta_square_ratio=ratio,
        changes=changes,
        sentence=_sentence(name, depth, limit, by, ratio, changes),
    )


def _sentence(
    name: str, depth: int, limit: float, by: Cause, ratio: float, changes: tuple[Change, ...]
) -> str:
    if by == "derivative":
        reason = f"no start can train {depth} layers of {name}: {_STEPS}"
    else:
        lost = (
            f"‖δ‖² at the first layer is {_figure(ratio)} of that at the last"
            if by == "gradient"
            else "two inputs can no longer be told apart"
        )
        reason = (
            f"theory allows {limit:.0f} plain layer{'s' * (limit != 1)} of {name} from this start,"
            f" not {depth}: {lost}"
        )
    helping = [change for change in changes if change.helps]
    if not helping:
        return f"{reason}; none of the changes tried reaches that depth"
    advice = f"the smallest change that helps is {_offer(helping[0])}"
    others = [change for change in helping[1:] if change.kind != helping[0].kind]
    return f"{reason}; {advice}" + (f", or else {_offer(others[0])}" if others else "")


def _offer(change: Change) -> str:
    limit = change.limit_layers
    reach = "any depth" if math.isinf(limit) else f"up to {limit:,.0f} layers"
    return f"{change.what} ({reach}; ‖δ‖² ratio {_figure(change.delta_square_ratio)})"


def _figure(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"
