"""How little noise breaks the symmetry?

Constant weights are cured by any noise, however small: units that differ by a millionth part
ways and the network learns as it should. Less noise only takes longer, and not much: each factor of
ten costs the same number of steps, for differences between units grow like compound interest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from firstlight.exhibits.digits import Data, digits, doubled
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
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

WIDTHS, CONSTANT, RATE = (64, 16, 10), 0.05, 0.3
NOISES = (1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 1.0)
ROUNDINGS = ("rounding of float32 only", "rounding of float64 only")
APART, SMOOTH = 0.1, 20
"""Units count as different when they differ by a tenth; the loss is averaged over so many steps."""


@dataclass(frozen=True)
class Course:
    """When the units differed and the loss fell below what equal units reach; NaN: never."""

    differ: float
    fell: float
    spread: tuple[float, ...]
    losses: tuple[float, ...]
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """A course for each noise, for rounding alone, and for units that are kept equal."""

    steps: int
    noisy: dict[float, Course]
    rounding: dict[str, Course]
    equal: Course


def measure(pace: Pace, seed: int, *, equal_in_all_units: bool = False) -> Measured:
    """Train from 0.05 · (1 + noise · N(0, 1)); or with noise that is the same in all units."""
    steps, tied = pace.pick(400, 1500), equal_in_all_units
    exact = _course(0.0, steps, seed, float("-inf"), doubled(), tied=True)
    floor = 0.99 * min(exact.losses)  # one per cent below all that equal units reach
    sets = zip(ROUNDINGS, (digits(), doubled()), strict=True)
    return Measured(
        steps=steps,
        noisy={e: _course(e, steps, seed, floor, doubled(), tied=tied) for e in NOISES},
        rounding={n: _course(0.0, steps, seed, floor, data, tied=tied) for n, data in sets},
        equal=exact,
    )


def _course(noise: float, steps: int, seed: int, floor: float, data: Data, *, tied: bool) -> Course:
    model = start(mlp(WIDTHS, nn.Tanh), CONSTANT).to(data.x.dtype)
    hidden, head = linears(model)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in (hidden, head):
            draws = torch.randn(layer.weight.shape, generator=chance, dtype=torch.float64)
            if tied:  # all units get the numbers of the first
                draws = draws[:1].expand_as(draws) if layer is hidden else draws[:, :1]
            layer.weight.mul_((1 + noise * draws).to(layer.weight.dtype))
    spread: list[float] = []

    def watch(done: int) -> None:
        weight = hidden.weight.detach()
        mean = weight.mean(0)
        spread.append(float((weight - mean).norm() / mean.norm() / len(weight) ** 0.5))
        if tied and done < steps:  # as exact arithmetic would keep them
            for parameter, axis in ((hidden.weight, 0), (hidden.bias, 0), (head.weight, 1)):
                assert parameter.grad is not None
                mean = parameter.grad.mean(axis, keepdim=True)
                parameter.grad.copy_(mean.expand_as(parameter))

    done = train(model, data.x, data.y, steps=steps, rate=RATE, seed=seed, watch=watch)
    smooth = np.convolve(done.losses, np.full(SMOOTH, 1 / SMOOTH), "valid")
    return Course(
        differ=_first(np.array(spread) > APART),
        fell=_first(smooth < floor) + SMOOTH - 1,
        spread=thinned(spread)[1],
        losses=thinned(smooth.tolist())[1],
        accuracy=accuracy(model, data.held_out_x, data.held_out_y),
    )


def _first(found: np.ndarray) -> float:
    return float(found.argmax()) if found.any() else float("nan")


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of a straight line through the points, and the share of variance it explains."""
    if not np.isfinite(y).all() or y.std() == 0:
        return float("nan"), float("nan")
    return float(np.polyfit(x, y, 1)[0]), float(np.corrcoef(x, y)[0, 1] ** 2)


