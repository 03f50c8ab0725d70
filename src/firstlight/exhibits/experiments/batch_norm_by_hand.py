"""Batch normalization worked by hand.

Batch normalization gives each feature mean 0 and deviation 1 over the batch, with a small ε that
guards against division by zero, then scales it by γ and shifts it by β. The network can learn a γ
and a β that undo it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firstlight.exhibits.digits import doubled
from firstlight.exhibits.experiment import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_least,
    at_most,
    between,
    equal,
    noted,
)
from firstlight.exhibits.pictures import picture, table
from firstlight.records.exhibit import Grid, Picture

EPSILON, MOMENTUM = 1e-5, 0.1
SPREADS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Standard deviations that a pixel is scaled to; ε is √ε = 0.003 as a deviation."""


@dataclass(frozen=True)
class Measured:
    """Largest differences between hand and framework, and what each spread becomes."""

    forward_apart: float
    backward_apart: float
    running_apart: float
    mean: float
    deviation: dict[float, float]
    predicted: dict[float, float]
    constant_gives: float
    constant_gradient: float
    lost: float
    undone_apart: float
    scaled_mean: float
    scaled_deviation: float


def by_hand(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = EPSILON) -> Tensor:
    """γ (x − μ) / √(σ² + ε) + β, with the mean and variance of the batch."""
    mean = x.mean(0)
    variance = (x - mean).square().mean(0)  # divided by n, not by n − 1
    return gamma * (x - mean) / (variance + epsilon).sqrt() + beta


def backward_by_hand(x: Tensor, gamma: Tensor, delta: Tensor) -> Tensor:
    """γ/√(σ² + ε) · (δ − mean δ − x̂ · mean(δ x̂)): the batch takes a part of δ away."""
    mean, variance = x.mean(0), x.var(0, unbiased=False)
    inverse = 1 / (variance + EPSILON).sqrt()
    normal = (x - mean) * inverse
    return gamma * inverse * (delta - delta.mean(0) - normal * (delta * normal).mean(0))


def measure(pace: Pace, seed: int, *, normalized: bool = True) -> Measured:
    """Both on a batch of digits in float64; ``normalized=False`` puts nothing in the layer's place.

    γ, β and the gradient that comes back are drawn.
    """
    chance = torch.Generator().manual_seed(seed)
    data = doubled()
    x = 2 * data.x[torch.randperm(len(data.x), generator=chance)[: pace.pick(256, 1024)]] + 3
    kept = x.var(0) > 1e-2  # corner pixels are (nearly) always blank
    blank, x = torch.full_like(x[:, :1], 3.0), x[:, kept]
    gamma, beta = (torch.randn(x.shape[1], generator=chance).double() for _ in range(2))
    delta = torch.randn(x.shape, generator=chance).double()

    layer = _layer(x.shape[1], normalized)
    z = x.clone().requires_grad_()
    scaled = _filled(layer, gamma, beta)(z)
    scaled.backward(delta)
    assert z.grad is not None
    running = getattr(layer, "running_var", torch.zeros(()))
    expected = (1 - MOMENTUM) + MOMENTUM * x.var(0)  # the running variance divides by n − 1

    one, zero = torch.ones(x.shape[1]).double(), torch.zeros(x.shape[1]).double()
    plain = _filled(_layer(x.shape[1], normalized), one, zero)(x).detach()
    undo = _filled(
        _layer(x.shape[1], normalized), (x.var(0, unbiased=False) + EPSILON).sqrt(), x.mean(0)
    )
    flat = blank.clone().requires_grad_()
    shifted = _filled(_layer(1, normalized), gamma[:1], beta[:1])(flat)
    shifted.square().sum().backward()
    assert flat.grad is not None
    pixel = (x[:, :1] - x[:, :1].mean()) / x[:, :1].std(unbiased=False)
    deviation = {
        s: float(_layer(1, normalized)(pixel * s + 3).detach().std(unbiased=False)) for s in SPREADS
    }
    return Measured(
        forward_apart=_apart(scaled, by_hand(x, gamma, beta)),
        backward_apart=_apart(z.grad, backward_by_hand(x, gamma, delta)),
        running_apart=_apart(running, expected),
        mean=float(plain.mean(0).abs().max()),
        deviation=deviation,
        predicted={s: s / math.sqrt(s * s + EPSILON) for s in SPREADS},
        constant_gives=_apart(shifted, beta[:1]),
        constant_gradient=float(flat.grad.abs().max()),
        lost=float(by_hand(blank, one[:1], zero[:1], epsilon=0.0).isnan().double().mean()),
        undone_apart=_apart(undo(x), x),
        scaled_mean=_apart(scaled.mean(0), beta),
        scaled_deviation=_apart(scaled.std(0, unbiased=False), gamma.abs()),
    )


