"""What is wrong with small weights?

Small numbers multiply to nothing: 0.1 × 0.1 × 0.1 × 0.1 = 0.0001. So from small random weights,
normal or uniform, gradients vanish with depth for tanh and sigmoid, ReLU converges slowly, and the
first epochs are poor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from firstlight.exhibits.digits import digits, doubled
from firstlight.exhibits.experiment import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_most,
    noted,
)
from firstlight.exhibits.networks import Filler, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train_many
from firstlight.records.exhibit import Grid, Picture

WIDTH, DEPTH, RATES, EPOCH = 32, 10, (0.03, 0.1, 0.3), 23
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "ReLU": nn.ReLU,
}
SMALL: dict[str, Filler] = {
    "normal": lambda w: w.normal_(0.0, 0.01),
    "uniform": lambda w: w.uniform_(-0.01 * 3**0.5, 0.01 * 3**0.5),
}
"""Both of deviation 0.01."""

UNIFORM = "small uniform, 4 hidden"


@dataclass(frozen=True)
class Measured:
    """The chain; ‖δ‖ by layer over the head's, by case; accuracy after each epoch, by case."""

    chain: float
    chain_gradient: float
    deltas: dict[str, tuple[float, ...]]
    accuracies: dict[str, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, weight: Filler | None = None) -> Measured:
    """Small weights in a chain, in ten layers, and in training; ``weight`` takes their place."""
    small = dict.fromkeys(SMALL, weight) if weight is not None else SMALL
    deltas = {f"{a}, {law}": _deltas(a, f, seed) for a in ACTIVATIONS for law, f in small.items()}
    deltas |= {f"{a}, He": _deltas(a, "he_normal", seed) for a in ACTIVATIONS}
    epochs, few = pace.pick(5, 30), {"small": small["normal"], "He": "he_normal"}
    accuracies = {}
    for hidden in (1, 4):
        for name, filler in few.items():
            place = f"{name}, {hidden} hidden"
            accuracies[place] = _accuracies(hidden, filler, epochs, seed)
    accuracies[UNIFORM] = _accuracies(4, small["uniform"], epochs, seed)
    return Measured(*_chain(0.1), deltas, accuracies)


def _chain(weight: float) -> tuple[float, float]:
    """Output of four layers of one linear unit, and the gradient of its first weight."""
    w = torch.full((4,), weight, dtype=torch.float64, requires_grad=True)
    output = w.prod()
    (gradient,) = torch.autograd.grad(output, w)
    return float(output.detach()), float(gradient[0])


def _deltas(name: str, filler: Filler, seed: int) -> tuple[float, ...]:
    data = doubled()
    model = mlp((64, *[WIDTH] * DEPTH, 10), ACTIVATIONS[name]).double()
    found = signals(start(model, filler, seed=seed), data.x, data.y).delta
    return tuple(float(delta.norm() / found[-1].norm()) for delta in found)


def _accuracies(hidden: int, filler: Filler, epochs: int, seed: int) -> tuple[float, ...]:
    """Held-out accuracy of a ReLU network after each epoch, at the rate that ends best."""
    data = digits()
    models = [start(mlp((64, *[WIDTH] * hidden, 10)), filler, seed=seed) for _ in RATES]
    found = []
    for epoch in range(epochs):
        seeds = [seed * epochs + epoch] * len(models)
        train_many(models, data.x, data.y, steps=EPOCH, rates=RATES, seeds=seeds)
        found.append([accuracy(m, data.held_out_x, data.held_out_y) for m in models])
    courses = list(zip(*found, strict=True))
    return max(courses, key=lambda course: (course[-1], sum(course)))


