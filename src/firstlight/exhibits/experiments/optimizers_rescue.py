"""Does Adam make up for a bad start?

Adaptive optimizers set the size of each weight's step themselves, so they make up for a bad start:
weights that are too small, too large, constant or zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

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
from firstlight.exhibits.networks import Filler, mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import Optimizer, accuracy, train
from firstlight.records.exhibit import Grid, Measurement, Picture

WIDTHS = (64, 32, 32, 32, 10)
OPTIMIZERS: dict[str, tuple[Optimizer, tuple[float, ...]]] = {
    "SGD": (torch.optim.SGD, (0.1, 1.0)),
    "momentum": (partial(torch.optim.SGD, momentum=0.9), (0.01, 0.1)),
    "RMSProp": (torch.optim.RMSprop, (0.003, 0.03)),
    "Adam": (torch.optim.Adam, (0.003, 0.03)),
}
"""Each with two rates, a factor of ten apart."""
NEAR = 0.05
"""A start is "rescued" if the accuracy is within five points of the good start's."""


def _normal(deviation: float) -> Callable[[Tensor], object]:
    return lambda weight: weight.normal_(0.0, deviation)


STARTS: dict[str, Filler] = {
    "good (He)": "he_normal",
    "small (deviation 0.01)": _normal(0.01),
    "large (deviation 2)": _normal(2.0),
    "constant 0.1": 0.1,
    "zero": 0.0,
}


@dataclass(frozen=True)
class Measured:
    """Best accuracy of the two rates, by start and optimizer, and the rate that gave it."""

    steps: int
    accuracy: dict[str, dict[str, float]]
    rate: dict[str, dict[str, float]]


def measure(pace: Pace, seed: int, *, good: bool = False) -> Measured:
    """Train each start with each optimizer; ``good`` puts He's start in the place of all."""
    steps = pace.pick(80, 600)
    found: dict[str, dict[str, float]] = {}
    rates: dict[str, dict[str, float]] = {}
    for name, weight in STARTS.items():
        filler = "he_normal" if good else weight
        found[name], rates[name] = {}, {}
        for optimizer, (make, tried) in OPTIMIZERS.items():
            by_rate = {r: _trained(filler, make, r, steps, seed) for r in tried}
            rates[name][optimizer] = max(by_rate, key=lambda r: by_rate[r])
            found[name][optimizer] = max(by_rate.values())
    return Measured(steps, found, rates)


def _trained(weight: Filler, optimizer: Optimizer, rate: float, steps: int, seed: int) -> float:
    data = digits()
    model = start(mlp(WIDTHS), weight, seed=seed)
    train(model, data.x, data.y, steps=steps, rate=rate, optimizer=optimizer, seed=seed)
    return accuracy(model, data.held_out_x, data.held_out_y)


def judge(measured: Measured) -> Judgement:
    """What SGD cannot train and Adam can is rescued; the claim wants all of it."""
    found = measured.accuracy
    good = next(iter(STARTS))
    aim = max(found[good].values()) - NEAR
    checks: list[Measurement] = []
    helped: list[str] = []
    rescued: list[str] = []
    lost: list[str] = []
    for name in STARTS:
        if name == good:
            checks += [noted(f"{name}, {o}: accuracy", v, "%") for o, v in found[name].items()]
            continue
        adaptive = max(found[name]["Adam"], found[name]["RMSProp"])
        plain = found[name]["SGD"]
        checks.append(at_least(f"{name}: accuracy of the better adaptive one", adaptive, aim, "%"))
        checks += [noted(f"{name}, {o}: accuracy", v, "%") for o, v in found[name].items()]
        (rescued if adaptive >= aim else lost).append(name)
        if adaptive >= plain + 2 * NEAR:
            helped.append(name)
    verdict = FAILS if not helped else CONDITIONAL if lost else HOLDS
    conditions = (
        f"With {measured.steps} steps at the best of two rates an adaptive optimizer beats SGD by"
        f" ten points from these starts: {_named(helped)}; it comes within five points of the good"
        f" start ({aim + NEAR:.0%}) from {_named(rescued)}, and not from {_named(lost)}."
    )
    if verdict == FAILS and all_met(checks):
        checks.append(
            at_least("starts from which it beats SGD by ten points", float(len(helped)), 1.0)
        )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _named(starts: list[str]) -> str:
    return ", ".join(starts) if starts else "none"


def show(measured: Measured) -> list[Picture | Grid]:
    """Every start with every optimizer."""
    found = measured.accuracy
    return [
        picture(
            "map",
            "Accuracy by start and optimizer",
            x=list(OPTIMIZERS),
            y={name: [100 * v for v in row.values()] for name, row in found.items()},
            x_title="optimizer",
            y_title="held-out accuracy, %",
            alt="; ".join(
                f"{n}: SGD {100 * row['SGD']:.0f} %, Adam {100 * row['Adam']:.0f} %"
                for n, row in found.items()
            )
            + ".",
            caption=f"Each at the best of two learning rates, {measured.steps} steps.",
        ),
        table(
            "Accuracy, %, and the learning rate that gave it",
            ("start", "optimizer", "accuracy, %", "rate"),
            [
                (n, o, 100 * v, measured.rate[n][o])
                for n, row in found.items()
                for o, v in row.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"good": True},
    sources=(
        "Kingma & Ba 2015, Adam: a method for stochastic optimization",
        "Tieleman & Hinton 2012, Lecture 6.5: RMSProp",
    ),
    lesson=(
        "Adam divides each gradient by its own size, so a gradient that is merely small is no"
        " obstacle: it trains small random weights, and large ones in part, where plain descent"
        " stays at a guess. What it cannot do is tell equal units apart or move a weight whose"
        " gradient is exactly zero, so constant weights keep one unit per layer and zero ones stay"
        " zero under every optimizer. An adaptive optimizer mends the scale of a start as far as"
        " that goes, never its symmetry."
    ),
)