def _layer(features: int, normalized: bool) -> nn.Module:
    if not normalized:
        return nn.Identity()
    return nn.BatchNorm1d(features, eps=EPSILON, momentum=MOMENTUM).double()


def _filled(layer: nn.Module, gamma: Tensor, beta: Tensor) -> Callable[[Tensor], Tensor]:
    if isinstance(layer, nn.BatchNorm1d):
        with torch.no_grad():
            layer.weight.copy_(gamma)
            layer.bias.copy_(beta)
    return layer


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def judge(measured: Measured) -> Judgement:
    """Rounding in float64 everywhere but in the deviation, which ε makes smaller than one."""
    widest, narrowest = SPREADS[-1], SPREADS[1]
    off = max(abs(measured.deviation[s] - measured.predicted[s]) for s in SPREADS)
    formula = [
        at_most("forward: hand against framework", measured.forward_apart, 1e-12),
        at_most("backward: hand against framework", measured.backward_apart, 1e-12),
        at_most("running variance: hand against framework", measured.running_apart, 1e-12),
        at_most("largest mean of a feature afterwards", measured.mean, 1e-12),
        at_most("deviation s becomes s/√(s² + ε): difference", off, 1e-9),
        at_most("mean afterwards against β", measured.scaled_mean, 1e-12),
        at_most("a constant feature becomes β: difference", measured.constant_gives, 1e-12),
        at_most("gradient that passes a constant feature", measured.constant_gradient, 1e-9),
        equal("values of a constant feature that are NaN without ε", measured.lost, 1.0, "%"),
        at_most("γ = √(σ² + ε) and β = μ undo it: difference", measured.undone_apart, 1e-12),
    ]
    wide, narrow = measured.deviation[widest], measured.deviation[narrowest]
    one = [
        between(f"deviation {s:g} afterwards", measured.deviation[s], 0.99, 1.01) for s in SPREADS
    ]
    more = [
        noted("largest difference of the deviation from |γ|", measured.scaled_deviation),
        at_least("largest deviation that is left", max(measured.deviation.values()), 0.99),
    ]
    if not all_met(formula) or not more[1].met:
        verdict = FAILS
        told = (
            f"What the layer gives differs from the formula by {measured.forward_apart:.2g}, and"
            f" the mean that is left is {measured.mean:.2g}."
        )
    else:
        verdict = HOLDS if all_met(one) else CONDITIONAL
        told = (
            f"The formula holds to {measured.forward_apart:.0e} and means are zero, but a feature"
            f" of deviation {widest:g} gets {wide:.4f} and one of {narrowest:g} gets {narrow:.4f}:"
            f" the deviation is one where it was well above √ε = {math.sqrt(EPSILON):.1g}, and a"
            " constant feature stays constant and passes no gradient."
        )
    return Judgement(verdict=verdict, conditions=told, measurements=[*formula, *one, *more])


def show(measured: Measured) -> list[Picture | Grid]:
    """What each deviation becomes."""
    return [
        picture(
            "lines",
            "The deviation that batch normalization leaves",
            x=SPREADS,
            y={
                "measured": measured.deviation.values(),
                "s/√(s² + ε)": measured.predicted.values(),
                "as taught": [1.0] * len(SPREADS),
            },
            x_title="standard deviation s of the feature before",
            y_title="standard deviation after",
            x_log=True,
            alt=f"From s = {SPREADS[1]:g} {measured.deviation[SPREADS[1]]:.3f} is left, from s = 1"
            f" {measured.deviation[1.0]:.4f}.",
            caption=f"ε = {EPSILON:g}: a deviation of √ε = {math.sqrt(EPSILON):.1g} becomes 0.71.",
        ),
        table(
            "A feature before and after",
            ("deviation before", "after", "predicted"),
            [(f"{s:g}", measured.deviation[s], measured.predicted[s]) for s in SPREADS],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"normalized": False},
    sources=("Ioffe & Szegedy 2015, Batch Normalization",),
    lesson=(
        "Batch normalization subtracts the mean of the batch and divides by √(σ² + ε), then γ and β"
        " set any mean and deviation, also the old ones. A feature that varies much less than √ε"
        " is not brought to deviation one, and one that never varies comes out as β with no"
        " gradient behind it. Without ε that feature would be 0/0, which is NaN for every"
        " sample."
    ),
)
