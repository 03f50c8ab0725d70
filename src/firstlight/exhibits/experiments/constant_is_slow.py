"""Are constant weights slow and stubborn?

A network whose weights start at one constant converges slowly, and adapts badly when the task
changes, compared with the same network from random weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

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
from firstlight.exhibits.training import Training, accuracy, train
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Picture

WIDTHS, CONSTANT, RATES, SMOOTH = (64, 16, 10), 0.1, (0.1, 0.3), 10
NEAR, FAR = 1.8, 1.0
"""Losses to reach: from 2.3, one that equal units reach in time, and one that teaches something."""


@dataclass(frozen=True)
class Course:
    """Steps to each loss by seed, before and after the labels change; the whole task by then."""

    rate: float
    near: tuple[float, ...]
    far: tuple[float, ...]
    near_again: tuple[float, ...]
    far_again: tuple[float, ...]
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """The constant start beside random weights; a loss never reached counts as all steps."""

    steps: int
    constant: Course
    random: Course


def measure(pace: Pace, seed: int, *, weight: Filler = CONSTANT) -> Measured:
    """Train for so many steps, rename all digits (each becomes the next), and train on."""
    steps, count = pace.pick(150, 400), pace.pick(8, 16)
    seeds = [seed * 1000 + i for i in range(count)]
    return Measured(steps, _course(weight, steps, seeds), _course("glorot_normal", steps, seeds))


def _course(weight: Filler, steps: int, seeds: list[int]) -> Course:
    """At the rate that serves the first seed best."""
    tried = {rate: _at_rate(weight, rate, steps, seeds[:1]) for rate in RATES}
    best = min(RATES, key=lambda rate: sum(tried[rate].far) + sum(tried[rate].near))
    return _at_rate(weight, best, steps, seeds)


def _at_rate(weight: Filler, rate: float, steps: int, seeds: list[int]) -> Course:
    data = digits()
    renamed = (data.y + 1) % 10
    first, second, right = [], [], []
    for s in seeds:
        model = start(mlp(WIDTHS, nn.Tanh), weight, seed=s)
        first.append(_train(model, data.y, rate, steps, s))
        second.append(_train(model, renamed, rate, steps, s + 1))
        right.append(accuracy(model, data.held_out_x, (data.held_out_y + 1) % 10))
    curves = [_smooth(a) + _smooth(b) for a, b in zip(first, second, strict=True)]
    return Course(
        rate=rate,
        near=tuple(_steps_to(t, NEAR, steps) for t in first),
        far=tuple(_steps_to(t, FAR, steps) for t in first),
        near_again=tuple(_steps_to(t, NEAR, steps) for t in second),
        far_again=tuple(_steps_to(t, FAR, steps) for t in second),
        accuracies=tuple(right),
        losses=thinned(np.mean(curves, axis=0).tolist())[1],
    )


def _train(model: nn.Module, y: Tensor, rate: float, steps: int, seed: int) -> Training:
    return train(model, digits().x, y, steps=steps, rate=rate, seed=seed)


def _smooth(done: Training) -> list[float]:
    return [float(v) for v in np.convolve(done.losses, np.full(SMOOTH, 1 / SMOOTH), "valid")]


def _steps_to(done: Training, loss: float, most: int) -> float:
    """Steps until ten of them have a mean loss below ``loss``; all of them if never."""
    below = np.array(_smooth(done)) < loss
    return float(below.argmax() + SMOOTH if below.any() else most)


def judge(measured: Measured) -> Judgement:
    """The constant's surplus of steps, paired over seeds, must lie above zero by a whole step."""
    constant, random = measured.constant, measured.random
    checks, lows = [], []
    for what, name in (
        ("near", f"first task, steps to {NEAR:g}"),
        ("far", f"first task, steps to {FAR:g}"),
        ("near_again", f"changed task, steps to {NEAR:g}"),
        ("far_again", f"changed task, steps to {FAR:g}"),
    ):
        a, b = getattr(constant, what), getattr(random, what)
        _, (low, _) = mean_interval([u - v for u, v in zip(a, b, strict=True)])
        lows.append(low)
        checks.append(at_least(f"{name}: constant's surplus, lower end", low, 1.0, "steps"))
        checks.append(noted(f"{name}: constant", sum(a) / len(a), "steps"))
        checks.append(noted(f"{name}: random", sum(b) / len(b), "steps"))
    told = {n: sum(c.accuracies) / len(c.accuracies) for n, c in _both(measured).items()}
    checks += [noted(f"changed task, held-out accuracy: {n}", v, "%") for n, v in told.items()]
    never = sum(v >= measured.steps for v in constant.far)
    slow, stubborn = min(lows[:2]) >= 1, min(lows[2:]) >= 1
    verdict = HOLDS if all_met(checks) else CONDITIONAL if slow or stubborn else FAILS
    conditions = (
        f"To a loss of {NEAR:g} the constant start takes {np.mean(constant.near):.0f} steps and the"
        f" random one {np.mean(random.near):.0f}, after the labels change"
        f" {np.mean(constant.near_again):.0f} and {np.mean(random.near_again):.0f}; a loss of"
        f" {FAR:g} takes {np.mean(random.far):.0f} steps from random weights, and is not reached in"
        f" {measured.steps} from {never} of {len(constant.far)} constant starts; accuracies at the"
        f" end are {told['constant']:.0%} and {told['random']:.0%}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _both(measured: Measured) -> dict[str, Course]:
    return {"constant": measured.constant, "random": measured.random}


def show(measured: Measured) -> list[Picture | Grid]:
    """Both curves over both tasks, and the steps."""
    both = _both(measured)
    at, _ = thinned(range(2 * (measured.steps - SMOOTH + 1)))
    return [
        picture(
            "lines",
            "Two tasks, one after the other",
            x=at,
            y={name: course.losses for name, course in both.items()},
            x_title="step",
            y_title=f"loss, mean of {SMOOTH} steps",
            alt="Last losses: "
            + ", ".join(f"{n} {c.losses[-1]:.2f}" for n, c in both.items())
            + ".",
            caption="Half-way every digit gets the name of the next. Means over seeds, each start"
            " at its best learning rate.",
        ),
        table(
            f"Mean steps to a loss ({measured.steps}: not reached)",
            ("start", *(f"{t}, {v:g}" for t in ("first", "changed") for v in (NEAR, FAR)), "rate"),
            [
                (
                    n,
                    *(float(np.mean(v)) for v in (c.near, c.far, c.near_again, c.far_again)),
                    c.rate,
                )
                for n, c in both.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"weight": "glorot_normal"},
    sources=("Common lecture claim on constant initialization",),
    lesson=(
        "A layer of equal units has one direction in which it can learn, so it takes longer to"
        " whatever it can reach. Most of the task lies beyond its reach, and more steps do not"
        " change that as long as the units stay equal. When the task changes, the one direction has"
        " to turn round, where random units find something of use among themselves."
    ),
)
