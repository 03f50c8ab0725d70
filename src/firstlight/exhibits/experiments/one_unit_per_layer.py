"""Is a layer of equal sigmoid units one unit?

When all weights start at the same constant, a layer of sigmoid units acts as a single one, however
many units it has: a network of one unit per layer gives the same outputs and, trained beside it,
the same losses step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    noted,
)
from firstlight.exhibits.networks import Filler, linears, mlp, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import train
from firstlight.records.exhibit import Grid, Picture

WIDTHS, CONSTANT, RATE = (2, 8, 32, 64), 0.05, 3.0
INPUTS, CLASSES = 64, 10


@dataclass(frozen=True)
class Pair:
    """A wide network and its network of one unit per layer, trained on the same batches."""

    outputs_apart: float
    losses_apart: float
    plain_apart: float
    fell_by: float
    wide: tuple[float, ...]
    narrow: tuple[float, ...]
    plain: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """A pair for each width."""

    steps: int
    pairs: dict[int, Pair]


def measure(pace: Pace, seed: int, *, weight: Filler = CONSTANT) -> Measured:
    """Train both networks of each width side by side."""
    steps = pace.pick(200, 250)  # later rounding tells equal units apart
    return Measured(steps, {n: _pair(n, weight, steps, seed) for n in WIDTHS})


def _pair(width: int, weight: Filler, steps: int, seed: int) -> Pair:
    data = doubled()
    wide = start(mlp((INPUTS, width, width, CLASSES), nn.Sigmoid), weight, seed=seed).double()
    narrow, plain = _narrowed(wide), _narrowed(wide)
    with torch.no_grad():
        begun = wide(data.held_out_x)
        apart = float((begun - narrow(data.held_out_x)).abs().max())

    def narrow_sgd(parameters: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
        groups = zip(parameters, _rates(width), strict=True)
        return torch.optim.SGD([{"params": [p], "lr": lr * share} for p, share in groups])

    courses = [
        train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed, optimizer=optimizer).losses
        for model, optimizer in (
            (wide, torch.optim.SGD),
            (narrow, lambda parameters, lr: narrow_sgd(list(parameters), lr)),
            (plain, torch.optim.SGD),
        )
    ]
    at_end, tail = courses[0], max(1, steps // 10)
    return Pair(
        outputs_apart=apart,
        losses_apart=_apart(courses[0], courses[1]),
        plain_apart=_apart(courses[0], courses[2]),
        fell_by=at_end[0] - sum(at_end[-tail:]) / tail,
        wide=thinned(courses[0])[1],
        narrow=thinned(courses[1])[1],
        plain=thinned(courses[2])[1],
    )


def _narrowed(wide: nn.Module) -> nn.Module:
    """One unit per layer: the first unit's weights, summed over the equal units they come from."""
    model = mlp((INPUTS, 1, 1, CLASSES), nn.Sigmoid).double()
    with torch.no_grad():
        for i, (small, large) in enumerate(zip(linears(model), linears(wide), strict=True)):
            weight = large.weight if i == 0 else large.weight.sum(1, keepdim=True)
            small.weight.copy_(weight[: len(small.weight)])
            small.bias.copy_(large.bias[: len(small.bias)])
    return model


def _rates(width: int) -> tuple[float, ...]:
    """Learning rates that make one unit learn as n equal units, parameter by parameter.

    It carries the error of all n, so what leads into it must learn at 1/n; its outgoing weight
    stands for n that each learn, so what leads out of it must learn at n.
    """
    n = float(width)
    return (1 / n, 1 / n, 1.0, 1 / n, n, 1.0)


def _apart(a: Sequence[float], b: Sequence[float]) -> float:
    return max(abs(u - v) for u, v in zip(a, b, strict=True))


def judge(measured: Measured) -> Judgement:
    """Losses are near 2 in float64: 1e-9 is what hundreds of steps may make of 1e-15."""
    pairs = measured.pairs
    checks = []
    for n, pair in pairs.items():
        name = f"{n} units and 1: largest difference of"
        checks += [
            at_most(f"{name} first outputs", pair.outputs_apart, 1e-12),
            at_most(f"{name} losses in training", pair.losses_apart, 1e-9),
        ]
    checks += [
        at_least("fall of the loss, smallest over the widths", _least_fall(measured), 1e-3),
        *(
            noted(f"{n} units and 1 at the same rate: losses", p.plain_apart)
            for n, p in pairs.items()
        ),
    ]
    worst = max(pair.losses_apart for pair in pairs.values())
    plain = max(pair.plain_apart for pair in pairs.values())
    conditions = (
        f"Over {measured.steps} steps networks of {', '.join(map(str, pairs))} units per layer and"
        f" of one differ by at most {worst:.1g} in loss while it falls by"
        f" {_least_fall(measured):.2g} or more; at one plain learning rate they would differ by"
        f" {plain:.2g}, since n equal units also learn n times as fast."
    )
    verdict = HOLDS if all_met(checks) else FAILS
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _least_fall(measured: Measured) -> float:
    return min(pair.fell_by for pair in measured.pairs.values())


def show(measured: Measured) -> list[Picture | Grid]:
    """Curves that cover each other, and the table of differences."""
    widest = measured.pairs[max(measured.pairs)]
    steps, _ = thinned(range(measured.steps))
    return [
        picture(
            "lines",
            f"{max(measured.pairs)} sigmoid units per layer, and one",
            x=steps,
            y={
                f"{max(measured.pairs)} equal units": widest.wide,
                "one unit, rates to match": widest.narrow,
                "one unit, plain rate": widest.plain,
            },
            x_title="step",
            y_title="loss of the batch",
            alt=f"The first two curves differ by at most {widest.losses_apart:.1g}; one unit at"
            f" the plain rate is up to {widest.plain_apart:.2g} away.",
            caption="Matching rates: 1/n into the unit, n out of it.",
        ),
        table(
            "Largest differences from one unit per layer",
            ("units per layer", "first outputs", "losses", "losses at the plain rate", "fall"),
            [
                (f"{n}", p.outputs_apart, p.losses_apart, p.plain_apart, p.fell_by)
                for n, p in measured.pairs.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"weight": "glorot_normal"},
    sources=("Common lecture claim on constant initialization",),
    lesson=(
        "Equal units give equal numbers, and the next layer only ever sees their sum, so one unit"
        " with the summed weight does the same work. All that the other units add is speed, as if"
        " the learning rate were larger. You pay for a wide layer and own a narrow one."
    ),
)