def judge(measured: Measured) -> Judgement:
    """The product; a thousandth of the gradient or less; less learned than from He, beyond chance.

    Two shares of 360 digits differ by chance by up to 2 √(2 · ¼ / 360) = 7 points.
    """
    deltas, accuracies = measured.deltas, measured.accuracies
    small, he = accuracies["small, 4 hidden"], accuracies["He, 4 hidden"]
    chance = 2 * math.sqrt(0.5 / 360)
    vanish = [
        at_most(
            f"{a}, {law}, {DEPTH} layers: gradient left at layer 1", deltas[f"{a}, {law}"][0], 1e-3
        )
        for a in ("tanh", "sigmoid")
        for law in SMALL
    ]
    checks = [
        at_most("0.1 × 0.1 × 0.1 × 0.1: distance from 0.0001", abs(measured.chain - 1e-4), 1e-15),
        *vanish,
        at_most(
            "ReLU, 4 hidden layers: accuracy after 1 epoch", small[0], round(he[0] - chance, 3), "%"
        ),
        at_most(
            "ReLU, 4 hidden layers: accuracy after 2 epochs",
            small[1],
            round(he[1] - chance, 3),
            "%",
        ),
        at_most("ReLU, 4 hidden layers: last accuracy", small[-1], round(he[-1] - chance, 3), "%"),
        at_most(
            "ReLU, 4 hidden layers, uniform: last accuracy",
            accuracies[UNIFORM][-1],
            round(he[-1] - chance, 3),
            "%",
        ),
        *(
            noted(f"ReLU, {law}: gradient left at layer 1", deltas[f"ReLU, {law}"][0])
            for law in SMALL
        ),
        *(noted(f"{a}, He: gradient left at layer 1", deltas[f"{a}, He"][0]) for a in ACTIVATIONS),
        *(noted(f"{n}: accuracy after 1 epoch", v[0], "%") for n, v in accuracies.items()),
        *(noted(f"{n}: accuracy after {len(v)} epochs", v[-1], "%") for n, v in accuracies.items()),
        noted("chain: gradient of its first weight", measured.chain_gradient),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(vanish) else FAILS
    shallow = accuracies["small, 1 hidden"]
    conditions = (
        f"At a deviation of 0.01 layer 1 of {DEPTH} receives {deltas['tanh, normal'][0]:.1g}"
        f" (tanh), {deltas['sigmoid, normal'][0]:.1g} (sigmoid) and"
        f" {deltas['ReLU, normal'][0]:.1g} (ReLU) of the gradient; with four"
        f" hidden layers ReLU has {small[0]:.0%} right after one epoch"
        f" and {small[-1]:.0%} after {len(small)} (uniform:"
        f" {accuracies[UNIFORM][-1]:.0%}), against {he[0]:.0%} and {he[-1]:.0%} from He's"
        f" start, and with one hidden layer {shallow[-1]:.0%}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Gradient by layer, and accuracy by epoch."""
    deltas = {n: d for n, d in measured.deltas.items() if "uniform" not in n}
    accuracies = measured.accuracies
    epochs = len(next(iter(accuracies.values())))
    return [
        picture(
            "lines",
            "Gradient by layer, from small weights and from He's",
            x=range(1, DEPTH + 2),
            y=deltas,
            x_title="layer",
            y_title="norm of the gradient, head = 1",
            y_log=True,
            alt="At layer 1 is left: "
            + ", ".join(f"{n} {d[0]:.1g}" for n, d in deltas.items())
            + ".",
        ),
        picture(
            "lines",
            "The first epochs",
            x=range(1, epochs + 1),
            y={n: [100 * v for v in course] for n, course in accuracies.items()},
            x_title="epoch",
            y_title="held-out accuracy, %",
            alt="Accuracy after the first epoch: "
            + ", ".join(f"{n} {v[0]:.0%}" for n, v in accuracies.items())
            + ".",
            caption="ReLU, each at the best of three learning rates.",
        ),
        table(
            f"Gradient left at layer 1 of {DEPTH}",
            ("case", "share of the head's"),
            [(name, d[0]) for name, d in measured.deltas.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"weight": "he_normal"},
    sources=(
        "Glorot & Bengio 2010, Understanding the difficulty of training deep networks",
        "He et al. 2015, Delving deep into rectifiers",
    ),
    lesson=(
        "Each layer multiplies by the size of its weights, so a small factor to the power of the"
        " depth is what arrives, forward and backward. ReLU is spared the slopes of tanh and"
        " sigmoid but not this product, and it vanishes just as well. In a shallow network small"
        " weights do little harm, for it is depth that makes them too small."
    ),
)
