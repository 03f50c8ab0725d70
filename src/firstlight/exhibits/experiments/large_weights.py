"""What is wrong with large weights?

Large numbers multiply to monsters: four weights of 10⁶ make 10²⁴ (often misprinted as 1024). Units
saturate, gradients explode, weights swing and miss the optimum, and training slows down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from firstlight.exhibits.digits import digits, doubled
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
    noted,
)
from firstlight.exhibits.networks import Filler, linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import accuracy, train_many
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATES = (64, 32, 32, 32, 32, 10), (0.0003, 0.003, 0.03, 0.3)
ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], str, float]] = {
    "tanh": (nn.Tanh, "glorot_normal", 0.99),
    "sigmoid": (nn.Sigmoid, "glorot_normal", 0.99),
    "ReLU": (nn.ReLU, "he_normal", math.inf),
}
"""Each with its proper start and the output (or one less it) at which it counts as saturated."""


@dataclass(frozen=True)
class Course:
    """A start and its training: at its best rate, and at the proper start's best rate."""

    saturated: float
    growth: float
    gradient: float
    accuracy: float
    rate: float
    losses: tuple[float, ...]
    by_rate: dict[float, tuple[tuple[float, ...], float]]


@dataclass(frozen=True)
class Measured:
    """The chain, the layers until float32 overflows, and large and proper starts."""

    steps: int
    chain: float
    layers_to_overflow: int
    large: dict[str, Course]
    proper: dict[str, Course]


def measure(pace: Pace, seed: int, *, weight: Filler | None = None) -> Measured:
    """N(0, 1) against the proper start of each activation; ``weight`` replaces N(0, 1)."""
    steps = pace.pick(150, 1500)
    large: Filler = weight if weight is not None else lambda w: w.normal_()
    value, layers = torch.tensor(1.0), 0
    while torch.isfinite(value):
        value, layers = value * 1e6, layers + 1
    return Measured(
        steps=steps,
        chain=float(torch.full((4,), 1e6, dtype=torch.float64).prod()),
        layers_to_overflow=layers,
        large={n: _course(n, large, steps, seed) for n in ACTIVATIONS},
        proper={n: _course(n, usual, steps, seed) for n, (_, usual, _) in ACTIVATIONS.items()},
    )


def _course(name: str, filler: Filler, steps: int, seed: int) -> Course:
    data, (kind, _, bound) = digits(), ACTIVATIONS[name]
    exact = start(mlp(WIDTHS, kind), filler, seed=seed).double()
    look = signals(exact, doubled().x, data.y)
    outputs = torch.cat([kind()(z).flatten() for z in look.z[:-1]])
    beyond = outputs.abs() > bound
    if name == "sigmoid":
        beyond |= outputs < 1 - bound
    slopes = [layer.weight.grad for layer in linears(exact)]
    models = [start(mlp(WIDTHS, kind), filler, seed=seed) for _ in RATES]
    done = train_many(models, data.x, data.y, steps=steps, rates=RATES, seeds=[seed] * len(RATES))
    ends = [accuracy(m, data.held_out_x, data.held_out_y) for m in models]
    best = max(range(len(RATES)), key=ends.__getitem__)
    return Course(
        saturated=float(beyond.double().mean()),
        growth=float(look.delta[0].norm() / look.delta[-1].norm()),
        gradient=sum(float(g.square().sum()) for g in slopes if g is not None) ** 0.5,
        accuracy=ends[best],
        rate=RATES[best],
        losses=done[best].losses,
        by_rate={r: (d.losses, e) for r, d, e in zip(RATES, done, ends, strict=True)},
    )


