"""Do early layers of deep networks stand still?

In deep sigmoid and tanh networks the gradient vanishes on its way to the first layers. These then
hardly move while the last layers do, training is unbalanced, and the network learns slowly or
not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from firstlight.exhibits.digits import digits
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
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

NETS: dict[str, tuple[type[nn.Module], str, float]] = {
    "sigmoid, Glorot": (nn.Sigmoid, "glorot_normal", 1.0),
    "tanh, Glorot": (nn.Tanh, "glorot_normal", 1.0),
    "tanh, Glorot × 0.2": (nn.Tanh, "glorot_normal", 0.2),
    "ReLU, He": (nn.ReLU, "he_normal", 1.0),
}
WIDTH = 32
RATES = (0.1, 0.5)
VANISHED = 1e-2
"""What "vanishes" means here: less than a hundredth of the last layer's gradient is left."""
EARLY = 130
"""The step from which movement is judged, at either pace; what comes later is only noted."""
UNBALANCED = 0.1
"""What "stands still" means: the first layer moves less than a tenth of what the last moves."""


@dataclass(frozen=True)
class Course:
    """Norms of δ at the start, and ‖W − W₀‖/‖W₀‖ of every layer at the steps in ``at``."""

    delta: tuple[float, ...]
    at: tuple[int, ...]
    moved: tuple[tuple[float, ...], ...]
    accuracy: float
    loss: float

    def balance(self, by: int) -> float:
        """Movement of the first layer over that of the last, at the first look from a step on."""
        looks = zip(self.at, self.moved, strict=True)
        moved = next((m for at, m in looks if at >= by), self.moved[-1])
        return moved[0] / moved[-1]


@dataclass(frozen=True)
class Measured:
    """A course for each net at its better rate."""

    hidden: int
    steps: int
    courses: dict[str, Course]


def measure(pace: Pace, seed: int, *, hidden: int = 6) -> Measured:
    """Train each net with SGD and watch its layers move."""
    steps = pace.pick(150, 2000)
    courses = {
        name: min((_course(name, hidden, steps, rate, seed) for rate in RATES), key=_final)
        for name in NETS
    }
    return Measured(hidden, steps, courses)


def _final(course: Course) -> float:
    return course.loss


def _course(name: str, hidden: int, steps: int, rate: float, seed: int) -> Course:
    kind, technique, scale = NETS[name]
    data = digits()
    model = start(mlp((64, *(WIDTH,) * hidden, 10), kind), technique, seed=seed)
    layers = linears(model)
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(scale)
    first = [layer.weight.detach().clone() for layer in layers]
    delta = tuple(float(d.norm()) for d in signals(model, data.x, data.y).delta)
    at: list[int] = []
    moved: list[tuple[float, ...]] = []

    def watch(done: int) -> None:
        if done and done % (steps // 15) == 0:
            at.append(done)
            pairs = zip(layers, first, strict=True)
            moved.append(tuple(float((v.weight.detach() - w).norm() / w.norm()) for v, w in pairs))

    run = train(model, data.x, data.y, steps=steps, rate=rate, seed=seed, watch=watch)
    got = accuracy(model, data.held_out_x, data.held_out_y)
    return Course(delta, tuple(at), tuple(moved), got, run.tail())


def judge(measured: Measured) -> Judgement:
    """Sigmoid and tanh as taught, each from the start that is made for it."""
    ratios = {n: c.delta[0] / c.delta[-1] for n, c in measured.courses.items()}
    moves = {n: c.balance(EARLY) for n, c in measured.courses.items()}
    checks = []
    for name in NETS:
        what = f"{name}: δ, first layer over last"
        move = f"{name}: relative movement, first layer over last"
        if name.startswith("ReLU"):
            checks += [noted(what, ratios[name]), noted(move, moves[name])]
        else:
            checks += [
                at_most(what, ratios[name], VANISHED),
                at_most(move, moves[name], UNBALANCED),
            ]
    checks += [
        noted(f"{name}: held-out accuracy", course.accuracy, "%")
        for name, course in measured.courses.items()
    ]
    checks.append(
        noted(
            f"sigmoid: the same movement after {measured.steps} steps",
            measured.courses["sigmoid, Glorot"].balance(measured.steps),
        )
    )
    sigmoid = all(check.met for check in checks[:2])
    verdict = HOLDS if all_met(checks) else CONDITIONAL if sigmoid else FAILS
    told = "; ".join(
        f"{n}: δ {ratios[n]:.2g}, movement {moves[n]:.2g}, accuracy {c.accuracy:.0%}"
        for n, c in measured.courses.items()
    )
    conditions = (
        f"First layer over last, with {measured.hidden} hidden layers, movement by step {EARLY}:"
        f" {told}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Gradients at the start, movement by layer and over training."""
    layers = range(1, measured.hidden + 2)
    courses = measured.courses
    sigmoid = courses["sigmoid, Glorot"]
    ends = [0, measured.hidden // 2, measured.hidden]
    return [
        picture(
            "lines",
            "Gradient by layer before training",
            x=layers,
            y={n: [d / c.delta[-1] for d in c.delta] for n, c in courses.items()},
            x_title="layer",
            y_title="‖δ‖ over that of the last layer",
            y_log=True,
            alt="At the first layer: "
            + ", ".join(f"{n} {c.delta[0] / c.delta[-1]:.1g}" for n, c in courses.items())
            + ".",
        ),
        picture(
            "lines",
            "Movement by layer after training",
            x=layers,
            y={n: c.moved[-1] for n, c in courses.items()},
            x_title="layer",
            y_title="‖W − W₀‖ / ‖W₀‖",
            y_log=True,
            alt="Relative movement of the first and the last layer: "
            + ", ".join(
                f"{n} {c.moved[-1][0]:.1g}, {c.moved[-1][-1]:.1g}" for n, c in courses.items()
            )
            + ".",
        ),
        picture(
            "lines",
            "The sigmoid network over training",
            x=sigmoid.at,
            y={f"layer {i + 1}": [m[i] for m in sigmoid.moved] for i in sorted(set(ends))},
            x_title="step",
            y_title="‖W − W₀‖ / ‖W₀‖",
            y_log=True,
            alt=f"After {sigmoid.at[-1]} steps the first layer has moved by"
            f" {sigmoid.moved[-1][0]:.1g} of its norm, the last by {sigmoid.moved[-1][-1]:.1g}.",
        ),
        table(
            "At the end",
            ("network", "accuracy, %", "loss", "first layer moved", "last layer moved"),
            [
                (n, 100 * c.accuracy, c.loss, c.moved[-1][0], c.moved[-1][-1])
                for n, c in courses.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"hidden": 1},
    sources=(
        "Bengio, Simard & Frasconi 1994, Learning long-term dependencies is difficult",
        "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward networks",
    ),
    lesson=(
        "A sigmoid network of six hidden layers hands its first layer less than a thousandth of"
        " the gradient, so that layer stands still while the last one moves, and the loss stays"
        " where a guess would be. Tanh from too small a start hardly moves in any layer, for its"
        " signal vanishes too, and from Glorot's start all its layers move alike. It is not the"
        " name of the activation that decides but the factors by which a layer multiplies signal"
        " and gradient, and these are set at the start."
    ),
)
