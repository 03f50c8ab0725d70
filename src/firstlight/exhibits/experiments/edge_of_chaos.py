"""Do networks train best at the edge of chaos?

A deep tanh network trains only if its weights' variance is near the edge between order, where all
inputs become alike, and chaos, where near ones part; theory tells how deep it may be at each
variance, about six times its depth scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

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
    noted,
)
from firstlight.exhibits.networks import linears, mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import best_of_rates
from firstlight.records.exhibit import Grid, Picture
from firstlight.theory.mean_field import chi, depth_scales, fixed_length

WIDTH, SIGMA_B2 = 64, 0.05
SIGMA_W2 = (0.5, 1.0, 1.76, 3.0, 6.0)
"""The third is the edge for this σ_b²: χ₁ = 1.00."""
QUICK_DEPTHS, DEPTHS = (4, 32), (4, 12, 32, 60)
RATES = (0.01, 0.1)
LEARNED = 0.5


@dataclass(frozen=True)
class Measured:
    """By σ_w²: χ₁, the depth that theory allows, and the accuracy at each depth."""

    depths: tuple[int, ...]
    chi: dict[float, float]
    allowed: dict[float, float]
    accuracy: dict[float, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, depths: tuple[int, ...] = ()) -> Measured:
    """Train at each variance and each of ``depths`` (or the pace's), at the best rate of each."""
    steps = pace.pick(60, 250)
    depths = depths or (QUICK_DEPTHS if pace is Pace.QUICK else DEPTHS)
    accuracy = {}
    for sigma_w2 in SIGMA_W2:
        accuracy[sigma_w2] = tuple(
            best_of_rates(
                lambda depth=depth, sigma_w2=sigma_w2: _network(  # type: ignore[misc]
                    depth, sigma_w2, seed
                ),
                digits(),
                RATES,
                steps=steps,
                seed=seed,
            ).accuracy
            for depth in depths
        )
    q = {s: fixed_length("tanh", s, SIGMA_B2) for s in SIGMA_W2}
    return Measured(
        depths,
        {s: chi("tanh", q[s], s) for s in SIGMA_W2},
        {s: _allowed(s) for s in SIGMA_W2},
        accuracy,
    )


def _allowed(sigma_w2: float) -> float:
    """Six times the shorter of both scales: of what inputs tell apart, and of the gradient."""
    scales = depth_scales("tanh", sigma_w2, SIGMA_B2)
    return 6 * min(abs(scales.correlation), abs(scales.gradient))


def _network(depth: int, sigma_w2: float, seed: int) -> nn.Sequential:
    def fill(weight: Tensor) -> None:
        nn.init.normal_(weight, std=math.sqrt(sigma_w2 / weight.shape[1]))

    model = start(mlp((64, *[WIDTH] * depth, 10), nn.Tanh), fill, seed=seed)
    with torch.no_grad():
        for layer in linears(model)[:-1]:
            nn.init.normal_(layer.bias, std=math.sqrt(SIGMA_B2))
    return model


def judge(measured: Measured) -> Judgement:
    """At the largest depth the edge must be best by far; depth over what is allowed must order."""
    deepest = {s: row[-1] for s, row in measured.accuracy.items()}
    edge = min(SIGMA_W2, key=lambda s: abs(math.log(measured.chi[s])))
    ends = max(deepest[SIGMA_W2[0]], deepest[SIGMA_W2[-1]])
    pairs = [
        (depth / measured.allowed[s], a)
        for s, row in measured.accuracy.items()
        for depth, a in zip(measured.depths, row, strict=True)
    ]
    rank = -float(spearmanr(*zip(*pairs, strict=True)).statistic)
    within = [a >= LEARNED for share, a in pairs if share <= 1]
    beyond = [a < LEARNED for share, a in pairs if share > 1]
    right = (sum(within) + sum(beyond)) / len(pairs)
    best = deepest[edge] - max(deepest.values())
    # 360 held-out samples: the difference of two accuracies has a standard error of at most 4 %.
    ordered = [
        at_least(
            f"{measured.depths[-1]} layers: accuracy at the edge over both ends",
            deepest[edge] - ends,
            0.1,
            "%",
        ),
        at_least("rank correlation of accuracy with allowed over actual depth", rank, 0.5),
    ]
    checks = [
        *ordered,
        at_least(
            f"{measured.depths[-1]} layers: accuracy at the edge against the best of all",
            best,
            -0.02,
            "%",
        ),
        at_least("cells in which six depth scales tell what trains", right, 0.8, "%"),
        *(noted(f"σ_w² = {s:g}: χ₁", c) for s, c in measured.chi.items()),
        *(noted(f"σ_w² = {s:g}: allowed layers", a) for s, a in measured.allowed.items()),
        *(
            noted(f"σ_w² = {s:g}: accuracy at {measured.depths[-1]} layers", a, "%")
            for s, a in deepest.items()
        ),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(ordered) else FAILS
    top = max(deepest, key=lambda s: deepest[s])
    told = (
        f"At {measured.depths[-1]} layers accuracy is {deepest[SIGMA_W2[0]]:.0%} deep in order,"
        f" {deepest[edge]:.0%} at the edge (σ_w² = {edge:g}) and {deepest[SIGMA_W2[-1]]:.0%} deep"
        f" in chaos, best at σ_w² = {top:g} with {deepest[top]:.0%}; six depth scales tell what"
        f" trains in {right:.0%} of {len(pairs)} cells, with a rank correlation of {rank:.2f}."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Accuracy over variance and depth beside what theory allows."""
    return [
        picture(
            "map",
            "What trains",
            x=[f"{s:g}" for s in SIGMA_W2],
            y={
                f"{depth} layers": [100 * measured.accuracy[s][i] for s in SIGMA_W2]
                for i, depth in enumerate(measured.depths)
            },
            x_title="σ_w² (variance of a weight × fan_in)",
            y_title="held-out accuracy, %",
            alt=f"At {measured.depths[-1]} layers: "
            + ", ".join(f"{row[-1]:.0%} at σ_w² = {s:g}" for s, row in measured.accuracy.items())
            + ".",
        ),
        picture(
            "lines",
            "What theory allows",
            x=SIGMA_W2,
            y={"six depth scales": [measured.allowed[s] for s in SIGMA_W2]},
            x_title="σ_w²",
            y_title="layers",
            y_log=True,
            alt="Allowed layers: "
            + ", ".join(f"{a:.3g} at σ_w² = {s:g}" for s, a in measured.allowed.items())
            + ".",
            caption=f"tanh, biases of variance {SIGMA_B2:g}.",
        ),
        table(
            "Theory and training",
            (
                "σ_w²",
                "χ₁",
                "allowed layers",
                *(f"accuracy, %, {d} layers" for d in measured.depths),
            ),
            [
                (
                    f"{s:g}",
                    measured.chi[s],
                    measured.allowed[s],
                    *(100 * a for a in measured.accuracy[s]),
                )
                for s in SIGMA_W2
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"depths": (1, 2)},
    sources=(
        "Poole et al. 2016, Exponential Expressivity in Deep Neural Networks",
        "Schoenholz et al. 2017, Deep Information Propagation",
    ),
    lesson=(
        "In the ordered phase all inputs become alike and gradients vanish, in the chaotic one near"
        " inputs part and gradients explode, and in between both last longest. How long is told by"
        " a depth scale that two variances and the activation decide, before anything is trained."
        " It is a rule for depth, so a shallow network trains at nearly any of these variances."
    ),
)
