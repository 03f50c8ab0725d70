"""How much does the seed alone decide?

The seed is a lottery: between two seeds, of the start or only of the order of the data, results
differ by as much as between two sensible techniques of initialization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
from firstlight.exhibits.networks import mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train_many
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATES = (64, 16, 16, 10), (0.1, 0.3)
TECHNIQUES = ("he_normal", "glorot_normal", "lecun_normal", "orthogonal")


@dataclass(frozen=True)
class Measured:
    """Held-out accuracy by seed of the start (each technique, best rate) and of the data order."""

    steps: int
    starts: dict[str, tuple[float, ...]]
    orders: tuple[float, ...]


def measure(pace: Pace, seed: int, *, one_seed: bool = False) -> Measured:
    """Vary the seed of the start with the order fixed, and of the order with He's start fixed."""
    steps, count = pace.pick(150, 1000), pace.pick(8, 30)
    seeds = [seed * 1000 + (0 if one_seed else i) for i in range(count)]
    starts, best = {}, RATES[0]
    for technique in TECHNIQUES:
        by_rate = {
            rate: _accuracies(technique, rate, seeds, [seed] * count, steps) for rate in RATES
        }
        rate = max(RATES, key=lambda r: sum(by_rate[r]))
        starts[technique] = by_rate[rate]
        best = rate if technique == "he_normal" else best
    return Measured(steps, starts, _accuracies("he_normal", best, [seed] * count, seeds, steps))


def _accuracies(
    technique: str, rate: float, starts: list[int], orders: list[int], steps: int
) -> tuple[float, ...]:
    data = digits()
    models = [start(mlp(WIDTHS, nn.ReLU), technique, seed=s) for s in starts]
    train_many(models, data.x, data.y, steps=steps, rates=[rate] * len(models), seeds=orders)
    return tuple(accuracy(m, data.held_out_x, data.held_out_y) for m in models)


def _between_techniques(starts: dict[str, tuple[float, ...]]) -> float:
    """Deviation between techniques, freed from what their seeds add: √(s² of means − s² / n)."""
    values = np.array(list(starts.values()))
    noise = values.var(axis=1, ddof=1).mean() / values.shape[1]
    return float(max(0.0, values.mean(1).var(ddof=1) - noise) ** 0.5)


def judge(measured: Measured) -> Judgement:
    """Deviation over seeds against the deviation between techniques."""
    means = {name: mean_interval(values) for name, values in measured.starts.items()}
    techniques = _between_techniques(measured.starts)
    he, least = measured.starts["he_normal"], round(techniques, 5)
    by_start, by_order = float(np.std(he, ddof=1)), float(np.std(measured.orders, ddof=1))
    checks = [
        at_least("seeds of the start: deviation", by_start, least, "%"),
        at_least("seeds of the data order: deviation", by_order, least, "%"),
        at_least("two seeds of the start: largest difference", max(he) - min(he), 1 / 360, "%"),
        noted("techniques: deviation between them", techniques, "%"),
        noted("order seeds: largest difference", max(measured.orders) - min(measured.orders), "%"),
        *(noted(f"{name}: mean accuracy", mean, "%") for name, (mean, _) in means.items()),
    ]
    some = by_start > 0 and max(by_start, by_order) >= techniques
    verdict = HOLDS if all_met(checks) else CONDITIONAL if some else FAILS
    conditions = (
        f"After {measured.steps} steps accuracy has a deviation of {100 * by_start:.2f} points over"
        f" seeds of the start (largest difference {100 * (max(he) - min(he)):.1f}), of"
        f" {100 * by_order:.2f} over data orders, and of {100 * techniques:.2f} between"
        f" {len(means)} techniques, {len(he)} seeds each."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Every seed's accuracy, and the differences."""
    clouds = {**measured.starts, "he_normal, data order": measured.orders}
    means = {name: mean_interval(values) for name, values in clouds.items()}
    return [
        picture(
            "points",
            "Each point is a seed",
            x=range(1, len(measured.orders) + 1),
            y={name: [100 * v for v in values] for name, values in clouds.items()},
            x_title="seed",
            y_title="held-out accuracy, %",
            alt="From worst to best seed: "
            + ", ".join(f"{n} {min(v):.1%} to {max(v):.1%}" for n, v in clouds.items())
            + ".",
            caption="Seeds of the start but for the last series, which varies only the batches.",
        ),
        table(
            "Accuracy over seeds, %",
            ("what varies", "mean", "low end, 95 %", "high end", "worst", "best"),
            [
                (n, 100 * mean, 100 * low, 100 * high, 100 * min(clouds[n]), 100 * max(clouds[n]))
                for n, (mean, (low, high)) in means.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"one_seed": True},
    sources=(
        "Picard 2021, torch.manual_seed(3407) is all you need",
        "Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks",
    ),
    lesson=(
        "Two trainings that differ in nothing but a seed end apart, whether the seed draws the"
        " weights or only shuffles the data. A difference between techniques counts when it is"
        " large against that, which one run cannot show. So compare over several seeds, and name"
        " the interval."
    ),
)
