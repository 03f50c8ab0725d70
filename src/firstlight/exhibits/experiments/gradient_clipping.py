"""Does clipping save an exploding network?

Clipping the norm of the gradient is a remedy for exploding gradients. We try it on a network that
explodes mildly, on one that explodes wildly, on one that is saturated, and on one whose forward
pass has overflowed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from firstlight.exhibits.digits import digits
from firstlight.exhibits.experiment import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_least,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Measurement, Picture

CASES: dict[str, tuple[type[nn.Module], float]] = {
    "mild explosion": (nn.ReLU, 1.5),
    "wild explosion": (nn.ReLU, 4.0),
    "saturated tanh": (nn.Tanh, 30.0),
    "overflowed forward pass": (nn.ReLU, 1e6),
}
"""Activation, and scale of He's (ReLU) or Glorot's (tanh) deviation."""
RATE, CLIP, HIDDEN, WIDTH = 0.1, 1.0, 8, 32
SAVED = 0.2
"""Clipping "saves" if it adds at least 20 points of accuracy."""


@dataclass(frozen=True)
class Measured:
    """For each case and seed: accuracy without and with clipping, and how many diverged."""

    steps: int
    plain: dict[str, tuple[float, ...]]
    clipped: dict[str, tuple[float, ...]]
    diverged: dict[str, tuple[int, int]]
    healthy: float


def measure(pace: Pace, seed: int, *, explode: bool = True) -> Measured:
    """Train each case twice from the same start; without ``explode`` all starts are healthy."""
    steps, seeds = pace.pick(80, 400), range(1000 * seed, 1000 * seed + pace.pick(3, 6))
    plain, clipped, diverged = {}, {}, {}
    for name, (kind, scale) in CASES.items():
        scale = scale if explode else 1.0
        a = [_trained(kind, scale, steps, s, None) for s in seeds]
        b = [_trained(kind, scale, steps, s, CLIP) for s in seeds]
        plain[name], clipped[name] = tuple(v for v, _ in a), tuple(v for v, _ in b)
        diverged[name] = (sum(d for _, d in a), sum(d for _, d in b))
    healthy, _ = _trained(nn.ReLU, 1.0, steps, seeds[0], None)
    return Measured(steps, plain, clipped, diverged, healthy)


def _trained(
    kind: type[nn.Module], scale: float, steps: int, seed: int, clip: float | None
) -> tuple[float, bool]:
    data, technique = digits(), "he_normal" if kind is nn.ReLU else "glorot_normal"
    model = start(mlp((64, *(WIDTH,) * HIDDEN, 10), kind), technique, seed=seed)
    with torch.no_grad():
        for layer in linears(model):
            layer.weight.mul_(scale)
    run = train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed, clip=clip)
    return accuracy(model, data.held_out_x, data.held_out_y), run.diverged


def _gain(measured: Measured, name: str) -> float:
    pairs = zip(measured.clipped[name], measured.plain[name], strict=True)
    return mean_interval([a - b for a, b in pairs])[0]


def judge(measured: Measured) -> Judgement:
    """A remedy must save every case; one that saves only mild explosions is one with conditions."""
    gains = {name: _gain(measured, name) for name in CASES}
    after = {name: mean_interval(measured.clipped[name])[0] for name in CASES}
    checks: list[Measurement] = []
    for name, gain in gains.items():
        checks.append(at_least(f"{name}: accuracy that clipping adds", gain, SAVED, "%"))
        checks.append(noted(f"{name}: accuracy with clipping", after[name], "%"))
        for how, n in zip(("without", "with"), measured.diverged[name], strict=True):
            checks.append(noted(f"{name}: runs that diverged {how} clipping", float(n), "runs"))
    checks.append(noted("He's start without clipping: accuracy", measured.healthy, "%"))
    verdict = HOLDS if all_met(checks) else CONDITIONAL if checks[0].met else FAILS
    told = ", ".join(f"{n} {100 * g:+.0f} to {after[n]:.0%}" for n, g in gains.items())
    runs = len(measured.plain["mild explosion"])
    conditions = (
        f"Points of accuracy that clipping to norm {CLIP:g} adds ({runs} seeds, {measured.steps}"
        f" steps): {told}; a healthy start gives {measured.healthy:.0%} without it."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Accuracies side by side, and divergence."""
    means = {
        how: [100 * mean_interval(by[name])[0] for name in CASES]
        for how, by in (("without clipping", measured.plain), ("with clipping", measured.clipped))
    }
    pairs = zip(CASES, *means.values(), strict=True)
    return [
        picture(
            "bars",
            "Accuracy without and with clipping",
            x=list(CASES),
            y=means,
            x_title="start",
            y_title="held-out accuracy, %",
            alt="; ".join(f"{name}: {a:.0f} % without, {b:.0f} % with" for name, a, b in pairs)
            + ".",
            caption=f"A healthy start reaches {measured.healthy:.0%}; a guess 10 %.",
        ),
        table(
            "Runs that diverged",
            ("start", "without clipping", "with clipping", "runs"),
            [(name, *measured.diverged[name], len(measured.plain[name])) for name in CASES],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"explode": False},
    sources=(
        "Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks",
    ),
    lesson=(
        "Clipping bounds the step, so a network whose gradients explode mildly survives its first"
        " updates and learns. It does not shrink what goes forward: outputs that are far"
        " too large stay so for many small steps, saturated units stay saturated, and a gradient"
        " that is NaN has no norm to clip. Clip against rare bad steps, and start right against"
        " explosion at the start."
    ),
)
