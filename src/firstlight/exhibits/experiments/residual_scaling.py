"""Must residual branches shrink with their number?

Each residual branch adds to the stream, so with n of them at full scale the stream grows beyond all
bounds with n. Branches scaled by n^(−½) keep it bounded, by 1/n or zero nearly as it came in, and
the deep network then trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
from firstlight.exhibits.networks import linears, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import best_of_rates
from firstlight.records.exhibit import Grid, Picture

WIDTH, BATCH = 32, 256
RATES = (0.001, 0.01, 0.1, 0.3)
POWERS = {"1": 0.0, "n^(−½)": -0.5, "1/n": -1.0, "zero": -math.inf}
"""Scale of each branch's last weight: n to this power."""


class _Block(nn.Module):
    """x + V relu(W x)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """The stream and what the branch adds to it."""
        added: Tensor = self.outer(torch.relu(self.inner(x)))
        return x + added


@dataclass(frozen=True)
class Measured:
    """By scale: growth of the stream's second moment and of ‖δ‖² by number, and accuracies."""

    numbers: tuple[int, ...]
    growth: dict[str, tuple[float, ...]]
    delta: dict[str, tuple[float, ...]]
    accuracy: dict[str, float]
    rate: dict[str, float]
    trained: int


def measure(pace: Pace, seed: int, *, most: int = 128) -> Measured:
    """Streams of up to ``most`` branches in float64, and a training of 32 of them (or fewer)."""
    numbers = tuple(n for n in (1, 2, 8, 32, 128) if n <= most)
    trained, steps = min(32, most), pace.pick(30, 300)
    growth = {name: tuple(_growth(n, name, seed) for n in numbers) for name in POWERS}
    trials = {
        name: best_of_rates(
            lambda name=name: _network(trained, name, seed),  # type: ignore[misc]
            digits(),
            RATES,
            steps=steps,
            seed=seed,
        )
        for name in POWERS
    }
    return Measured(
        numbers=numbers,
        growth={name: tuple(g for g, _ in found) for name, found in growth.items()},
        delta={name: tuple(d for _, d in found) for name, found in growth.items()},
        accuracy={name: trial.accuracy for name, trial in trials.items()},
        rate={name: trial.rate for name, trial in trials.items()},
        trained=trained,
    )


def _growth(number: int, name: str, seed: int) -> tuple[float, float]:
    """Last over first: second moment of the stream; first over last: its squared gradient."""
    data, model = doubled(), _network(number, name, seed).double()
    first = model[0](data.x[:BATCH])
    first.retain_grad()
    last = first
    for block in list(model)[1:-1]:
        last = block(last)
    last.retain_grad()
    nn.functional.cross_entropy(model[-1](last), data.y[:BATCH]).backward()
    return (
        float(last.detach().square().mean() / first.detach().square().mean()),
        float(first.grad.square().sum() / last.grad.square().sum()),
    )


def _network(number: int, name: str, seed: int) -> nn.Sequential:
    model = nn.Sequential(
        nn.Linear(64, WIDTH), *(_Block() for _ in range(number)), nn.Linear(WIDTH, 10)
    )
    start(model, "he_normal", seed=seed)
    with torch.no_grad():
        for outer in linears(model)[2:-1:2]:
            # V of variance 1/fan_in: relu halves what W doubled, so a branch adds what it is given.
            outer.weight *= 0.5**0.5 * (0.0 if name == "zero" else number ** POWERS[name])
    return model


def judge(measured: Measured) -> Judgement:
    """At full scale the factor must be far from bounded, with n^(−½) below e and its spread."""
    most = measured.numbers[-1]
    ends = {name: found[-1] for name, found in measured.growth.items()}
    grows = at_least(f"scale 1: growth of the stream by {most} branches", ends["1"], 1e3)
    bounded = [
        # (1 + 1/n)^n < e; two of these leave room for the spread of one draw.
        at_most(f"scale n^(−½): growth by {most}", ends["n^(−½)"], 2 * math.e),
        at_most(f"scale 1/n: growth by {most}", ends["1/n"], 1.5),
        at_most("scale zero: growth less one", abs(ends["zero"] - 1), 1e-12),
    ]
    best = max(measured.accuracy[name] for name in POWERS if name != "1")
    worst = min(measured.accuracy[name] for name in POWERS if name != "1")
    lag = best - measured.accuracy["1"]
    checks = [
        grows,
        *bounded,
        at_least(f"accuracy that scale 1 costs at {measured.trained} branches", lag, 0.05, "%"),
        *(noted(f"scale {name}: accuracy", a, "%") for name, a in measured.accuracy.items()),
        *(
            noted(f"scale {name}: ‖δ‖² first over last at {most}", found[-1])
            for name, found in measured.delta.items()
        ),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met([grows, *bounded]) else FAILS
    told = (
        f"With {most} branch{'es' if most > 1 else ''} the second moment of the stream changes by"
        f" {ends['1']:.2g} at full scale, {ends['n^(−½)']:.2f} with n^(−½), {ends['1/n']:.3f} with"
        f" 1/n; {measured.trained} of them train to {measured.accuracy['1']:.0%} at full scale and"
        f" {worst:.0%} to {best:.0%} at the smaller ones."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Growth by number of branches."""
    return [
        picture(
            "lines",
            "The stream by number of branches",
            x=measured.numbers,
            y={f"scale {name}": found for name, found in measured.growth.items()},
            x_title="residual branches, n",
            y_title="second moment, last over first",
            x_log=True,
            y_log=True,
            alt=f"At n = {measured.numbers[-1]}: "
            + ", ".join(f"scale {name} {found[-1]:.3g}" for name, found in measured.growth.items())
            + ".",
        ),
        table(
            f"{measured.trained} branches trained, each at its best rate",
            ("scale of the branches", "learning rate", "held-out accuracy, %"),
            [(name, measured.rate[name], 100 * measured.accuracy[name]) for name in POWERS],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"most": 1},
    sources=(
        "Zhang, Dauphin & Ma 2019, Fixup Initialization",
        "Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    ),
    lesson=(
        "A branch that adds as much as it is given doubles the second moment, and doubling n times"
        " is 2ⁿ. Scaled by n^(−½), each adds one n-th, and n of them together make at most e, while"
        " branches at 1/n or zero leave the stream as it came in. Divide the last weight of each"
        " branch by the root of their number, or start it at zero."
    ),
)
