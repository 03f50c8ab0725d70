"""Do ReLU units die, and stay dead?

A ReLU unit that is below zero for all samples has no gradient and is dead. This happens at high
learning rates and with negative biases, it lasts for ever, and leaky units do not know it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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
    at_least,
    at_most,
    equal,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

WIDTHS = (64, 32, 32, 32, 10)
CASES: dict[str, tuple[type[torch.optim.Optimizer], float, float]] = {
    "SGD 0.1": (torch.optim.SGD, 0.1, 0.0),
    "SGD 1": (torch.optim.SGD, 1.0, 0.0),
    "Adam 0.1": (torch.optim.Adam, 0.1, 0.0),
    "SGD 0.1, bias −4": (torch.optim.SGD, 0.1, -4.0),
}
"""Optimizer, learning rate, and constant of all biases at the start; the first is the usual one."""
DEADLY = ("Adam 0.1", "SGD 0.1, bias −4")
SLOPE = 0.1
SOME = 0.05
"""One unit in twenty."""


@dataclass(frozen=True)
class Course:
    """Units over training: the steps looked at, and for each hidden layer the share dead then."""

    at: tuple[int, ...]
    dead: tuple[tuple[float, ...], ...]
    died: tuple[int, ...]
    revived: tuple[int, ...]
    no_gradient: float
    accuracy: float

    def share(self, when: int) -> float:
        """Over all hidden layers, which are of one width."""
        return sum(self.dead[when]) / len(self.dead[when])


@dataclass(frozen=True)
class Measured:
    """Courses of the network that is asked about and of its leaky twin."""

    courses: dict[str, Course]
    leaky: dict[str, Course]


def measure(pace: Pace, seed: int, *, slope: float = 0.0) -> Measured:
    """Train with ``slope`` on the left of zero, and with a leaky slope, in each case."""
    steps = pace.pick(150, 1500)
    asked: Callable[[], nn.Module] = partial(nn.LeakyReLU, slope) if slope else nn.ReLU
    leaky = partial(nn.LeakyReLU, SLOPE)
    return Measured(
        {n: _course(asked, *case, steps, seed) for n, case in CASES.items()},
        {n: _course(leaky, *case, steps, seed) for n, case in CASES.items()},
    )


def _course(
    kind: Callable[[], nn.Module],
    optimizer: type[torch.optim.Optimizer],
    rate: float,
    bias: float,
    steps: int,
    seed: int,
) -> Course:
    data = digits()
    model = start(mlp(WIDTHS, kind), "he_normal", bias=bias, seed=seed)
    at: list[int] = []
    shares: list[tuple[float, ...]] = []
    hidden = len(WIDTHS) - 2
    died, revived, before = [0] * hidden, [0] * hidden, [torch.zeros(0)] * hidden

    def watch(done: int) -> None:
        if done % (steps // 30):
            return
        now = _dead(model)
        at.append(done)
        shares.append(tuple(float(mask.float().mean()) for mask in now))
        for i, mask in enumerate(now):
            if len(before[i]):
                died[i] += int((mask & ~before[i]).sum())
                revived[i] += int((before[i] & ~mask).sum())
            before[i] = mask

    train(
        model, data.x, data.y, steps=steps, rate=rate, optimizer=optimizer, seed=seed, watch=watch
    )
    model.zero_grad()
    nn.functional.cross_entropy(model(data.x), data.y).backward()
    still = [
        (layer.weight.grad == 0).all(1).float().mean()
        for layer in linears(model)[:-1]
        if layer.weight.grad is not None
    ]
    return Course(
        tuple(at),
        tuple(shares),
        tuple(died),
        tuple(revived),
        float(torch.stack(still).mean()),
        accuracy(model, data.held_out_x, data.held_out_y),
    )


def _dead(model: nn.Sequential) -> list[torch.Tensor]:
    """For each hidden layer, which units have slope zero on every sample of the training data."""
    masks, x = [], digits().x
    for part in model:
        z = x if isinstance(part, nn.Linear) else x.detach().requires_grad_()
        x = part(z)
        if not isinstance(part, nn.Linear):
            (slope,) = torch.autograd.grad(x.sum(), z)
            masks.append((slope == 0).all(0))
    return masks


def judge(measured: Measured) -> Judgement:
    """Units must die, none may come back, and the leaky twin must have none."""
    courses = measured.courses
    deaths = [
        at_least(f"{name}: dead at the end", courses[name].share(-1), SOME, "%") for name in DEADLY
    ]
    first = float(sum(course.revived[0] for n, course in courses.items() if n.startswith("SGD")))
    ever = courses[DEADLY[1]].dead[0][0]
    later = float(sum(sum(course.revived[1:]) for course in courses.values()))
    leaky = max(max(map(sum, course.dead)) for course in measured.leaky.values())
    checks = [
        *deaths,
        equal("first layer under SGD: units that came back", first, 0.0, "units"),
        equal("later layers: units that came back", later, 0.0, "units"),
        equal("leaky: largest share of dead units", leaky, 0.0, "%"),
        at_most("usual start and rate: dead at the end", courses["SGD 0.1"].share(-1), SOME, "%"),
        noted(f"first layer: dead at the start with {DEADLY[1]}", ever, "%"),
        noted(
            "first layer: units that died in training",
            float(sum(c.died[0] for c in courses.values())),
        ),
        noted(
            "later layers: units that died in training",
            float(sum(sum(c.died[1:]) for c in courses.values())),
        ),
        *(noted(f"{n}: dead at the start", c.share(0), "%") for n, c in courses.items()),
        *(noted(f"{n}: steps to most dead", float(_worst(c)), "steps") for n, c in courses.items()),
        *(noted(f"{n}: units without gradient", c.no_gradient, "%") for n, c in courses.items()),
        *(noted(f"{n}: accuracy", c.accuracy, "%") for n, c in courses.items()),
        *(noted(f"{n}, leaky: accuracy", c.accuracy, "%") for n, c in measured.leaky.items()),
    ]
    core = all_met([*deaths, checks[2], checks[4]])
    verdict = HOLDS if all_met(checks) else CONDITIONAL if core else FAILS
    told = ", ".join(f"{c.share(-1):.0%} ({n})" for n, c in courses.items())
    conditions = (
        f"Dead at the end: {told}; under SGD {first:g} units of the first layer came back,"
        f" of the later layers {later:g} units; of"
        f" leaky units at most {leaky:.0%} were dead at any time."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _worst(course: Course) -> int:
    """The step at which most units were dead."""
    shares = [course.share(i) for i in range(len(course.at))]
    return course.at[shares.index(max(shares))]


def show(measured: Measured) -> list[Picture | Grid]:
    """Dead units over training, by case and by layer."""
    courses = measured.courses
    at = courses["SGD 0.1"].at
    shares = {
        name: [100 * course.share(i) for i in range(len(course.at))]
        for name, course in courses.items()
    }
    return [
        picture(
            "lines",
            "Dead units over training",
            x=at,
            y=shares,
            x_title="step",
            y_title="dead on all training data, % of hidden units",
            alt="Start, most, end: "
            + ", ".join(f"{n} {v[0]:.0f}, {max(v):.0f}, {v[-1]:.0f} %" for n, v in shares.items())
            + ".",
            caption="Each unit is looked at on all training samples, thirty times in the run.",
        ),
        table(
            "By hidden layer",
            ("case", "layer", "dead at the start, %", "dead at the end, %", "died", "came back"),
            [
                (n, i + 1, 100 * c.dead[0][i], 100 * c.dead[-1][i], c.died[i], c.revived[i])
                for n, c in courses.items()
                for i in range(len(c.died))
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"slope": SLOPE},
    sources=(
        "Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network acoustic models",
        "Lu, Shin, Su & Karniadakis 2020, Dying ReLU and initialization",
    ),
    lesson=(
        "A ReLU unit dies when one large step, or a bias far below zero, takes it under zero for"
        " every sample; at a usual start and rate hardly any does. In the first layer plain SGD"
        " never brings one back, for its inputs are fixed and it has no gradient; in later layers"
        " inputs move, and many come back. A leaky unit has always a gradient and cannot die, which"
        " does not mean that its network trains well at such a rate."
    ),
)