def judge(measured: Measured) -> Judgement:
    """Chain, saturation, explosion, swings, and less learned even at the best rate."""
    large, proper = measured.large, measured.proper
    swings = {n: large[n].gradient / proper[n].gradient for n in large}
    # Two shares of 360 digits differ by chance by up to 2 √(2 · ¼ / 360) = 7 points.
    chance = 2 * math.sqrt(0.5 / 360)
    slower = [
        at_most(
            f"{n}: accuracy at its best rate",
            c.accuracy,
            round(proper[n].accuracy - chance, 3),
            "%",
        )
        for n, c in large.items()
    ]
    checks = [
        at_most(
            "10⁶ four times: relative distance from 10²⁴", abs(measured.chain / 1e24 - 1), 1e-12
        ),
        at_least("tanh: outputs beyond ±0.99", large["tanh"].saturated, 0.5, "%"),
        at_least("ReLU: gradient at layer 1 over that at the head", large["ReLU"].growth, 10.0),
        at_least("ReLU: first gradient over the proper start's", swings["ReLU"], 10.0, "times"),
        *slower,
        noted("the true product over the misprint 1024", measured.chain / 1024, "times"),
        noted("layers of 10⁶ until float32 is infinite", float(measured.layers_to_overflow)),
        noted("sigmoid: outputs below 0.01 or above 0.99", large["sigmoid"].saturated, "%"),
        noted("tanh: gradient at layer 1 over that at the head", large["tanh"].growth),
        noted("sigmoid: gradient at layer 1 over that at the head", large["sigmoid"].growth),
        *(noted(f"{n}: accuracy of the proper start", c.accuracy, "%") for n, c in proper.items()),
        noted(
            f"ReLU: accuracy at the proper start's best rate, {proper['ReLU'].rate:g}",
            large["ReLU"].by_rate[proper["ReLU"].rate][1],
            "%",
        ),
    ]
    grows = all_met(checks[1:4])
    slows = [m.met for m in slower]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if grows and any(slows) else FAILS
    conditions = (
        f"From N(0, 1) {large['tanh'].saturated:.0%} of tanh outputs are beyond ±0.99, ReLU's"
        f" gradient grows {large['ReLU'].growth:.2g} times on the way back and is"
        f" {swings['ReLU']:.2g} times the proper start's; at their best rates tanh reaches"
        f" {large['tanh'].accuracy:.0%} and ReLU {large['ReLU'].accuracy:.0%} after"
        f" {measured.steps} steps, proper starts {proper['tanh'].accuracy:.0%} and"
        f" {proper['ReLU'].accuracy:.0%}; sigmoid, {large['sigmoid'].accuracy:.0%} against"
        f" {proper['sigmoid'].accuracy:.0%}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Curves at each one's best rate, ReLU's at all rates, and the table of starts."""
    large, proper = measured.large, measured.proper
    curves = {f"{n}, N(0, 1)": c for n, c in large.items()}
    curves |= {f"{n}, proper": c for n, c in proper.items()}
    steps, _ = thinned(range(measured.steps))
    relu = {f"rate {r:g}": losses for r, (losses, _) in large["ReLU"].by_rate.items()}
    return [
        picture(
            "lines",
            "Each start at its best rate",
            x=steps,
            y={n: thinned(c.losses, of=measured.steps)[1] for n, c in curves.items()},
            x_title="step",
            y_title="loss of the batch",
            y_log=True,
            alt="Held-out accuracies at the end: "
            + ", ".join(f"{n} {c.accuracy:.0%}" for n, c in curves.items())
            + ".",
        ),
        picture(
            "lines",
            "Swings: ReLU from N(0, 1) at four rates",
            x=range(min(100, measured.steps)),
            y={n: losses[:100] for n, losses in relu.items()},
            x_title="step",
            y_title="loss of the batch",
            y_log=True,
            alt=f"The loss begins at {relu['rate 0.3'][0]:.3g}, and swings the more the larger the"
            " learning rate.",
            caption="A curve that ends early has left the range of float32.",
        ),
        table(
            "Starts",
            ("start", "saturated, %", "layer 1 over head", "gradient", "accuracy, %", "best rate"),
            [
                (n, 100 * c.saturated, c.growth, c.gradient, 100 * c.accuracy, c.rate)
                for n, c in curves.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"weight": "glorot_normal"},
    sources=("Glorot & Bengio 2010, Understanding the difficulty of training deep networks",),
    lesson=(
        "The product of large weights grows with every layer, so a loss and a gradient that are"
        " hundreds of times too large throw the weights about. Bounded units cannot grow and"
        " saturate instead, which leaves their weights where chance has put them. A smaller"
        " learning rate calms the swings but does not bring back what was lost at the start."
    ),
)
