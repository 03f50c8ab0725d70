"""Does a bias of one wake zero weights?

With weights at zero and biases at one the outputs are alive and the weights do change. But they
change the wrong way: all units of a layer stay one and the same. At the first step only the head
has a gradient, since an error passes a layer of zero weights as zero; each step wakes one more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
from firstlight.exhibits.networks import Filler, linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATE = (64, 16, 16, 10), 0.1
LAYERS = ("layer 1", "layer 2", "head")
LOOKED_AT = 4
"""First steps whose gradients are kept; one more than there are layers."""


@dataclass(frozen=True)
class Course:
    """One training: gradients of the weights at the first steps, and where it led."""

    least_output: float
    first_gradients: dict[str, tuple[float, ...]]
    differing_units: float
    second_direction: float
    losses: tuple[float, ...]
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """The start under test, and He's with which it is compared."""

    steps: int
    tested: Course
    random: Course


def measure(pace: Pace, seed: int, *, weight: Filler = 0.0) -> Measured:
    """Train a ReLU network with all biases at one, from ``weight`` and from He's weights."""
    steps = pace.pick(500, 800)  # later rounding tells equal units apart
    courses = [_course(w, steps, seed) for w in (weight, "he_normal")]
    return Measured(steps, *courses)


def _course(weight: Filler, steps: int, seed: int) -> Course:
    data = doubled()
    model = start(mlp(WIDTHS), weight, bias=1.0, seed=seed).double()
    first = signals(model, data.x)
    kept: list[list[float]] = []

    def watch(done: int) -> None:
        if done < LOOKED_AT:
            kept.append([_largest(layer.weight.grad) for layer in linears(model)])

    done = train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed, watch=watch)
    outputs = signals(model, data.held_out_x).z[-1]
    directions = torch.linalg.svdvals(outputs - outputs.mean(0))
    return Course(
        least_output=min(float(torch.relu(z).mean(0).min()) for z in first.z[:-1]),
        first_gradients=dict(zip(LAYERS, zip(*kept, strict=True), strict=True)),
        differing_units=max(_spread(layer.weight.detach()) for layer in linears(model)[:-1]),
        second_direction=float(directions[1] / directions[0]),
        losses=done.losses,
        accuracy=accuracy(model, data.held_out_x, data.held_out_y),
    )


def _largest(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float(gradient.abs().max())


def _spread(weight: Tensor) -> float:
    """Largest difference of any unit's weights from the first's, of the largest weight."""
    return float((weight - weight[0]).abs().max() / weight.abs().max())


def judge(measured: Measured) -> Judgement:
    """Outputs alive, a gradient that climbs one layer a step, and units that never part."""
    tested, random = measured.tested, measured.random
    first, second, head = (tested.first_gradients[layer] for layer in LAYERS)
    checks = [
        at_least("mean output of the least lively hidden unit", tested.least_output, 1e-6),
        at_least("step 1: largest gradient of the head's weights", head[0], 1e-6),
        equal("step 1: largest gradient of layer 2's weights", second[0], 0.0),
        equal("step 1: largest gradient of layer 1's weights", first[0], 0.0),
        at_least("step 2: largest gradient of layer 2's weights", second[1], 1e-12),
        equal("step 2: largest gradient of layer 1's weights", first[1], 0.0),
        at_least("step 3: largest gradient of layer 1's weights", first[2], 1e-12),
        at_most("relative difference between units, at the end", tested.differing_units, 1e-6),
        at_most("second over first direction of outputs", tested.second_direction, 1e-6),
        noted("held-out accuracy", tested.accuracy, "%"),
        noted("held-out accuracy from He's weights, biases at one", random.accuracy, "%"),
    ]
    conditions = (
        f"The largest gradients of layer 1, layer 2 and the head are {first[0]:.1g},"
        f" {second[0]:.1g} and {head[0]:.1g} at step 1, and {first[1]:.1g}, {second[1]:.1g} and"
        f" {head[1]:.1g} at step 2; after {measured.steps} steps the units of a layer differ by"
        f" {tested.differing_units:.1g} of the largest weight, and {tested.accuracy:.0%} are right"
        f" against {random.accuracy:.0%} from He's weights."
    )
    verdict = HOLDS if all_met(checks) else FAILS
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Gradients of the first steps, and both curves of the loss."""
    tested, random = measured.tested, measured.random
    steps, _ = thinned(tested.losses)
    woke = tested.first_gradients
    return [
        picture(
            "bars",
            "A gradient wakes one layer a step",
            x=[f"step {i + 1}" for i in range(LOOKED_AT)],
            y=woke,
            x_title="step",
            y_title="largest gradient of the weights",
            y_log=True,
            alt="At step 1 only the head has a gradient, "
            f"{woke['head'][0]:.2g}; layer 2 follows with {woke['layer 2'][1]:.2g} at step 2 and"
            f" layer 1 with {woke['layer 1'][2]:.2g} at step 3.",
            caption="Zeros have no bar on this axis.",
        ),
        picture(
            "lines",
            "Training from zero weights and from random ones",
            x=steps,
            y={
                "zero weights, biases one": thinned(tested.losses)[1],
                "He's weights, biases one": thinned(random.losses)[1],
            },
            x_title="step",
            y_title="loss of the batch",
            alt=f"Zero weights end at a loss of {tested.losses[-1]:.2f}, He's at"
            f" {random.losses[-1]:.2f}.",
            caption="A layer whose units are alike passes on one number.",
        ),
        table(
            "Largest gradient of the weights",
            ("step", *LAYERS),
            [(f"{i + 1}", *(woke[layer][i] for layer in LAYERS)) for i in range(LOOKED_AT)],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"weight": "he_normal"},
    sources=("Goodfellow, Bengio & Courville 2016, Deep Learning, section 8.4",),
    lesson=(
        "A bias of one sends something forward, but the error comes back through the weights, and"
        " at zero it does not come back at all. So the head moves first, and each step lets the"
        " error in by one layer more. Awake is not yet useful, for units that start alike and get"
        " alike errors stay one unit."
    ),
)
