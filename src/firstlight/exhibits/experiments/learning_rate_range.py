"""Does each start have its own learning rates?

Each technique of initialization has its own range of learning rates that train: some are content
with many, others only with a few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from firstlight.exhibits.digits import digits
from firstlight.exhibits.experiment import (
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
from firstlight.exhibits.training import accuracy, train_many
from firstlight.records.exhibit import Grid, Picture

WIDTHS, TRAINED, PER_DECADE = (64, 32, 32, 32, 10), 0.8, 2
RATES = tuple(round(10 ** (i / PER_DECADE), 5) for i in range(-8, 3))
TECHNIQUES: dict[str, Filler] = {
    "N(0, 0.05²)": lambda w: w.normal_(0.0, 0.05),
    "Glorot": "glorot_normal",
    "He": "he_normal",
    "orthogonal": "orthogonal",
    "N(0, 1)": lambda w: w.normal_(),
}


@dataclass(frozen=True)
class Measured:
    """Mean held-out accuracy over seeds, for each technique at each rate."""

    steps: int
    seeds: int
    accuracies: dict[str, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, techniques: Mapping[str, Filler] = TECHNIQUES) -> Measured:
    """Train a ReLU network from each technique at each rate, on the same batches."""
    steps, count = pace.pick(150, 1000), pace.pick(2, 5)
    data, seeds = digits(), [seed * 1000 + i for i in range(count)]
    found = {}
    for name, filler in techniques.items():
        cases = [(rate, s) for rate in RATES for s in seeds]
        models = [start(mlp(WIDTHS, nn.ReLU), filler, seed=s) for _, s in cases]
        rates = [rate for rate, _ in cases]
        train_many(models, data.x, data.y, steps=steps, rates=rates, seeds=[s for _, s in cases])
        right = [accuracy(model, data.held_out_x, data.held_out_y) for model in models]
        found[name] = tuple(sum(right[i : i + count]) / count for i in range(0, len(cases), count))
    return Measured(steps, count, found)


def _range(accuracies: tuple[float, ...]) -> tuple[float, float, float]:
    """Lowest and highest rate that trains, and how many decades the trained rates fill."""
    fit = [rate for rate, right in zip(RATES, accuracies, strict=True) if right >= TRAINED]
    return (min(fit), max(fit), len(fit) / PER_DECADE) if fit else (float("nan"), float("nan"), 0.0)


def judge(measured: Measured) -> Judgement:
    """Ranges must differ by a decade: each of their two ends is known to half a decade."""
    ranges = {name: _range(values) for name, values in measured.accuracies.items()}
    widest = max(ranges, key=lambda n: ranges[n][2])
    narrowest = min(ranges, key=lambda n: ranges[n][2])
    apart = ranges[widest][2] - ranges[narrowest][2]
    checks = [
        at_least("widest less narrowest range", apart, 1.0, "decades"),
        *(noted(f"{name}: range that trains", r[2], "decades") for name, r in ranges.items()),
        *(noted(f"{n}: best accuracy", max(v), "%") for n, v in measured.accuracies.items()),
    ]
    told = "; ".join(
        f"{n} {_words(low, high)}" if decades else f"{n} none"
        for n, (low, high, decades) in ranges.items()
    )
    conditions = (
        f"Rates that bring a ReLU network of three hidden layers to {TRAINED:.0%} in"
        f" {measured.steps} steps: {told}; the widest range ({widest}) has {ranges[widest][2]:g}"
        f" decades, the narrowest ({narrowest}) {ranges[narrowest][2]:g}."
    )
    verdict = HOLDS if all_met(checks) else FAILS
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _words(low: float, high: float) -> str:
    return f"{low:.2g} alone" if low == high else f"{low:.2g} to {high:.2g}"


def show(measured: Measured) -> list[Picture | Grid]:
    """Accuracy by rate, and the ranges."""
    found = measured.accuracies
    return [
        picture(
            "lines",
            "Accuracy by learning rate",
            x=RATES,
            y={name: [100 * v for v in values] for name, values in found.items()},
            x_title="learning rate",
            y_title="held-out accuracy, %",
            x_log=True,
            alt="Best accuracy and its rate: "
            + ", ".join(
                f"{n} {max(v):.0%} at {RATES[v.index(max(v))]:.2g}" for n, v in found.items()
            )
            + ".",
            caption=f"Mean of {measured.seeds} seeds, {measured.steps} steps.",
        ),
        table(
            f"Learning rates that reach {TRAINED:.0%}",
            ("technique", "lowest", "highest", "decades"),
            [(name, *_range(values)) for name, values in found.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"techniques": {"He": "he_normal", "He again": "he_normal"}},
    sources=("Common advice to search the learning rate anew for each start",),
    lesson=(
        "A learning rate is small or large only against the gradients that the start produces."
        " A good start forgives a wrong rate, a bad one leaves a narrow range or none. Whoever"
        " compares starts at one rate compares how well that rate happens to suit them."
    ),
)
