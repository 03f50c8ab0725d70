"""Does the mean of random weights matter?

Weights may come from a normal distribution with whatever mean one likes: what counts is that they
are random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    at_most,
    noted,
)
from firstlight.exhibits.networks import alikeness, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train_many
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATES = (64, 32, 32, 32, 32, 10), (0.003, 0.03, 0.3)
ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "ReLU": (nn.ReLU, 2.0),
    "tanh": (nn.Tanh, 1.0),
}
"""Each with its variance times fan_in."""
MEANS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
PARALLEL = 0.95
BY_CHANCE = 2 * math.sqrt(0.5 / 360)
"""Two shares of 360 digits differ by chance by up to 2 √(2 · ¼ / 360)."""


@dataclass(frozen=True)
class Start:
    """Units' alikeness and size of the signal in the last hidden layer, and what is learned."""

    alike: float
    growth: float
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """For each activation a start at mean zero, and one for each mean over deviation."""

    steps: int
    zero: dict[str, Start]
    starts: dict[str, dict[float, Start]]


def measure(pace: Pace, seed: int, *, means: Sequence[float] = MEANS) -> Measured:
    """Draw N(mean · σ, σ²) at the activation's proper σ, and train at the best of the rates."""
    steps = pace.pick(150, 1000)
    zero = {name: _starts(name, (0.0,), steps, seed)[0.0] for name in ACTIVATIONS}
    return Measured(steps, zero, {n: _starts(n, means, steps, seed) for n in ACTIVATIONS})


def _starts(name: str, means: Sequence[float], steps: int, seed: int) -> dict[float, Start]:
    data, (kind, gain) = digits(), ACTIVATIONS[name]
    cases = [(m, rate) for m in means for rate in RATES]
    models = [start(mlp(WIDTHS, kind), _normal(m, gain), seed=seed) for m, _ in cases]
    z = {m: signals(model, data.x).z for (m, _), model in zip(cases, models, strict=True)}
    rates = [rate for _, rate in cases]
    train_many(models, data.x, data.y, steps=steps, rates=rates, seeds=[seed] * len(cases))
    found: dict[float, list[float]] = {m: [] for m in means}
    for (m, _), model in zip(cases, models, strict=True):
        found[m].append(accuracy(model, data.held_out_x, data.held_out_y))
    return {
        m: Start(
            alike=alikeness((z[m][-2] - z[m][-2].mean(0)).T),
            growth=float(z[m][-2].square().mean().sqrt() / z[m][0].square().mean().sqrt()),
            accuracy=max(found[m]),
        )
        for m in means
    }


def _normal(mean: float, gain: float) -> Callable[[Tensor], object]:
    def fill(weight: Tensor) -> None:
        spread = (gain / weight.shape[1]) ** 0.5
        weight.normal_(mean * spread, spread)

    return fill


def judge(measured: Measured) -> Judgement:
    """At every mean the units must be apart, and learn as well as at mean zero, but for chance."""
    checks, good, bad = [], set[float](), set[float]()
    for name, starts in measured.starts.items():
        for mean, s in starts.items():
            least = round(measured.zero[name].accuracy - BY_CHANCE, 3)
            place = f"{name}, mean {mean:g} σ"
            pair = [
                at_most(f"{place}: mean cosine between units", s.alike, PARALLEL),
                at_least(f"{place}: accuracy", s.accuracy, least, "%"),
            ]
            (good if all_met(pair) else bad).add(mean)
            checks += [*pair, noted(f"{place}: growth of the signal over 3 layers", s.growth)]
    good -= bad
    verdict = CONDITIONAL if good and bad else FAILS if bad else HOLDS
    ends = [
        f"{n}: cosine {s[max(s)].alike:.2f}, accuracy {s[max(s)].accuracy:.0%}, signal"
        f" × {s[max(s)].growth:.2g} at a mean of {max(s):g} σ against {measured.zero[n].alike:.2f},"
        f" {measured.zero[n].accuracy:.0%}, × {measured.zero[n].growth:.2g} at zero"
        for n, s in measured.starts.items()
    ]
    fine, spoilt = (", ".join(f"{m:g}" for m in sorted(s)) or "none" for s in (good, bad))
    conditions = (
        f"Of the means (in σ, width 32) all is well at {fine} and not at {spoilt};"
        f" {'; '.join(ends)}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Alikeness, growth and accuracy against the mean."""
    starts = measured.starts
    means = list(next(iter(starts.values())))

    def drawn(title: str, y_title: str, what: Callable[[Start], float], log: bool) -> Picture:
        y = {n: [what(s[m]) for m in means] for n, s in starts.items()}
        ends = "; ".join(f"{n} from {v[0]:.3g} to {v[-1]:.3g}" for n, v in y.items())
        return picture(
            "bars",
            title,
            x=[f"{m:g}" for m in means],
            y=y,
            x_title="mean of the weights over their deviation",
            y_title=y_title,
            y_log=log,
            alt=f"{title}, from the smallest mean to the largest: {ends}.",
        )

    return [
        drawn("Units become parallel", "mean cosine between units", lambda s: s.alike, False),
        drawn("The signal grows with depth", "layer 4 over layer 1", lambda s: s.growth, True),
        drawn(
            f"What {measured.steps} steps teach",
            "held-out accuracy, %",
            lambda s: 100 * s.accuracy,
            False,
        ),
        table(
            "All starts",
            ("start", "mean cosine", "growth", "accuracy, %"),
            [
                (f"{n}, mean {m:g} σ", s.alike, s.growth, 100 * s.accuracy)
                for n, found in starts.items()
                for m, s in found.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"means": (0.0,)},
    sources=("Common lecture claim: normal weights with a chosen mean and deviation",),
    lesson=(
        "The random parts of n weights add up to √n, a common mean adds up to n, so it wins though"
        " it looks small. Units then hear mostly the same sum, become parallel, and pass on a"
        " signal that grows with every layer. Means belong at zero, and by this count a small"
        " one is felt the sooner the wider the layer."
    ),
)
