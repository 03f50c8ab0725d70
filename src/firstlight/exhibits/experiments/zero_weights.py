"""Why not zero?

With all weights and biases at zero, every unit of a ReLU network gives zero, no gradient reaches a
hidden layer, and nothing but the last bias ever moves. Tanh fares the same. Sigmoid units give one
half, so their weights do move, but all units of a layer stay one and the same.
"""

from __future__ import annotations

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
    at_most,
    equal,
    noted,
)
from firstlight.exhibits.networks import Filler, linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATE = (64, 16, 16, 10), 0.5
ACTIVATIONS = {"ReLU": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


@dataclass(frozen=True)
class Course:
    """One training: what was there at first, and what had moved at the end."""

    first_output: float
    hidden_gradient: float
    moved: dict[str, float]
    woke: dict[str, float]
    differing_units: float
    output_rank: float
    losses: tuple[float, ...]
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """A course for each activation, and a random start of the ReLU network to compare with."""

    steps: int
    courses: dict[str, Course]
    random: Course
    majority: float


def measure(pace: Pace, seed: int, *, weight: Filler = 0.0) -> Measured:
    """Train the same network from ``weight`` with each activation."""
    steps = pace.pick(300, 2000)
    courses = {name: _course(kind, weight, steps, seed) for name, kind in ACTIVATIONS.items()}
    data = doubled()
    majority = int(torch.bincount(data.y).argmax())
    return Measured(
        steps=steps,
        courses=courses,
        random=_course(nn.ReLU, "he_normal", steps, seed),
        majority=float((data.held_out_y == majority).float().mean()),
    )


def _course(kind: type[nn.Module], weight: Filler, steps: int, seed: int) -> Course:
    data = doubled()
    model = start(mlp(WIDTHS, kind), weight, seed=seed).double()
    before = [p.detach().clone() for p in model.parameters()]
    names = [f"{part} {i}" for i in (1, 2, 3) for part in ("weights", "biases")]
    first = signals(model, data.x, data.y)
    hidden, woke = 0.0, dict.fromkeys(names, float("nan"))

    def watch(done: int) -> None:
        nonlocal hidden
        for name, parameter in zip(names, model.parameters(), strict=True):
            largest = float(parameter.grad.abs().max()) if parameter.grad is not None else 0.0
            if not name.endswith("3"):
                hidden = max(hidden, largest)
            if largest > 0 and not woke[name] >= 0:
                woke[name] = done + 1

    done = train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed, watch=watch)
    moved = [
        float((p - q).detach().abs().max()) for p, q in zip(model.parameters(), before, strict=True)
    ]
    last = signals(model, data.held_out_x)
    return Course(
        first_output=max(float(z.abs().max()) for z in first.z),
        hidden_gradient=hidden,
        moved=dict(zip(names, moved, strict=True)),
        woke=woke,
        differing_units=max(_spread(layer.weight) for layer in linears(model)[:-1]),
        output_rank=_second_share(last.z[-1]),
        losses=done.losses,
        accuracy=accuracy(model, data.held_out_x, data.held_out_y),
    )


def _spread(weight: Tensor) -> float:
    """Largest difference of any unit's weights from the first unit's."""
    return float((weight - weight[0]).detach().abs().max())


def _second_share(outputs: Tensor) -> float:
    """Second over first singular value of the centred outputs; 0 if they vary along one line."""
    values = torch.linalg.svdvals((outputs - outputs.mean(0)).double())
    return float(values[1] / values[0]) if values[0] > 1e-12 else 0.0


def judge(measured: Measured) -> Judgement:
    """All must be exact: a zero is a zero."""
    relu, tanh, sigmoid = (measured.courses[name] for name in ACTIVATIONS)
    others = {
        name: max(moved for what, moved in course.moved.items() if what != "biases 3")
        for name, course in measured.courses.items()
    }
    checks = [
        equal("ReLU: largest output of any unit at the start", relu.first_output, 0.0),
        equal("ReLU: largest hidden gradient in training", relu.hidden_gradient, 0.0),
        equal("ReLU: largest move of anything but the last bias", others["ReLU"], 0.0),
        equal("tanh: largest hidden gradient in training", tanh.hidden_gradient, 0.0),
        equal("tanh: largest move of anything but the last bias", others["tanh"], 0.0),
        at_most("sigmoid: difference between units of a layer", sigmoid.differing_units, 1e-6),
        at_most("sigmoid: second over first direction of outputs", sigmoid.output_rank, 1e-4),
        noted("sigmoid: largest move of anything but the last bias", others["sigmoid"]),
        noted("ReLU: move of the last bias", relu.moved["biases 3"]),
        noted("ReLU: held-out accuracy", relu.accuracy, "%"),
        noted("sigmoid: held-out accuracy", sigmoid.accuracy, "%"),
        noted("ReLU from He's start: held-out accuracy", measured.random.accuracy, "%"),
        noted("always the most frequent digit: held-out accuracy", measured.majority, "%"),
    ]
    verdict = HOLDS if all_met(checks) else FAILS
    conditions = (
        f"In {measured.steps} steps the ReLU network moved its last bias by"
        f" {relu.moved['biases 3']:.2f} and everything else by {others['ReLU']:.2g}, the sigmoid"
        f" network moved by {others['sigmoid']:.2g} with units that differ by"
        f" {sigmoid.differing_units:.1g}; accuracies {relu.accuracy:.0%} and"
        f" {sigmoid.accuracy:.0%} against {measured.random.accuracy:.0%} from He's start."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """What moved, the curves of the loss, and the step at which each parameter woke."""
    names = list(measured.random.moved)
    courses = {**measured.courses, "ReLU, He's start": measured.random}
    steps, _ = thinned(measured.random.losses)
    return [
        picture(
            "bars",
            "What training moves",
            x=names,
            y={name: course.moved.values() for name, course in courses.items()},
            x_title="parameters, by layer",
            y_title="largest change",
            alt="From zero, ReLU and tanh move nothing but the biases of layer 3; sigmoid moves"
            " all, and so does ReLU from He's start.",
        ),
        picture(
            "lines",
            "Training from zero",
            x=steps,
            y={name: thinned(course.losses)[1] for name, course in courses.items()},
            x_title="step",
            y_title="loss of the batch",
            alt="Loss over steps: "
            + ", ".join(f"{n} ends at {c.losses[-1]:.2f}" for n, c in courses.items())
            + ".",
            caption="ln 10 = 2.30 is the loss of a guess.",
        ),
        table(
            "First step at which a parameter has a gradient (– never)",
            ("parameter", *courses),
            [(name, *(course.woke[name] for course in courses.values())) for name in names],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"weight": "he_normal"},
    sources=(
        "Goodfellow, Bengio & Courville 2016, Deep Learning, section 8.4",
        "Common interview question",
    ),
    lesson=(
        "A weight learns from what arrives at it times what comes back to it, and at zero at least"
        " one of the two is zero. ReLU and tanh stay there for ever; sigmoid passes one half"
        " forward and gets going, but all units of a layer do the same, so it has one unit per"
        " layer. Draw the weights at random; the biases may well be zero."
    ),
)
