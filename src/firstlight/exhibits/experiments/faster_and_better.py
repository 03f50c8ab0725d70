"""Does a good start converge faster and end better?

A good start makes training converge faster, and makes the trained network better, than zero or
small random weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

import firstlight as fl
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
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import Trial, best_of_rates
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Picture

WIDTH, LAYERS = 32, 4
RATES = (0.1, 0.3)
TARGET = 0.5  # loss, smoothed over ten steps
POOR, GOOD = ("zero", "small random"), ("Glorot", "He", "plan")
NOT_REACHED = math.inf


def _small(weight: Tensor) -> None:
    nn.init.normal_(weight, std=0.1)


STARTS: dict[str, Filler] = {
    "zero": 0.0,
    "small random": _small,
    "Glorot": "glorot_normal",
    "He": "he_normal",
    "plan": "he_normal",  # replaced by what is planned
}


@dataclass(frozen=True)
class Measured:
    """By start: steps to the target and accuracy of each seed, and the first seed's losses."""

    layers: int
    steps: int
    to_target: dict[str, tuple[float, ...]]
    accuracy: dict[str, tuple[float, ...]]
    losses: dict[str, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, layers: int = LAYERS) -> Measured:
    """Train a ReLU network of ``layers`` weights from each start, at each start's best rate."""
    seeds, steps = pace.pick(3, 6), pace.pick(120, 1000)
    trials: dict[str, list[Trial]] = {name: [] for name in STARTS}
    for s in range(10 * seed, 10 * seed + seeds):
        for name in STARTS:
            trials[name].append(
                best_of_rates(
                    lambda name=name, s=s: _network(layers, name, s),  # type: ignore[misc]
                    digits(),
                    RATES,
                    steps=steps,
                    seed=s,
                )
            )
    return Measured(
        layers=layers,
        steps=steps,
        to_target={n: tuple(_reached(t.losses) for t in found) for n, found in trials.items()},
        accuracy={n: tuple(t.accuracy for t in found) for n, found in trials.items()},
        losses={n: thinned(found[0].losses, of=steps)[1] for n, found in trials.items()},
    )


def _network(layers: int, name: str, seed: int) -> nn.Sequential:
    model = start(mlp((64, *[WIDTH] * (layers - 1), 10)), STARTS[name], seed=seed)
    if name == "plan":
        data = digits()
        fl.plan(model, data.x[:128], target=data.y[:128]).apply(model, seed=seed)
    return model


def _reached(losses: tuple[float, ...]) -> float:
    smooth = np.convolve(losses, np.ones(10) / 10, mode="valid")
    below = np.flatnonzero(smooth < TARGET)
    return float(below[0] + 10) if len(below) else NOT_REACHED


def judge(measured: Measured) -> Judgement:
    """Faster: a poor start takes half as many steps again. Better: accuracy, with its interval."""
    steps = {name: float(np.median(found)) for name, found in measured.to_target.items()}
    mean = {name: float(np.mean(found)) for name, found in measured.accuracy.items()}
    slowest = max(steps[name] for name in GOOD)
    faster = [
        at_least(
            f"steps to a loss of {TARGET:g}: {name} over the slowest good start",
            steps[name] / slowest if math.isfinite(slowest) else math.nan,
            1.5,
        )
        for name in POOR
    ]
    better = []
    for poor in POOR:
        worst = min(GOOD, key=lambda good: mean[good])
        pairs = zip(measured.accuracy[worst], measured.accuracy[poor], strict=True)
        low = mean_interval([a - b for a, b in pairs])[1][0]
        better.append(
            at_least(f"accuracy of {worst} over {poor}: low end of the interval", low, 0.01, "%")
        )
    spread = max(mean[n] for n in GOOD) - min(mean[n] for n in GOOD)
    checks = [
        *faster,
        *better,
        noted("accuracies of the good starts lie within", spread, "%"),
        *(noted(f"{name}: median steps to the target", s) for name, s in steps.items()),
        *(noted(f"{name}: accuracy", a, "%") for name, a in mean.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(faster) else FAILS
    unsure = [poor for poor, found in zip(POOR, better, strict=True) if not found.met]
    told = (
        f"Steps of {measured.steps} to a loss of {TARGET:g}, and accuracy, with {measured.layers}"
        f" layers, each at its best rate: "
        + "; ".join(f"{name} {_steps(steps[name])} and {mean[name]:.0%}" for name in STARTS)
        + (f"; the good starts are not surely better than {' and '.join(unsure)}" if unsure else "")
        + "."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def _steps(count: float) -> str:
    return f"{count:.0f}" if math.isfinite(count) else "never"


def show(measured: Measured) -> list[Picture | Grid]:
    """The curves, and steps and accuracy of each start."""
    return [
        picture(
            "lines",
            "The same network from five starts",
            x=thinned(range(measured.steps))[0],
            y=measured.losses,
            x_title="step",
            y_title="loss of the batch",
            alt="Losses at the end: "
            + ", ".join(f"{name} {losses[-1]:.2f}" for name, losses in measured.losses.items())
            + ".",
        ),
        table(
            "Each at its best rate (– never)",
            ("start", "median steps to the target", "lowest accuracy, %", "mean accuracy, %"),
            [
                (
                    n,
                    s if math.isfinite(s := float(np.median(measured.to_target[n]))) else None,
                    100 * min(a),
                    100 * float(np.mean(a)),
                )
                for n, a in measured.accuracy.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"layers": 1},
    sources=(
        "Glorot & Bengio 2010, Understanding the Difficulty of Training Deep Networks",
        "Mishkin & Matas 2016, All You Need Is a Good Init",
    ),
    lesson=(
        "With several layers the start decides whether and when learning begins, for signal and"
        " gradient must first reach all of them. Among starts that let them pass, the end is nearly"
        " the same, so a good start saves steps more than it adds accuracy. With one layer the loss"
        " is convex, and every start comes to the same end, zero included."
    ),
)
