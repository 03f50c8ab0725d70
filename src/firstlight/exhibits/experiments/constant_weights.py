"""Will any constant do?

If all weights start at the same number, whichever it is, all units of a layer give the same output,
receive the same gradient and make the same update, step for step and for ever. Two units that
compute f(αx₁ + αx₂) show it by hand: the derivatives on x₁ are equal, and so are those on x₂.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firstlight.exhibits.digits import doubled
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
from firstlight.exhibits.networks import linears, mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import train
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATE = (64, 16, 16, 10), 0.05
CONSTANTS = (-0.1, 0.01, 0.1, 0.5, 1.0)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
LOOKS = 50
X, TARGET = (1.0, 2.0), 3.0


@dataclass(frozen=True)
class Course:
    """Largest relative differences between the hidden units of a layer, look by look."""

    at: tuple[int, ...]
    weights: tuple[float, ...]
    gradients: tuple[float, ...]
    updates: tuple[float, ...]
    moved: float


@dataclass(frozen=True)
class Measured:
    """A course for each activation and constant; 2–2–1 derivatives by torch and by hand."""

    steps: int
    courses: dict[str, Course]
    by_framework: dict[str, tuple[float, ...]]
    by_hand: dict[str, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, nudge: float = 0.0) -> Measured:
    """Train from each constant; ``nudge`` is added to one weight of the first unit of a layer."""
    steps = pace.pick(100, 300)
    cases = [(name, c) for name in ACTIVATIONS for c in CONSTANTS]
    return Measured(
        steps=steps,
        courses={f"{n}, {c:g}": _course(n, c, nudge, steps, seed) for n, c in cases},
        by_framework={f"{n}, {c:g}": _by_framework(n, c, nudge) for n, c in cases},
        by_hand={f"{n}, {c:g}": _by_hand(n, c) for n, c in cases},
    )


def _course(name: str, constant: float, nudge: float, steps: int, seed: int) -> Course:
    data = doubled()
    model = start(mlp(WIDTHS, ACTIVATIONS[name]), constant).double()
    hidden = [layer.weight for layer in linears(model)[:-1]]
    with torch.no_grad():
        for weight in hidden:
            weight[0, 0] += nudge
    begin = [w.detach().clone() for w in hidden]
    before, kept, every = begin, [], max(1, steps // LOOKS)

    def watch(done: int) -> None:
        nonlocal before
        now = [w.detach().clone() for w in hidden]
        if done and (done % every == 0 or done == steps):
            updates = [a - b for a, b in zip(now, before, strict=True)]
            gradients = [w.grad for w in hidden if w.grad is not None]
            kept.append((done, _apart(now), _apart(gradients), _apart(updates)))
        before = now

    train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed, watch=watch)
    moved = max(float((a - b).abs().max()) for a, b in zip(before, begin, strict=True))
    at, weights, gradients, updates = zip(*kept, strict=True)
    return Course(at=at, weights=weights, gradients=gradients, updates=updates, moved=moved)


def _apart(tensors: list[Tensor]) -> float:
    """Largest difference of a unit's row from the first row, of the tensor's largest number."""
    shares = [
        float((t - t[0]).abs().max() / t.abs().max()) if float(t.abs().max()) else 0.0
        for t in tensors
    ]
    return max(shares)


def _by_framework(name: str, constant: float, nudge: float) -> tuple[float, ...]:
    """∂L/∂w₁₁, w₁₂, w₂₁, w₂₂ of L = ½ (v₁ f(z₁) + v₂ f(z₂) − t)² without biases."""
    w = torch.full((2, 2), constant, dtype=torch.float64)
    w[0, 0] += nudge
    w.requires_grad_()
    hidden = ACTIVATIONS[name]()(torch.tensor(X, dtype=torch.float64) @ w)
    (gradient,) = torch.autograd.grad(0.5 * (constant * hidden.sum() - TARGET) ** 2, w)
    return tuple(gradient.flatten().tolist())


def _by_hand(name: str, constant: float) -> tuple[float, ...]:
    """The same with all weights at α: (y − t) · α · f′(z) · xᵢ, which knows no unit j."""
    z = constant * sum(X)
    rise = 1 / (1 + math.exp(-z))
    value, slope = {
        "ReLU": (max(0.0, z), float(z > 0)),
        "tanh": (math.tanh(z), 1 - math.tanh(z) ** 2),
        "sigmoid": (rise, rise * (1 - rise)),
    }[name]
    error = 2 * constant * value - TARGET
    return tuple(error * constant * slope * x for x in X for _ in "12")


def judge(measured: Measured) -> Judgement:
    """Rounding in float64, which trainings may amplify, is far below 1e-6; moves are above it."""
    courses = measured.courses
    weights, gradients, updates = (
        max(max(getattr(course, what)) for course in courses.values())
        for what in ("weights", "gradients", "updates")
    )
    found = measured.by_framework
    pairs = max(max(abs(g[0] - g[1]), abs(g[2] - g[3])) for g in found.values())
    hand = max(
        abs(a - b) for n in found for a, b in zip(found[n], measured.by_hand[n], strict=True)
    )
    moved = {n: max(c.moved for m, c in courses.items() if m.startswith(n)) for n in ACTIVATIONS}
    checks = [
        at_most("weights: largest relative difference between units", weights, 1e-6),
        at_most("gradients: largest relative difference between units", gradients, 1e-6),
        at_most("updates: largest relative difference between units", updates, 1e-6),
        *(at_least(f"{n}: largest move of a hidden weight", m, 1e-6) for n, m in moved.items()),
        equal("2–2–1: difference within the pairs on x₁ and on x₂", pairs, 0.0),
        at_most("2–2–1: difference between framework and hand", hand, 1e-12),
        noted("2–2–1, ReLU, α = 0.5: ∂L/∂w₁₁", found["ReLU, 0.5"][0]),
    ]
    conditions = (
        f"Over {measured.steps} steps from {len(CONSTANTS)} constants with {len(ACTIVATIONS)}"
        f" activations the units of a layer differ by at most {weights:.1g} in weights,"
        f" {gradients:.1g} in gradients and {updates:.1g} in updates, while weights move by up to"
        f" {max(moved.values()):.2g}; the 2–2–1 derivatives differ by {pairs:.2g} within a pair."
    )
    verdict = HOLDS if all_met(checks) else FAILS
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Differences over training, and the derivatives of the small network."""
    courses = {n: measured.courses[f"{n}, 0.1"] for n in ACTIVATIONS}
    largest = max(max(c.weights) for c in courses.values())
    moves = {n: [measured.courses[f"{n}, {c:g}"].moved for c in CONSTANTS] for n in ACTIVATIONS}
    return [
        picture(
            "lines",
            "Difference between units over training, constant 0.1",
            x=courses["ReLU"].at,
            y={n: c.weights for n, c in courses.items()},
            x_title="step",
            y_title="largest relative difference of weights",
            alt=f"Over all steps the units of a layer differ by at most {largest:.1g} of the"
            " largest weight.",
        ),
        picture(
            "bars",
            "How far the hidden weights move",
            x=[f"{c:g}" for c in CONSTANTS],
            y=moves,
            x_title="constant",
            y_title="largest change of a weight",
            alt="Largest change of a hidden weight by constant: "
            + "; ".join(f"{n} up to {max(m):.2g}" for n, m in moves.items())
            + ".",
            caption="They move, and all units of a layer move together.",
        ),
        table(
            f"Two inputs {X}, two units, target {TARGET:g}: derivatives with all weights at α",
            ("activation, α", "∂L/∂w₁₁", "∂L/∂w₁₂", "∂L/∂w₂₁", "∂L/∂w₂₂", "w₁ⱼ, hand", "w₂ⱼ, hand"),
            [
                (name, *values, measured.by_hand[name][0], measured.by_hand[name][2])
                for name, values in measured.by_framework.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"nudge": 0.01},
    sources=(
        "Goodfellow, Bengio & Courville 2016, Deep Learning, section 8.4",
        "Common lecture example: two hidden units relu(αx₁ + αx₂)",
    ),
    lesson=(
        "The derivative of the loss by a weight is made of what arrives, the slope, the weights"
        " behind it and the error, and nothing in it knows which unit it belongs to. If these agree"
        " for two units they agree after the update too, so no number of steps tells the units"
        " apart. It is the difference between starting weights that lets units become different."
    ),
)
