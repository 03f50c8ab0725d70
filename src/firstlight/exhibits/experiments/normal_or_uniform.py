"""Normal or uniform: does it matter?

It makes no difference whether weights come from a normal or from a uniform distribution, as long as
the two have the same variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
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
    at_most,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, passage, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Measurement, Picture

NETS: dict[str, tuple[type[nn.Module], str]] = {
    "ReLU, He": (nn.ReLU, "he"),
    "tanh, Glorot": (nn.Tanh, "glorot"),
}
LAWS = ("normal", "uniform")
WIDTHS, RATE = (64, 32, 32, 32, 10), 0.1
DEEP = (64,) * 8
POINTS = 0.05
"""Accuracies that differ by less than five points pass as equal."""
GAP = 0.05
"""So do factors of a layer that differ by less than 5 %."""


@dataclass(frozen=True)
class Measured:
    """For each net and law: factors of a layer and accuracies, by seed."""

    steps: int
    factors: dict[str, dict[str, tuple[float, ...]]]
    accuracies: dict[str, dict[str, tuple[float, ...]]]
    largest: dict[str, float]
    raw: dict[str, float]


def measure(pace: Pace, seed: int, *, ratio: float = 1.0) -> Measured:
    """Both laws with the same seeds; ``ratio`` is the uniform law's variance over the normal's."""
    seeds = [1000 * seed + i for i in range(pace.pick(6, 16))]
    steps = pace.pick(80, 400)
    factors: dict[str, dict[str, tuple[float, ...]]] = {}
    accuracies: dict[str, dict[str, tuple[float, ...]]] = {}
    for name, (kind, family) in NETS.items():
        factors[name], accuracies[name] = {}, {}
        for law in LAWS:
            by = ratio if law == "uniform" else 1.0
            technique = f"{family}_{law}"
            factors[name][law] = tuple(
                passage(kind, technique, DEEP, factor=by, samples=64, seed=s).per_layer()[0]
                for many in range(3)
                for s in (v + 100 * many for v in seeds)
            )
            accuracies[name][law] = tuple(_trained(kind, technique, by, steps, s) for s in seeds)
    drawn = {law: fl.draw(f"he_{law}", (256, 256), name="w", seed=seed) for law in LAWS}
    rng = np.random.default_rng(seed)
    raw = {"N(0, 1)": rng.standard_normal(10_000), "U(0, 1)": rng.random(10_000)}
    return Measured(
        steps=steps,
        factors=factors,
        accuracies=accuracies,
        largest={law: float(np.abs(w).max() / w.std()) for law, w in drawn.items()},
        raw={name: float(np.mean(values**2)) for name, values in raw.items()},
    )


def _trained(kind: type[nn.Module], technique: str, factor: float, steps: int, seed: int) -> float:
    data = digits()
    model = start(mlp(WIDTHS, kind), technique, seed=seed)
    with torch.no_grad():
        for layer in linears(model):
            _scale(layer.weight, factor)
    train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed)
    return accuracy(model, data.held_out_x, data.held_out_y)


def _scale(weight: Tensor, factor: float) -> None:
    weight.mul_(math.sqrt(factor))


def _differences(measured: Measured, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals of ln(uniform's factor / normal's), and of the difference in accuracy, by seed."""
    factors, right = measured.factors[name], measured.accuracies[name]
    logs = np.log(factors["uniform"]) - np.log(factors["normal"])
    points = np.subtract(right["uniform"], right["normal"])
    return mean_interval(logs.tolist())[1], mean_interval(points.tolist())[1]


def judge(measured: Measured) -> Judgement:
    """The ends of the 95 % intervals must lie within the margins."""
    checks: list[Measurement] = []
    said, signal = [], True
    for name in NETS:
        (low, high), (worst, best) = _differences(measured, name)
        factor = [
            at_least(
                f"{name}: uniform over normal, factor of a layer, low end", math.exp(low), 1 - GAP
            ),
            at_most(
                f"{name}: uniform over normal, factor of a layer, high end", math.exp(high), 1 + GAP
            ),
        ]
        signal = signal and all_met(factor)
        checks += [
            *factor,
            at_least(f"{name}: accuracy, uniform less normal, low end", worst, -POINTS, "%"),
            at_most(f"{name}: accuracy, uniform less normal, high end", best, POINTS, "%"),
            *(
                noted(f"{name}, {law}: accuracy", float(np.mean(values)), "%")
                for law, values in measured.accuracies[name].items()
            ),
        ]
        said.append(
            f"{name}: factor of a layer × {math.exp(low):.3f} to {math.exp(high):.3f}, accuracy"
            f" {100 * worst:+.1f} to {100 * best:+.1f} points"
        )
    checks += [
        *(noted(f"largest weight in deviations, {law}", v) for law, v in measured.largest.items()),
        *(noted(f"mean square of {name}", value) for name, value in measured.raw.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if signal else FAILS
    conditions = f"Uniform against normal, 95 % intervals: {'; '.join(said)}."
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Accuracy seed by seed, and the means of both laws."""
    rows, pictures = [], []
    for name in NETS:
        right = measured.accuracies[name]
        means = {law: mean_interval(right[law]) for law in LAWS}
        pictures.append(
            picture(
                "points",
                f"Accuracy by seed, {name}",
                x=range(1, len(right["normal"]) + 1),
                y={law: [100 * v for v in values] for law, values in right.items()},
                x_title="seed",
                y_title=f"held-out accuracy after {measured.steps} steps, %",
                alt=", ".join(
                    f"{law} {100 * mean:.1f} % on average" for law, (mean, _) in means.items()
                )
                + ".",
            )
        )
        for law in LAWS:
            mean, (low, high) = means[law]
            factor, _ = mean_interval(measured.factors[name][law])
            rows.append((name, law, factor, 100 * mean, 100 * low, 100 * high))
    heads = ("network", "law", "factor of a layer", "accuracy, %", "low end", "high end")
    return [*pictures, table("Means, with 95 % intervals of the accuracy", heads, rows)]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"ratio": 0.25},
    sources=(
        "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward networks",
        "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers",
    ),
    lesson=(
        "A unit sums many weights, and of such a sum nothing but the variance of the weights is"
        " left to see. So the law of the weights hardly matters and its variance does, which is"
        " why each technique has a uniform twin with the limit √3 times the deviation. The"
        " numbers of a library's plain uniform law from 0 to 1 are no such twin, having another"
        " variance and another mean."
    ),
)
