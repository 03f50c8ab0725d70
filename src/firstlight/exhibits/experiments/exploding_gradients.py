"""What do exploding gradients do?

Where weights are too large, gradients grow from layer to layer on their way back. The loss then
jumps and diverges, numbers overflow, and training fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

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
    at_most,
    equal,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

RATES = (0.1, 0.01, 0.001)
SHALLOW, DEEP, WIDTH = 3, 10, 32
TANH_SCALE = 5.0
"""In units of Glorot's deviation, for the network that cannot overflow."""


@dataclass(frozen=True)
class Course:
    """One start: δ first over last layer, and for each rate losses, divergence and accuracy."""

    growth: float
    losses: dict[float, tuple[float, ...]]
    diverged: dict[float, bool]
    accuracy: dict[float, float]

    def jump(self, rate: float) -> float:
        """Largest rise of the loss in one step over ln 10; infinite if it diverged."""
        if self.diverged[rate]:
            return math.inf
        losses = self.losses[rate]
        rises = (b - a for a, b in pairwise(losses))
        return max(rises) / math.log(10)

    def ends(self, rate: float) -> float:
        """Steps until the loss was no number; infinite if it always was one."""
        return len(self.losses[rate]) if self.diverged[rate] else math.inf

    @property
    def best(self) -> float:
        """Accuracy at the best rate."""
        return max(self.accuracy.values())


@dataclass(frozen=True)
class Measured:
    """Courses by name; the first is He's start, the second the one that is asked about."""

    steps: int
    scale: float
    courses: dict[str, Course]


def measure(pace: Pace, seed: int, *, scale: float = 2.0) -> Measured:
    """Train from He's deviation times ``scale`` at three rates, and from other starts beside it."""
    steps = pace.pick(80, 600)
    nets: dict[str, tuple[type[nn.Module], float, int]] = {
        "ReLU, He, deep": (nn.ReLU, 1.0, DEEP),
        f"ReLU, He × {scale:g}, deep": (nn.ReLU, scale, DEEP),
        f"ReLU, He × {scale:g}, shallow": (nn.ReLU, scale, SHALLOW),
        "tanh, large, deep": (nn.Tanh, TANH_SCALE if scale > 1 else 1.0, DEEP),
    }
    names = ("He", "asked", "shallow", "tanh")
    courses = {n: _course(*net, steps, seed) for n, net in zip(names, nets.values(), strict=True)}
    return Measured(steps, scale, courses)


def _course(kind: type[nn.Module], scale: float, hidden: int, steps: int, seed: int) -> Course:
    data, technique = digits(), "he_normal" if kind is nn.ReLU else "glorot_normal"
    losses: dict[float, tuple[float, ...]] = {}
    diverged, right, growth = {}, {}, 0.0
    for rate in RATES:
        model = start(mlp((64, *(WIDTH,) * hidden, 10), kind), technique, seed=seed)
        with torch.no_grad():
            for layer in linears(model):
                layer.weight.mul_(scale)
        delta = signals(model, data.x, data.y).delta
        growth = float(delta[0].norm() / delta[-1].norm())
        run = train(model, data.x, data.y, steps=steps, rate=rate, seed=seed)
        losses[rate], diverged[rate] = run.losses, run.diverged
        right[rate] = accuracy(model, data.held_out_x, data.held_out_y)
    return Course(growth, losses, diverged, right)


def judge(measured: Measured) -> Judgement:
    """Growth, jumps, overflow and failure, each beside He's start; then what tanh does."""
    he, asked, shallow, tanh = (measured.courses[n] for n in ("He", "asked", "shallow", "tanh"))
    usual = max(RATES, key=lambda rate: he.accuracy[rate])
    relu = [
        at_least("ReLU: δ, first layer over last", asked.growth, 50.0),
        at_most(
            f"ReLU at the rate that is best for He, {usual:g}: steps until the loss overflows",
            asked.ends(usual),
            measured.steps,
            "steps",
        ),
        at_least(
            "ReLU: largest rise of the loss in a step at rate 0.001, over that from He",
            asked.jump(0.001) / he.jump(0.001),
            5.0,
            "times",
        ),
        at_most("ReLU: accuracy at the best of three rates", asked.best, he.best / 2, "%"),
    ]
    squashed = [
        at_least("tanh: δ, first layer over last", tanh.growth, 50.0),
        equal("tanh: rates at which it diverged", float(sum(tanh.diverged.values())), len(RATES)),
    ]
    checks = [
        *relu,
        *squashed,
        noted("tanh: accuracy at the best of three rates", tanh.best, "%"),
        noted("He: δ, first layer over last", he.growth),
        noted("He: largest rise of the loss at rate 0.001, over ln 10", he.jump(0.001)),
        noted("He: accuracy at the best of three rates", he.best, "%"),
        noted(f"ReLU with {SHALLOW} hidden layers: δ, first layer over last", shallow.growth),
        noted(f"ReLU with {SHALLOW} hidden layers: accuracy", shallow.best, "%"),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(relu) else FAILS
    conditions = (
        f"At {measured.scale:g} times He's deviation and {DEEP} hidden layers δ grows"
        f" {asked.growth:.3g} times, {sum(asked.diverged.values())} of {len(RATES)} rates diverge"
        f" and the best gives {asked.best:.0%} (He {he.best:.0%}); with {SHALLOW} layers δ grows"
        f" {shallow.growth:.3g} times and the best gives {shallow.best:.0%}; in the tanh network δ"
        f" grows {tanh.growth:.3g} times, {sum(tanh.diverged.values())} rates diverge, and the best"
        f" gives {tanh.best:.0%}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Losses at each rate, and the ends."""
    asked, he = measured.courses["asked"], measured.courses["He"]
    curves = {f"× {measured.scale:g}, rate {r:g}": v for r, v in asked.losses.items()}
    curves |= {f"He, rate {r:g}": v for r, v in he.losses.items()}
    steps, _ = thinned(range(measured.steps))
    names = {"He": "ReLU, He", "asked": f"ReLU, He × {measured.scale:g}", "tanh": "tanh, large"}
    names["shallow"] = f"{names['asked']}, {SHALLOW} hidden layers"
    return [
        picture(
            "lines",
            "Loss in training",
            x=steps,
            y={n: [v[s] for s in steps if s < len(v)] for n, v in curves.items()},
            x_title="step",
            y_title="loss of the batch",
            y_log=True,
            alt="Steps until the loss was no number, or the last loss: "
            + ", ".join(
                f"{n} {v[-1]:.2g}" if math.isfinite(v[-1]) else f"{n} {len(v)} steps"
                for n, v in curves.items()
            )
            + ".",
            caption="A curve that ends early has overflowed.",
        ),
        table(
            "Every start at every rate",
            (
                "start",
                "rate",
                "δ first over last",
                "diverged",
                "largest rise / ln 10",
                "accuracy, %",
            ),
            [
                (
                    names[n],
                    r,
                    c.growth,
                    "yes" if c.diverged[r] else "no",
                    c.jump(r),
                    100 * c.accuracy[r],
                )
                for n, c in measured.courses.items()
                for r in RATES
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"scale": 1.0},
    sources=(
        "Bengio, Simard & Frasconi 1994, Learning long-term dependencies is difficult",
        "Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks",
    ),
    lesson=(
        "Twice He's deviation doubles the signal and the gradient in every layer, which a shallow"
        " network survives and a deep one does not: one update throws the loss up, the next one"
        " overflows. A smaller rate avoids the overflow, not the failure. Tanh grows such gradients"
        " as well, but its outputs are bounded, so it does not overflow: it jumps about instead."
    ),
)
