"""What does theory say?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from firstlight.errors import BadInputError, InfeasibleError
from firstlight.initializers.registry import technique as find_technique
from firstlight.laws.moments import moments as law_moments
from firstlight.records.checkup import Checkup
from firstlight.records.law import Constant, DeltaOrthogonal, Identity, Law, Mirrored, Orthogonal
from firstlight.records.network import ActivationRef, Fans, plain_layout
from firstlight.records.prediction import Norm, OtherStart, Prediction
from firstlight.verdicts.place import Place, place_of

_ISOMETRIES = (Orthogonal, DeltaOrthogonal, Mirrored)
_BIAS_OF = {"torch_linear": "torch_bias"}
_MOST_LAYERS = 100_000


def predict(
    activation: str | ActivationRef | Callable[[Any], Any] | Checkup,
    *,
    depth: int = 100,
    width: int = 256,
    sigma_w2: float | None = None,
    sigma_b2: float = 0.0,
    technique: str | None = None,
    parameter: float | None = None,
    norm: Norm | None = None,
    skip: float | bool = False,
    dropout: float = 0.0,
    length: float = 1.0,
) -> Prediction:
    """What theory says of a deep network, from its activation alone.

    In the limit of great width a signal of second moment q comes out of a layer at
    σ_w²·E φ(√q·z)² + σ_b², ‖δ‖² comes back times χ₁ = σ_w²·E φ′(√q·z)², and two inputs that enter
    with correlation c leave with (σ_w²·E φ(u₁)φ(u₂) + σ_b²)/q′. `predict` follows the three
    through the depth, with batch or layer norm, skips and dropout.

    Args:
        activation: a name (``"gelu"``), an `ActivationRef`, or any elementwise function of a
            float64 array, seen before or not. Or a `Checkup`: activation, depth, width, σ_w² and
            σ_b² are then those of its typical hidden layer; the phase diagram shows its place.
        depth: layers, 1 … 100,000.
        width: units of a layer, ≥ 1.
        sigma_w2: fan_in times the variance of the weights, > 0. None takes that of ``technique``,
            or else the one that keeps the second moment of the signal at ``length``.
        sigma_b2: variance of the biases, ≥ 0.
        technique: one of `techniques`, for a square weight of this width; a mirrored start acts
            through φ(x) − φ(−x).
        parameter: of a named activation: a slope, α or β.
        norm: ``"batch"`` or ``"layer"``: before the activation in a chain, at the branch's entry
            where there are skips.
        skip: True, or the scale s of the branch in h + s·F(h), > 0.
        dropout: rate after the activation, 0 … below 1.
        length: second moment of the first pre-activation, > 0.

    Returns:
        A `Prediction`: ``.forward_gain``, ``.edge``, ``.fixed_length``, ``.chi``, ``.trainable``,
        ``.profile``, ``.phase``, ``.instead``, ``.limit``; `print` tells it, ``.save`` writes it.

    Raises:
        BadInputError: an argument outside its range, or a function that has no such moments.

    Source: Poole et al. 2016; Schoenholz et al. 2017; Yang & Schoenholz 2017 for skips; Yang et al.
    2019 for batch norm. All of it holds for wide layers at the start of training; the remarks say
    where it stops being exact.

    Example:
        >>> import firstlight as fl
        >>> said = fl.predict("tanh", sigma_w2=2.5, sigma_b2=0.05)
        >>> round(said.fixed_length, 4), round(said.chi, 4), round(said.xi_gradient, 3)
        (1.064, 1.1335, -7.979)
        >>> fl.predict("relu", depth=30).limit is None
        True
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> rows = [part for _ in range(10) for part in (nn.Linear(64, 64), nn.Tanh())]
        >>> model = nn.Sequential(*rows, nn.Linear(64, 2))
        >>> place = fl.predict(fl.check(model, torch.randn(64, 64)))
        >>> place.activation, place.depth, round(place.sigma_w2, 2), round(place.chi, 2)
        ('tanh', 10, 0.33, 0.33)
    """
    # Quadrature needs scipy, which the public page must not load before it is used.
    from firstlight.theory.activations import activation as known
    from firstlight.theory.depth_limit import limit_of
    from firstlight.theory.odd_part import odd_activation
    from firstlight.theory.phases import phase_diagram
    from firstlight.theory.propagation import (
        HORIZON,
        Medium,
        Setting,
        prepared,
        profile,
        trainable_depth,
        travel,
    )
    from firstlight.theory.summary import edge, fixed_point, gains, keeping, remarks

    start = "as given"
    if isinstance(activation, Checkup):
        if technique is not None or sigma_w2 is not None or sigma_b2 or parameter is not None:
            raise BadInputError(
                "predict: a Checkup has a start of its own; leave technique, sigma_w2, sigma_b2 and"
                " parameter out"
            )
        place = _place(activation)
        activation, depth, width = place.activation, place.depth, place.width
        sigma_w2, sigma_b2 = place.sigma_w2, place.sigma_b2
        start = "as measured, the median of the hidden layers"
    depth = _whole("depth", depth, _MOST_LAYERS)
    width = _whole("width", width, 10**9)
    _positive("length", length)
    branch = _branch(skip)
    if norm not in (None, "batch", "layer"):
        raise BadInputError(f"predict: norm must be 'batch', 'layer' or None, got {norm!r}")
    if not 0 <= _number("dropout", dropout) < 1:
        raise BadInputError(f"predict: dropout is a rate, 0 or more and below 1, got {dropout!r}")
    if _number("sigma_b2", sigma_b2) < 0:
        raise BadInputError(f"predict: sigma_b2 is a variance, must be >= 0, got {sigma_b2!r}")
    reference = _reference(activation, parameter)
    phi = known(reference)
    law = bias = None
    if technique is not None:
        if sigma_w2 is not None:
            raise BadInputError(
                f"predict: technique {technique!r} sets sigma_w2 already; give one of them"
            )
        law, bias = _laws(technique, phi.name, reference, width)
        sigma_b2 = sigma_b2 if bias is None else bias
    acting = prepared(odd_activation(phi) if isinstance(law, Mirrored) else phi)
    medium = Medium(acting)
    if law is not None:
        square, start = _square(law, width), f"{technique} ({law})"
    elif sigma_w2 is not None:
        _positive("sigma_w2", sigma_w2)
        square = float(sigma_w2)
    else:
        square = keeping(medium, length, sigma_b2, dropout)
        start = "variance scaling: keeps the second moment of the signal"
    setting = Setting(
        sigma_w2=square,
        sigma_b2=float(sigma_b2),
        norm=norm,
        skip=branch,
        dropout=float(dropout),
        length=float(length),
    )
    journey = travel(medium, setting, depth, width=width, horizon=HORIZON)
    plain = norm is None and branch is None
    return Prediction(
        activation=phi.name,
        depth=depth,
        width=width,
        start=start,
        sigma_w2=square,
        sigma_b2=setting.sigma_b2,
        norm=norm,
        skip=branch,
        dropout=setting.dropout,
        **gains(prepared(phi)),
        **edge(prepared(phi)),
        **fixed_point(medium, setting, journey, depth),
        profile=profile(journey, depth),
        log_length_spread=math.sqrt(float(journey.log_length_variance[depth - 1])),
        trainable=trainable_depth(journey),
        phase=phase_diagram(medium, square, setting.sigma_b2, dropout=setting.dropout),
        instead=_instead(reference, depth) if plain else None,
        limit=limit_of(
            reference,
            depth,
            width=width,
            sigma_w2=square,
            sigma_b2=setting.sigma_b2,
            length=setting.length,
            mirrored=isinstance(law, Mirrored),
        )
        if plain and not dropout
        else None,
        remarks=remarks(
            medium, setting, journey, depth, width, isometry=isinstance(law, _ISOMETRIES)
        ),
    )


def _place(checkup: Checkup) -> Place:
    found = place_of(checkup.observation)
    if found is None:
        raise BadInputError(
            f"predict: {checkup.network.name} has no hidden weight behind an activation, so it has"
            " no place in a phase diagram; name an activation"
        )
    return found


def _whole(what: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise BadInputError(f"predict: {what} must be a whole number, got {value!r}")
    if not 1 <= (number := value.__index__()) <= most:
        raise BadInputError(f"predict: {what} must be 1 to {most:,}, got {number:,}")
    return int(number)


def _number(what: str, value: Any) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__") or not math.isfinite(value):
        raise BadInputError(f"predict: {what} must be a finite number, got {value!r}")
    return float(value)


def _positive(what: str, value: Any) -> None:
    if _number(what, value) <= 0:
        raise BadInputError(f"predict: {what} is a second moment, must be positive, got {value!r}")


def _branch(skip: float | bool) -> float | None:
    if skip is None or skip is False:
        return None
    if skip is True:
        return 1.0
    if _number("skip", skip) <= 0:
        raise BadInputError(f"predict: skip must be True or a positive branch scale, got {skip!r}")
    return float(skip)


def _reference(which: Any, parameter: float | None) -> Any:
    """A name as a reference, whose integrals are kept; a function as it is."""
    if isinstance(which, str):
        return ActivationRef(name=which, parameter=parameter)
    if isinstance(which, ActivationRef) and parameter is not None:
        return ActivationRef(name=which.name, parameter=parameter)
    if parameter is not None:
        raise BadInputError(
            f"predict: parameter = {parameter!r} goes with a name; put it into the function"
        )
    return which


def _laws(technique: str, name: str, reference: Any, width: int) -> tuple[Law, float | None]:
    """The law of a square weight, and the variance of the biases that come with it, if any."""
    found = find_technique(technique)
    options: dict[str, Any] = {}
    if "activation" in found.options:
        options["activation"] = getattr(reference, "name", reference)
        options["parameter"] = getattr(reference, "parameter", None)
    layout, fans = plain_layout((width, width)), Fans(forward=width, backward=width)
    law = found.law_for(layout, fans, **options)
    if isinstance(law, Constant | Identity):
        raise BadInputError(
            f"predict: {technique} ({law}) is not random, so mean field says nothing of it; take a"
            " technique that draws its weights"
        )
    if isinstance(law, Mirrored):
        from firstlight.theory.odd_part import odd_part

        if odd_part(reference).is_odd:
            raise BadInputError(
                f"predict: {name} is odd, and mirrored units would stay twins for ever; take"
                " 'orthogonal' instead"
            )
    if found.name not in _BIAS_OF:
        return law, None
    biases = find_technique(_BIAS_OF[found.name], fan_in=width).law_for(plain_layout((width,)))
    return law, law_moments(biases, plain_layout((width,))).std ** 2


def _square(law: Law, width: int) -> float:
    """σ_w² of a square weight; of a mirrored one, the square of its gain on the odd part."""
    if isinstance(law, Mirrored):
        return law.gain**2
    found = law_moments(law, plain_layout((width, width)))
    return width * (found.std**2 + found.mean**2)


def _instead(reference: Any, depth: int) -> OtherStart | None:
    """The plain chain from the start that rule 4 of the planner gives to deep chains."""
    from firstlight.planning.chains import operating
    from firstlight.theory.activations import activation as known
    from firstlight.theory.odd_part import odd_activation, odd_part
    from firstlight.theory.propagation import (
        HORIZON,
        Medium,
        Setting,
        delta_square_ratio,
        trainable_depth,
        travel,
    )

    if odd_part(reference).slope == 0:
        return None
    try:
        run = operating(reference, depth)
    except InfeasibleError:  # a derivative of zero
        return None
    medium = Medium(odd_activation(known(reference)) if run.mirrored else known(reference))
    setting = Setting(sigma_w2=run.gain**2, length=run.length)
    journey = travel(medium, setting, depth, horizon=HORIZON)
    return OtherStart(
        law=f"{'mirrored' if run.mirrored else 'orthogonal'} × {run.gain:.4g}",
        length=run.length,
        second_moment_ratio=float(journey.second_moment[depth - 1] / journey.second_moment[0]),
        delta_square_ratio=delta_square_ratio(journey, depth),
        limit_layers=trainable_depth(journey).layers,
    )
