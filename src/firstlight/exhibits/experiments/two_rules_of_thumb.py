"""Two rules of thumb: do they matter?

Activations should have a mean near zero, and the same variance in all layers. Where either rule is
broken, training suffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
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
from firstlight.exhibits.networks import mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import train_many
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATES = (64, *[32] * 6, 10), (0.01, 0.03, 0.1, 0.3)
BREACHES = {
    "neither broken": (0.0, 1.0),
    "mean broken": (2.0, 1.0),
    "variance falls": (0.0, 0.4),
    "variance rises": (0.0, 4.0),
}
"""What is added to each activation, and what Glorot's deviation is multiplied by."""

LEAST = 0.01
"""Difference of mean losses, in nats, that counts as suffering."""


class Shifted(nn.Module):
    """tanh(z) + shift: the same slopes as tanh, with another mean."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, z: Tensor) -> Tensor:
        """All that it does."""
        return torch.tanh(z) + self.shift


@dataclass(frozen=True)
class Rule:
    """What layer 6 looks like at the start, and each seed's mean loss at the best common rate."""

    mean_over_rms: float
    variance_kept: float
    rate: float
    costs: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """One record for each breach."""

    steps: int
    rules: dict[str, Rule]


def measure(pace: Pace, seed: int, *, broken: bool = True) -> Measured:
    """Train each breach on the same batches; with ``broken=False`` none is one."""
    steps, count = pace.pick(120, 600), pace.pick(4, 10)
    seeds = [seed * 1000 + i for i in range(count)]
    none = BREACHES["neither broken"]
    cases = {name: case if broken else none for name, case in BREACHES.items()}
    return Measured(steps, {n: _rule(*case, steps, seeds) for n, case in cases.items()})


def _rule(shift: float, gain: float, steps: int, seeds: list[int]) -> Rule:
    data = digits()
    cases = [(rate, s) for rate in RATES for s in seeds]
    models = [
        start(mlp(WIDTHS, lambda: Shifted(shift)), _glorot_times(gain), seed=s) for _, s in cases
    ]
    first, *_, last = signals(models[0], data.x).z[:-1]
    a, b = torch.tanh(first) + shift, torch.tanh(last) + shift
    done = train_many(
        models,
        data.x,
        data.y,
        steps=steps,
        rates=[rate for rate, _ in cases],
        seeds=[s for _, s in cases],
    )
    costs = {
        r: tuple(_cost(d) for d, (q, _) in zip(done, cases, strict=True) if q == r) for r in RATES
    }
    rate = min(RATES, key=lambda r: sum(costs[r]))
    return Rule(
        mean_over_rms=float(b.mean() / b.square().mean().sqrt()),
        variance_kept=float(b.var() / a.var()),
        rate=rate,
        costs=costs[rate],
        losses=thinned(done[RATES.index(rate) * len(seeds)].losses, of=steps)[1],
    )


def _cost(done: object) -> float:
    """Mean loss over all steps, which is large if training is slow or ends high."""
    losses = getattr(done, "losses", ())
    return math.inf if getattr(done, "diverged", True) else sum(losses) / len(losses)


def _glorot_times(gain: float) -> Callable[[Tensor], object]:
    return lambda w: w.normal_(0.0, gain * (2 / (w.shape[0] + w.shape[1])) ** 0.5)


def judge(measured: Measured) -> Judgement:
    """The interval of the paired difference must lie above zero by something that is felt."""
    rules = measured.rules
    neither = rules["neither broken"]
    checks, costly = [], []
    for name, rule in rules.items():
        if rule is neither:
            continue
        pairs = zip(rule.costs, neither.costs, strict=True)
        mean, (low, _) = mean_interval([a - b for a, b in pairs])
        checks.append(at_least(f"{name}: mean loss above neither's, lower end", low, LEAST, "nats"))
        checks.append(noted(f"{name}: mean loss above neither's", mean, "nats"))
        costly.append((name, mean, low >= LEAST))
    for name, rule in rules.items():
        checks.append(noted(f"{name}: mean over rms in layer 6", rule.mean_over_rms))
        checks.append(
            noted(f"{name}: variance of layer 6 over layer 1", rule.variance_kept, "times")
        )
    bad = sum(cost for _, _, cost in costly)
    verdict = HOLDS if all_met(checks) else CONDITIONAL if bad else FAILS
    told = ", ".join(
        f"{mean:.2f} nats ({name}{'' if cost else ', not clearly'})" for name, mean, cost in costly
    )
    conditions = (
        f"Over {measured.steps} steps and {len(neither.costs)} seeds, six tanh layers, each at its"
        f" best rate, the mean loss lies above that of a start which keeps both rules by {told}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Curves, and costs with their intervals."""
    rules = measured.rules
    steps, _ = thinned(range(measured.steps))
    means = {name: mean_interval(rule.costs) for name, rule in rules.items()}
    ends = [ends for _, ends in means.values()]
    return [
        picture(
            "lines",
            "Training with a rule broken",
            x=steps,
            y={name: rule.losses for name, rule in rules.items()},
            x_title="step",
            y_title="loss of the batch",
            alt="Last losses: "
            + ", ".join(f"{n} {r.losses[-1]:.2f}" for n, r in rules.items())
            + ".",
            caption="First seed, each at its best learning rate.",
        ),
        picture(
            "bars",
            "Mean loss over training",
            x=tuple(rules),
            y={"mean loss": [mean for mean, _ in means.values()]},
            bands={"mean loss": ([low for low, _ in ends], [high for _, high in ends])},
            x_title="start",
            y_title="mean loss, nats",
            alt="Mean losses: " + ", ".join(f"{n} {m:.2f}" for n, (m, _) in means.items()) + ".",
            caption="With 95 % intervals over seeds.",
        ),
        table(
            "Starts",
            (
                "start",
                "mean over rms, layer 6",
                "variance, layer 6 over 1",
                "best rate",
                "mean loss",
            ),
            [(n, r.mean_over_rms, r.variance_kept, r.rate, means[n][0]) for n, r in rules.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"broken": False},
    sources=(
        "LeCun et al. 1998, Efficient BackProp",
        "Glorot & Bengio 2010, Understanding the difficulty of training deep networks",
    ),
    lesson=(
        "A mean away from zero makes all inputs of a unit rise and fall together, so that its"
        " weights can only be moved together. A variance that falls starves the last layers, one"
        " that rises saturates them. Neither rule is a law, but each is cheap to keep and breaking"
        " it costs steps."
    ),
)
