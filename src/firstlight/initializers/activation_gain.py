"""The technique that works out its gain by quadrature, for any activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from firstlight.errors import BadInputError
from firstlight.initializers.technique import Technique
from firstlight.initializers.variance_scaling import centred, fan_for
from firstlight.records.law import Law
from firstlight.records.network import ActivationRef, Fans, Layout


def _law(
    _layout: Layout,
    fans: Fans,
    *,
    activation: str | Callable[..., Any],
    parameter: float | None,
    direction: str,
    distribution: str,
    q: float,
) -> Law:
    # Quadrature needs scipy, which the rest of the registry does without.
    from firstlight.theory.activations import activation as known
    from firstlight.theory.gains import backward_gain, forward_gain

    if not q > 0:
        raise BadInputError(f"q (second moment of the pre-activation) must be positive, got {q:g}")
    # What each direction, held at one, asks of 1/Var(w); their mean is Glorot's compromise.
    phi = (
        # A name with its parameter stays a reference, whose quadrature is done once and kept.
        ActivationRef(name=activation, parameter=parameter)
        if isinstance(activation, str)
        else known(activation, parameter)
    )
    asked = []
    if direction in ("forward", "balanced"):
        asked.append(fan_for(fans, "fan_in") / forward_gain(phi, q) ** 2)
    if direction in ("backward", "balanced"):
        asked.append(fan_for(fans, "fan_out") / backward_gain(phi, q) ** 2)
    return centred(distribution, math.sqrt(len(asked) / sum(asked)))


ACTIVATION_GAIN = (
    Technique(
        name="activation_gain",
        aliases=("gain",),
        title="Gain of the activation, by quadrature",
        formula="Var(w) = g_f²/fan_in forward, g_b²/fan_out backward,"
        " 2/(fan_in/g_f² + fan_out/g_b²) balanced;"
        " g_f = √(q/E[φ(√q·z)²]), g_b = 1/√E[φ′(√q·z)²], z ~ N(0, 1)",
        law=_law,
        options={
            "activation": "gelu",
            "parameter": None,
            "direction": "forward",
            "distribution": "normal",
            "q": 1.0,
        },
        needs_fans=True,
        assumptions="Normal pre-activations of second moment q (wide layers, zero biases) enter the"
        " activation that feeds this weight.",
        source="Poole et al. 2016 (arXiv:1606.05340) and Schoenholz et al. 2017 (arXiv:1611.01232)"
        " for the two expectations; He et al. 2015 is its case for ReLU, Glorot & Bengio 2010 its"
        " balanced case for the identity",
        suits="GELU, SiLU, Mish, softplus, ELU and any activation of your own",
        not_suits="very deep plain chains of activations that are not homogeneous: forward and"
        " backward gains differ there, and holding one makes the other drift (mirrored, orthogonal"
        " with the critical gain)",
        differs="torch's `calculate_gain` raises for GELU, SiLU, Mish and ELU, and its 5/3 for tanh"
        " and 3/4 for SELU are rules of thumb, not these expectations.",
    ),
)
