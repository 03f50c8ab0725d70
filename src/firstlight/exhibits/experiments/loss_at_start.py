"""Should the last bias know how frequent classes are?

Where classes are imbalanced, a small head with a bias of the logarithms of their shares begins at
the entropy of the classes, not at ln K or above, and saves the first steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import train_many
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATES, CLASSES, SMOOTH = (64, 32, 10), (0.03, 0.1, 0.3), 10, 5
HEADS = {
    "He's head, bias zero": (1.0, False),
    "small head, bias zero": (0.01, False),
    "He's head, bias of shares": (1.0, True),
    "small head, bias of shares": (0.01, True),
}
"""What He's deviation of the head is multiplied by, and whether its bias knows the shares."""


@dataclass(frozen=True)
class Head:
    """Loss before training; steps to a target, by seed, at the rate that needs the fewest."""

    loss: float
    rate: float
    steps: tuple[float, ...]
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
    steps, count = pace.pick(150, 400), pace.pick(6, 20)
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
    first = [signals(model, x, y).loss for model in models[: len(seeds)]]
    rates = [rate for rate, _ in cases]
    done = train_many(models, x, y, steps=steps, rates=rates, seeds=[s for _, s in cases])
    needed = {
        r: tuple(
            _steps_to(d.losses, target, steps)
            for d, (q, _) in zip(done, cases, strict=True)
            if q == r
        )
        for r in RATES
    }
    rate = min(RATES, key=lambda r: sum(needed[r]))
    at = RATES.index(rate) * len(seeds)
    curves = np.array([d.losses for d in done[at : at + len(seeds)] if not d.diverged])
    return Head(
        loss=sum(first) / len(first),
        rate=rate,
        steps=needed[rate],
        losses=thinned(curves.mean(0).tolist())[1],
    )


def _steps_to(losses: tuple[float, ...], target: float, most: int) -> float:
    """Steps until the mean of five losses is below the target; all of them if never."""
    smooth = np.convolve(losses, np.full(SMOOTH, 1 / SMOOTH), "valid")
    below = smooth < target
    return float(below.argmax() if below.any() else most)


def judge(measured: Measured) -> Judgement:
    """Losses follow from the head: a hundredth of a nat apart; one step saved, surely."""
    zero, knowing = (measured.heads[f"small head, bias {b}"] for b in ("zero", "of shares"))
    he = measured.heads["He's head, bias zero"]
    uniform = math.log(CLASSES)
    saved, (low, _) = mean_interval(_pairs(zero, knowing))
    from_he, _ = mean_interval(_pairs(he, knowing))
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
        at_least("steps that the bias saves, lower end", low, 1.0, "steps"),
        noted("steps that the bias saves, small head", saved, "steps"),
        noted("steps that small head and bias save against He's head", from_he, "steps"),
        noted("entropy of the classes", measured.entropy, "nats"),
        *(noted(f"{n}: loss at the start", h.loss, "nats") for n, h in measured.heads.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if low > 0 else FAILS
    conditions = (
        f"The loss starts at {he.loss:.2f} with He's head, {zero.loss:.2f} with a small one"
        f" (ln 10 = {uniform:.2f}) and {knowing.loss:.2f} with a small one and the bias of shares"
        f" (entropy {measured.entropy:.2f}); the bias saves {saved:.1f} of"
        f" {sum(zero.steps) / len(zero.steps):.1f} steps to a loss of {measured.target:.2f}, at"
        f" least {low:.1f} by its interval over {len(zero.steps)} seeds."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _pairs(a: Head, b: Head) -> list[float]:
    return [u - v for u, v in zip(a.steps, b.steps, strict=True)]


def show(measured: Measured) -> list[Picture | Grid]:
    """The first steps, and where each head begins."""
    heads = measured.heads
    steps, _ = thinned(range(measured.steps))
    shown: Callable[[Head], int] = lambda h: min(100, len(h.losses))  # noqa: E731
    return [
        picture(
            "lines",
            "The first steps",
            x=steps[:100],
            y={n: h.losses[: shown(h)] for n, h in heads.items()},
            x_title="step",
            y_title="loss of the batch, nats",
            alt="The loss begins at " + ", ".join(f"{h.loss:.2f} ({n})" for n, h in heads.items()) + ".",
            caption="Mean over seeds, each head at its best learning rate.",
        ),
        table(
            f"Heads, and their steps to a loss of {measured.target:.2f}",
            ("head", "loss at the start, nats", "mean steps", "best rate"),
            [(n, h.loss, sum(h.steps) / len(h.steps), h.rate) for n, h in heads.items()],
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
        " fact, and a head that starts too large spends some on unlearning its own noise. With"
        " balanced classes the shares are all alike, and there is nothing to be saved."
    ),
)
