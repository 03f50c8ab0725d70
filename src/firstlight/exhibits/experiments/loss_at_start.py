"""Should the last bias know how frequent classes are?

Where classes are imbalanced, a small head with a bias of the logarithms of their shares begins at
the entropy of the classes, not at ln K or above, and saves the first steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
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
    at_most,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import train_many
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATES, CLASSES = (64, 32, 10), (0.01, 0.1, 0.3), 10
HEADS = {
    "He's head, bias zero": (1.0, False),
    "small head, bias zero": (0.01, False),
    "He's head, bias of shares": (1.0, True),
    "small head, bias of shares": (0.01, True),
}
"""What He's deviation of the head is multiplied by, and whether its bias knows the shares."""


@dataclass(frozen=True)
class Head:
    """Loss of all samples before training; for each rate the steps to a target, by seed."""

    loss: float
    rate: float
    needed: dict[float, tuple[float, ...]]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """Entropy of the classes, the target, and what each head does."""

    steps: int
    entropy: float
    target: float
    heads: dict[str, Head]


def measure(pace: Pace, seed: int, *, ratio: float = 0.55) -> Measured:
    """Train each head on digits of which each class has ``ratio`` times the samples of the last."""
    steps, count = pace.pick(60, 200), pace.pick(6, 20)
    x, y = _thinned_out(ratio)
    shares = torch.bincount(y, minlength=CLASSES).double() / len(y)
    entropy = float(-(shares * shares.log()).sum())
    seeds = [seed * 1000 + i for i in range(count)]
    target = 0.9 * entropy
    heads = {n: _head(*case, x, y, shares, target, steps, seeds) for n, case in HEADS.items()}
    return Measured(steps, entropy, target, heads)


def _thinned_out(ratio: float) -> tuple[Tensor, Tensor]:
    data = digits()
    least = int(torch.bincount(data.y).min())
    rows = [
        torch.nonzero(data.y == k).flatten()[: max(2, round(least * ratio**k))]
        for k in range(CLASSES)
    ]
    kept = torch.cat(rows)
    return data.x[kept], data.y[kept]


def _head(
    scale: float,
    knows: bool,
    x: Tensor,
    y: Tensor,
    shares: Tensor,
    target: float,
    steps: int,
    seeds: list[int],
) -> Head:
    cases = [(rate, s) for rate in RATES for s in seeds]
    models = [start(mlp(WIDTHS, nn.ReLU), "he_normal", seed=s) for _, s in cases]
    with torch.no_grad():
        for model in models:
            head = linears(model)[-1]
            head.weight.mul_(scale)
            if knows:
                head.bias.copy_(shares.log())
    rates, orders = [rate for rate, _ in cases], [s for _, s in cases]
    curves = [[_loss(model, x, y) for model in models]]
    for step in range(steps):
        batches = [s * steps + step for s in orders]  # a new batch at each step
        train_many(models, x, y, steps=1, rates=rates, seeds=batches)
        curves.append([_loss(model, x, y) for model in models])
    needed: dict[float, tuple[float, ...]] = dict.fromkeys(RATES, ())
    for rate, curve in zip(rates, zip(*curves, strict=True), strict=True):
        below = np.array(curve) < target
        needed[rate] += (float(below.argmax() if below.any() else steps),)
    best = min(RATES, key=lambda r: sum(needed[r]))
    shown = np.array(curves)[:, [rate == best for rate in rates]].mean(1)
    return Head(
        loss=sum(curves[0]) / len(models),
        rate=best,
        needed=needed,
        losses=tuple(shown.tolist()),
    )


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(x), y))


def _saved(a: Head, b: Head, rate: float | None = None) -> tuple[float, float]:
    """Steps that b saves, mean and lower end: at each one's best rate, or both at one."""
    pairs = zip(a.needed[rate or a.rate], b.needed[rate or b.rate], strict=True)
    mean, (low, _) = mean_interval([u - v for u, v in pairs])
    return mean, low


def judge(measured: Measured) -> Judgement:
    """Losses follow from the head: a hundredth of a nat apart; steps saved, more than one."""
    zero, knowing = (measured.heads[f"small head, bias {b}"] for b in ("zero", "of shares"))
    he = measured.heads["He's head, bias zero"]
    uniform = math.log(CLASSES)
    saved, low = _saved(zero, knowing)
    slow, slow_low = _saved(zero, knowing, RATES[0])
    from_he, _ = _saved(he, knowing)
    losses = [
        at_most("small head, bias zero: |loss − ln 10|", abs(zero.loss - uniform), 0.01, "nats"),
        at_most(
            "small head, bias of shares: |loss − entropy|",
            abs(knowing.loss - measured.entropy),
            0.01,
            "nats",
        ),
    ]
    checks = [
        *losses,
        at_least("at the best rates: steps that the bias saves, lower end", low, 2.0, "steps"),
        at_least(f"at rate {RATES[0]:g}: the same", slow_low, 2.0, "steps"),
        noted("at the best rates: steps that the bias saves", saved, "steps"),
        noted(f"at rate {RATES[0]:g}: steps that the bias saves", slow, "steps"),
        noted("steps that small head and bias save against He's head", from_he, "steps"),
        noted("entropy of the classes", measured.entropy, "nats"),
        *(noted(f"{n}: loss at the start", h.loss, "nats") for n, h in measured.heads.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if slow_low >= 2 else FAILS
    conditions = (
        f"The loss starts at {he.loss:.2f} with He's head, {zero.loss:.2f} with a small one"
        f" (ln 10 = {uniform:.2f}) and {knowing.loss:.2f} with a small one and the bias of shares"
        f" (entropy {measured.entropy:.2f}); to a loss of {measured.target:.2f} the bias saves"
        f" {saved:.1f} of {_mean(zero.needed[zero.rate]):.1f} steps at the best learning rates, and"
        f" {slow:.1f} of {_mean(zero.needed[RATES[0]]):.1f} at a rate of {RATES[0]:g}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def show(measured: Measured) -> list[Picture | Grid]:
    """The first steps, and where each head begins."""
    heads = measured.heads
    return [
        picture(
            "lines",
            "The first steps",
            x=range(min(60, measured.steps) + 1),
            y={n: h.losses[:61] for n, h in heads.items()},
            x_title="step",
            y_title="loss, nats",
            alt="The loss begins at "
            + ", ".join(f"{h.loss:.2f} ({n})" for n, h in heads.items())
            + ".",
            caption="Mean over seeds, each head at its best learning rate.",
        ),
        table(
            f"Heads, and their steps to a loss of {measured.target:.2f}",
            ("head", "loss at the start, nats", *(f"steps at rate {r:g}" for r in RATES)),
            [(n, h.loss, *(_mean(h.needed[r]) for r in RATES)) for n, h in heads.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"ratio": 1.0},
    sources=(
        "Karpathy 2019, A recipe for training neural networks",
        "Lin et al. 2017, Focal loss for dense object detection",
    ),
    lesson=(
        "Before anything is learned the best guess is how frequent each class is, and a bias can"
        " say that without a single step. A network without it spends its first steps on this one"
        " fact, one or two of them at its best learning rate and many at a low one. A larger head"
        " begins at a higher loss, which by itself does not say that it comes down later."
    ),
)
