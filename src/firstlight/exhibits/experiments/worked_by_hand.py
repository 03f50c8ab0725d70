"""Backpropagation worked by hand.

In a network of two inputs, two ReLU units and one output every partial derivative can be written
down with the chain rule, and is what the framework computes. At zero weights all of them vanish but
that of the last bias; at equal weights c the two on x₁ are equal, and the two on x₂.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from firstlight.exhibits.experiment import (
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_least,
    at_most,
    equal,
    noted,
)
from firstlight.exhibits.pictures import picture, table
from firstlight.records.exhibit import Grid, Picture

NAMES = ("w₁₁", "w₁₂", "w₂₁", "w₂₂", "b₁", "b₂", "v₁", "v₂", "c₀")
"""wᵢⱼ leads from input xᵢ to unit j, bⱼ is its bias, vⱼ leads to the output, c₀ is its bias."""

X, TARGET = (1.0, 2.0), 3.0
CONSTANTS = (0.1, 0.5, 1.0)
GENERAL = (0.3, -0.2, 0.4, 0.6, 0.1, 0.2, 0.7, -0.5, 0.05)


@dataclass(frozen=True)
class Measured:
    """For each start: derivatives by hand and by the framework, in the order of `NAMES`."""

    by_hand: dict[str, tuple[float, ...]]
    by_framework: dict[str, tuple[float, ...]]
    after_training: tuple[float, ...]


def measure(pace: Pace, seed: int, *, nudge: float = 0.0) -> Measured:  # noqa: ARG001
    """Both derivatives at zero, at each constant, and at numbers with nothing special.

    ``nudge`` is added to w₁₁ of the zero and constant starts, which makes the two units differ.
    """
    starts = {f"all {c:g}": (c + nudge, *[c] * 8) for c in (0.0, *CONSTANTS)}
    starts["general"] = GENERAL
    values = np.array(starts["all 0.5"])
    for _ in range(pace.pick(100, 1000)):
        values -= 0.01 * np.array(by_framework(values))
    return Measured(
        by_hand={name: by_hand(start) for name, start in starts.items()},
        by_framework={name: by_framework(start) for name, start in starts.items()},
        after_training=tuple(values.tolist()),
    )


def by_hand(start: tuple[float, ...]) -> tuple[float, ...]:
    """The chain rule, written out for L = ½ (y − t)², y = v₁ a₁ + v₂ a₂ + c₀, aⱼ = max(0, zⱼ)."""
    w11, w12, w21, w22, b1, b2, v1, v2, c0 = start
    x1, x2 = X
    z1, z2 = w11 * x1 + w21 * x2 + b1, w12 * x1 + w22 * x2 + b2
    a1, a2 = max(0.0, z1), max(0.0, z2)
    error = v1 * a1 + v2 * a2 + c0 - TARGET  # ∂L/∂y
    d1 = error * v1 * (z1 > 0)  # ∂L/∂z₁ = ∂L/∂y · ∂y/∂a₁ · ∂a₁/∂z₁
    d2 = error * v2 * (z2 > 0)
    return (d1 * x1, d2 * x1, d1 * x2, d2 * x2, d1, d2, error * a1, error * a2, error)


def by_framework(start: tuple[float, ...] | np.ndarray) -> tuple[float, ...]:
    """The same nine derivatives from PyTorch's automatic differentiation, in float64."""
    p = torch.tensor(np.asarray(start), dtype=torch.float64, requires_grad=True)
    x = torch.tensor(X, dtype=torch.float64)
    hidden = torch.relu(x @ p[:4].reshape(2, 2) + p[4:6])
    loss = 0.5 * (hidden @ p[6:8] + p[8] - TARGET) ** 2
    (gradient,) = torch.autograd.grad(loss, p)
    return tuple(gradient.tolist())


def judge(measured: Measured) -> Judgement:
    """Hand and framework agree; zero leaves one derivative; equal weights pair them."""
    apart = max(
        abs(a - b)
        for start in measured.by_hand
        for a, b in zip(measured.by_hand[start], measured.by_framework[start], strict=True)
    )
    zero = measured.by_framework["all 0"]
    pairs = [measured.by_framework[f"all {c:g}"] for c in CONSTANTS]
    unequal = max(max(abs(g[0] - g[1]), abs(g[2] - g[3])) for g in pairs)
    end = measured.after_training
    checks = [
        at_most("largest difference between hand and framework", apart, 1e-12),
        equal("at zero: largest derivative but the last bias's", max(map(abs, zero[:8])), 0.0),
        at_least("at zero: derivative of the last bias, absolute", abs(zero[8]), 1e-3),
        equal("at equal weights: difference within the pairs on x₁ and x₂", unequal, 0.0),
        equal("after training from 0.5: |w₁₁ − w₁₂|", abs(end[0] - end[1]), 0.0),
        noted("after training from 0.5: w₁₁", end[0]),
        noted("at all 0.5: ∂L/∂w₁₁", measured.by_framework["all 0.5"][0]),
    ]
    verdict = HOLDS if all_met(checks) else FAILS
    conditions = (
        f"All derivatives agree to {apart:.1g}, the pairs at equal weights differ by {unequal:.2g},"
        f" and at zero only the last bias has one, {zero[8]:.3g}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Each derivative by hand beside the framework's."""
    found = measured.by_framework
    return [
        picture(
            "bars",
            "The nine derivatives at each start",
            x=NAMES,
            y={start: values for start, values in found.items() if start != "general"},
            x_title="parameter",
            y_title="∂L/∂parameter",
            alt="At zero only c₀ has a derivative; at each constant w₁₁ and w₁₂ have the same, and"
            " so have w₂₁ and w₂₂.",
            caption=f"Inputs x = {X}, target {TARGET:g}, loss half the squared error.",
        ),
        *(
            table(
                f"Start: {start}",
                ("derivative of the loss by", "by hand", "by the framework"),
                zip(NAMES, measured.by_hand[start], found[start], strict=True),
            )
            for start in found
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"nudge": 0.05},
    sources=("Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating",),
    lesson=(
        "A derivative is a product along the path: what came in, times the weights and slopes on"
        " the way back, times the error. One zero on the path makes the product zero, and two equal"
        " paths make two equal products. Equal weights with equal updates stay equal, so two units"
        " that start alike are one unit for ever."
    ),
)
