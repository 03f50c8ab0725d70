"""Does layer normalization free the scale of the weights?

Behind layer normalization the scale of a layer's weights does not matter: from a hundredth to a
hundred times a good start, the network computes the same, and so it may start at any of them.
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
    between,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

WIDTHS = (64, 32, 32, 32, 10)
SCALES = (0.01, 0.1, 1.0, 10.0, 100.0)
RATE = 0.1
TOLD = 0.02  # largest share by which the outputs may differ and still be called the same


@dataclass(frozen=True)
class Measured:
    """By scale of the hidden weights."""

    normalized: bool
    output_apart: dict[float, float]
    gradient: dict[float, float]
    gradient_times_scale: dict[float, float]
    moved: dict[float, float]
    accuracy: dict[float, float]


def measure(pace: Pace, seed: int, *, normalized: bool = True) -> Measured:
    """The same draw at each scale: outputs, gradients, and one training at one learning rate."""
    norm = nn.LayerNorm if normalized else None
    data, long = digits(), doubled()
    steps = pace.pick(200, 1500)
    exact = {s: signals(m := _network(norm, s, seed).double(), long.x, long.y) for s in SCALES}
    del m
    outputs = {s: found.z[-1] for s, found in exact.items()}
    apart = {s: float((z - outputs[1.0]).norm() / outputs[1.0].norm()) for s, z in outputs.items()}
    gradient, moved, reached = {}, {}, {}
    for scale in SCALES:
        model = _network(norm, scale, seed).double()
        signals(model, long.x, long.y)
        gradient[scale] = math.sqrt(sum(_squared(p) for p in linears(model)[:-1]))
        model = _network(norm, scale, seed)
        before = [layer.weight.detach().clone() for layer in linears(model)[:-1]]
        train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed)
        moved[scale] = max(
            float((layer.weight.detach() - w).norm() / w.norm())
            for layer, w in zip(linears(model)[:-1], before, strict=True)
        )
        reached[scale] = accuracy(model, data.held_out_x, data.held_out_y)
    return Measured(
        normalized=normalized,
        output_apart=apart,
        gradient=gradient,
        gradient_times_scale={s: s * gradient[s] / gradient[1.0] for s in SCALES},
        moved=moved,
        accuracy=reached,
    )


def _squared(layer: nn.Linear) -> float:
    assert layer.weight.grad is not None
    return float(layer.weight.grad.square().sum())


def _network(norm: Callable[[int], nn.Module] | None, scale: float, seed: int) -> nn.Sequential:
    model = start(mlp(WIDTHS, norm=norm), "he_normal", seed=seed)
    with torch.no_grad():
        for layer in linears(model)[:-1]:
            layer.weight *= scale
    return model


def judge(measured: Measured) -> Judgement:
    """Outputs must stay for the first half of the claim, training for the second."""
    large = [s for s in SCALES if s >= 0.1]  # below, ε = 1e-5 is no longer small
    outputs = [
        at_most(f"scale {s:g}: change of the outputs", measured.output_apart[s], TOLD, "%")
        for s in SCALES
        if s != 1.0
    ]
    worst, best = min(measured.accuracy.values()), max(measured.accuracy.values())
    slow = min(measured.accuracy, key=lambda s: measured.accuracy[s])
    training = at_most("accuracy that scale costs after training", best - worst, 0.02, "%")
    inverse = [
        between(
            f"scale {s:g}: gradient × scale over that at 1",
            measured.gradient_times_scale[s],
            0.9,
            1.1,
        )
        for s in large
    ]
    checks = [
        *outputs,
        training,
        *(m if measured.normalized else noted(m.name, m.value) for m in inverse),
        *(noted(f"scale {s:g}: gradient of the weights", g) for s, g in measured.gradient.items()),
        *(noted(f"scale {s:g}: weights moved, relative", m) for s, m in measured.moved.items()),
        *(noted(f"scale {s:g}: accuracy", a, "%") for s, a in measured.accuracy.items()),
    ]
    kept = [m for m, s in zip(outputs, (s for s in SCALES if s != 1.0), strict=True) if s in large]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(kept) else FAILS
    told = (
        f"From 0.1 to 100 times He's weights the outputs differ by at most"
        f" {max(m.value for m in kept):.2g} of their norm, at 0.01 by"
        f" {measured.output_apart[0.01]:.2g}; the gradient at 100 is"
        f" {measured.gradient[100.0] / measured.gradient[1.0]:.2g} of that at 1, and training at"
        f" one rate ends at {worst:.0%} for scale {slow:g} against {best:.0%} at best."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Gradient and movement by scale, and what training made of each."""
    ends = {s: measured.accuracy[s] for s in SCALES}
    return [
        picture(
            "lines",
            "Gradient and movement by scale of the weights",
            x=SCALES,
            y={
                "gradient of the hidden weights": measured.gradient.values(),
                "relative movement in training": measured.moved.values(),
                "change of the outputs": measured.output_apart.values(),
            },
            x_title="hidden weights, times He's",
            y_title="norm",
            x_log=True,
            y_log=True,
            alt="The gradient is "
            + ", ".join(f"{g:.2g} at {s:g}" for s, g in measured.gradient.items())
            + ".",
            caption="At scale 1 the outputs differ by zero, which a logarithm cannot show.",
        ),
        table(
            f"Trained at one learning rate, {RATE:g}",
            ("scale", "held-out accuracy, %", "weights moved, relative"),
            [(f"{s:g}", 100 * ends[s], measured.moved[s]) for s in SCALES],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"normalized": False},
    sources=(
        "Ba, Kiros & Hinton 2016, Layer Normalization",
        "van Laarhoven 2017, L2 Regularization versus Batch and Weight Normalization",
    ),
    lesson=(
        "A norm divides by the size of what comes in, so the size of the weights before it does not"
        " show in what comes out, as long as it is large against √ε. The gradient is divided by"
        " that size too, so in a step weights c times as large move 1/c² as far relative to"
        " themselves at the same learning rate. The scale is not free, it is a learning rate in"
        " disguise."
    ),
)
