"""Are units alive because weights are above zero?

Random numbers from a standard normal or a uniform distribution are above zero, and therefore no
unit is dead.
"""

from __future__ import annotations

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
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import train
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATE = (64, 32, 32, 10), 0.1
LAWS: dict[str, Callable[[Tensor], object]] = {
    "N(0, 1)": lambda w: w.normal_(),
    "U(0, 1)": lambda w: w.uniform_(0.0, 1.0),
    "U(−1, 0)": lambda w: w.uniform_(-1.0, 0.0),
    "He": lambda w: w.normal_(0.0, (2 / w.shape[1]) ** 0.5),
}
CLAIMED = ("N(0, 1)", "U(0, 1)")


@dataclass(frozen=True)
class Law:
    """Share of weights above zero, and of units that fire for some digit: per layer, over time."""

    above_zero: float
    alive_by_layer: tuple[float, ...]
    alive: dict[int, float]


@dataclass(frozen=True)
class Measured:
    """What each law gives; the claim is about ``claimed``."""

    inputs: str
    laws: dict[str, Law]
    claimed: tuple[str, ...]


def measure(
    pace: Pace,
    seed: int,
    *,
    claimed: tuple[str, ...] = CLAIMED,
    inputs: str = "standardised",
    train_too: bool = True,
) -> Measured:
    """Count live ReLU units at the start and after training, for each law.

    ``inputs="positive"`` shifts every pixel up until none is below zero.
    """
    x = digits().x
    if inputs == "positive":
        x = x - x.min(0).values
    looks = (1, 10, pace.pick(150, 1500)) if train_too else ()
    return Measured(
        inputs, {name: _law(fill, x, looks, seed) for name, fill in LAWS.items()}, claimed
    )


def _law(fill: Callable[[Tensor], object], x: Tensor, looks: tuple[int, ...], seed: int) -> Law:
    model = start(mlp(WIDTHS), fill, seed=seed)
    weights = torch.cat([layer.weight.detach().flatten() for layer in linears(model)])
    by_layer = _alive(model, x)
    alive = {0: sum(by_layer) / len(by_layer)}

    def watch(done: int) -> None:
        if done in looks:
            found = _alive(model, x)
            alive[done] = sum(found) / len(found)

    if looks:
        train(model, x, digits().y, steps=max(looks), rate=RATE, seed=seed, watch=watch)
    return Law(float((weights > 0).float().mean()), by_layer, alive)


def _alive(model: nn.Module, x: Tensor) -> tuple[float, ...]:
    """Share of the units of each hidden layer that are above zero for at least one sample."""
    with torch.no_grad():
        seen = signals(model, x).z[:-1]
    return tuple(float((z > 0).any(0).float().mean()) for z in seen)


def judge(measured: Measured) -> Judgement:
    """Every number above zero, and every unit alive, at first and in training."""
    checks, starts_alive = [], True
    for name in measured.claimed:
        law = measured.laws[name]
        checks.append(at_least(f"{name}: weights above zero", law.above_zero, 1.0, "%"))
        for steps, alive in law.alive.items():
            checks.append(at_least(f"{name}: units alive after {steps} steps", alive, 1.0, "%"))
        starts_alive &= law.alive[0] == 1.0
    for name, law in measured.laws.items():
        if name not in measured.claimed:
            checks.append(noted(f"{name}: weights above zero", law.above_zero, "%"))
            for i, alive in enumerate(law.alive_by_layer, 1):
                checks.append(noted(f"{name}: units of layer {i} alive, start", alive, "%"))
            checks.append(noted(f"{name}: units alive at the end", _last(law), "%"))
    premise = all(measured.laws[n].above_zero == 1.0 for n in measured.claimed)
    verdict = HOLDS if all_met(checks) else CONDITIONAL if premise and starts_alive else FAILS
    told = "; ".join(
        f"{n}: {law.above_zero:.0%} of weights above zero, {law.alive[0]:.0%} of units alive at the"
        f" start and {_last(law):.0%} after {max(law.alive)} steps"
        for n, law in measured.laws.items()
    )
    return Judgement(
        verdict=verdict,
        conditions=f"With {measured.inputs} inputs, {told}.",
        measurements=checks,
    )


def _last(law: Law) -> float:
    return law.alive[max(law.alive)]


def show(measured: Measured) -> list[Picture | Grid]:
    """Weights above zero and units alive, side by side, and units alive over training."""
    laws = measured.laws
    times = list(next(iter(laws.values())).alive)
    return [
        picture(
            "bars",
            "Weights above zero, and units alive",
            x=tuple(laws),
            y={
                "weights above zero": [100 * law.above_zero for law in laws.values()],
                "units alive at the start": [100 * law.alive[0] for law in laws.values()],
                f"units alive after {times[-1]} steps": [100 * _last(v) for v in laws.values()],
            },
            x_title="law of the weights",
            y_title="share, %",
            alt="; ".join(
                f"{n}: {law.above_zero:.0%} above zero, {law.alive[0]:.0%} alive, {_last(law):.0%}"
                " at the end"
                for n, law in laws.items()
            )
            + ".",
            caption="Alive: above zero for at least one of 1,437 digits.",
        ),
        table(
            "Units alive, %",
            ("law", *(f"after {t} steps" for t in times), "layer 1 at the start", "layer 2"),
            [
                (n, *(100 * v for v in law.alive.values()), *(100 * v for v in law.alive_by_layer))
                for n, law in laws.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"claimed": ("U(0, 1)",), "inputs": "positive", "train_too": False},
    sources=("Common lecture claim on random initialization",),
    lesson=(
        "Half of the numbers of a standard normal are below zero, so the reason that is given is"
        " false for it. A unit is alive if its sum is above zero for some input, and with inputs of"
        " both signs a layer of nothing but negative weights is alive too. The next layer receives"
        " numbers that are never negative, so there negative weights do kill, and mixed signs"
        " suffice to live."
    ),
)