def judge(measured: Measured) -> Judgement:
    """All noises must break it; steps must follow the logarithm better than a power of it."""
    noisy, rounding = measured.noisy, measured.rounding
    small = np.log10([e for e in noisy if e < APART])
    steps = np.array([c.differ for e, c in noisy.items() if e < APART])
    per_decade, straight = _fit(-small, steps)
    _, power = _fit(-small, np.log10(steps))
    broken = float(sum(c.differ >= 0 and c.fell >= 0 for c in noisy.values()))
    least, most = noisy[min(noisy)], noisy[max(noisy)]
    checks = [
        at_least("noises that made units differ and the loss fall", broken, len(noisy)),
        at_least("steps against log noise: share of variance explained", straight, 0.9),
        at_least("that share, beyond what a power law explains", straight - power, 0.0),
        at_most("steps until units differ, noise 1e-9", least.differ, measured.steps, "steps"),
        noted("steps that each factor of ten less costs", per_decade, "steps"),
        noted("steps until the loss falls, noise 1e-9", least.fell, "steps"),
        noted("steps until the loss falls, noise 1", most.fell, "steps"),
        *(
            noted(f"steps until units differ, {name}", course.differ, "steps")
            for name, course in rounding.items()
            if course.differ >= 0  # one form of rounding may keep equal units equal for ever
        ),
        noted("held-out accuracy, noise 1e-9", least.accuracy, "%"),
        noted("held-out accuracy, noise 1", most.accuracy, "%"),
        noted("held-out accuracy, units kept equal", measured.equal.accuracy, "%"),
    ]
    if all_met(checks):
        verdict, said = HOLDS, f"each factor of ten less costs {per_decade:.0f} steps"
    elif broken:
        verdict, said = CONDITIONAL, f"the logarithm explains {straight:.0%} of the steps"
    else:
        verdict, said = FAILS, "the units stay one"
    conditions = (
        f"{broken:.0f} of {len(noisy)} noises from {min(noisy):g} to {max(noisy):g} made the units"
        f" differ and the loss fall within {measured.steps} steps, and {said}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Growth of the differences, steps against noise, and the curves of the loss."""
    noisy, shown = measured.noisy, (1e-9, 1e-7, 1e-3, 1.0)
    at, _ = thinned(range(measured.steps + 1))
    steps, _ = thinned(range(measured.steps - SMOOTH + 1))
    curves = {f"noise {e:g}": noisy[e] for e in shown}
    curves[ROUNDINGS[1]] = measured.rounding[ROUNDINGS[1]]
    return [
        picture(
            "lines",
            "Differences between units grow exponentially",
            x=at,
            y={name: c.spread for name, c in curves.items()},
            x_title="step",
            y_title="relative difference between units",
            y_log=True,
            alt="Straight lines on a logarithmic axis that reach a tenth after "
            + ", ".join(f"{c.differ:.0f} steps ({n})" for n, c in curves.items() if c.differ >= 0)
            + ".",
        ),
        picture(
            "points",
            "Less noise takes longer",
            x=tuple(noisy),
            y={
                "units differ by a tenth": [c.differ for c in noisy.values()],
                "loss below that of equal units": [c.fell for c in noisy.values()],
            },
            x_title="relative noise",
            y_title="steps",
            x_log=True,
            alt=f"From {noisy[1.0].fell:.0f} steps at noise 1 to {noisy[1e-9].fell:.0f} at 1e-9"
            " until the loss falls.",
        ),
        picture(
            "lines",
            "Training from constant weights with noise",
            x=[s + SMOOTH for s in steps],
            y={**{n: c.losses for n, c in curves.items()}, "kept equal": measured.equal.losses},
            x_title="step",
            y_title=f"loss, mean of {SMOOTH} steps",
            alt="All noises fall below the plateau of units kept equal, which ends at a loss of"
            f" {measured.equal.losses[-1]:.2f}.",
        ),
        table(
            "Steps until the symmetry is broken (– never)",
            ("noise", "units differ", "loss falls", "held-out accuracy, %"),
            [
                (name, c.differ, c.fell, 100 * c.accuracy)
                for name, c in (
                    *((f"{e:g}", c) for e, c in noisy.items()),
                    *measured.rounding.items(),
                    ("kept equal", measured.equal),
                )
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"equal_in_all_units": True},
    sources=(
        "Goodfellow, Bengio & Courville 2016, Deep Learning, section 8.4",
        "Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of learning",
    ),
    lesson=(
        "Equal units stand on a ridge: exactly equal they stay, and the least difference grows by"
        " the same factor in every step. So noise a million times smaller is not a million times"
        " slower, and even the rounding of numbers can free units in the end. What a tiny noise"
        " costs is the time until the units part, which a proper start does not spend."
    ),
)
