"""Which variance for which activation: is the table right?

A table gives each activation its technique: Glorot (1/fan_avg) for linear, tanh, sigmoid and
softmax, He (2/fan_in) for ReLU and its variants, LeCun (1/fan_in) for SELU; all with mean zero.
That technique is the one that keeps variance, forward and backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import nn

import firstlight as fl
from firstlight.exhibits.experiment import (
    CONDITIONAL,
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
from firstlight.exhibits.networks import kept, passage
from firstlight.exhibits.pictures import picture, table
from firstlight.records.exhibit import Grid, Picture

GLOROT, HE, LECUN = "Glorot 1/fan_avg", "He 2/fan_in", "LeCun 1/fan_in"
TECHNIQUES = {GLOROT: "glorot_normal", HE: "he_normal", LECUN: "lecun_normal"}
KINDS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softmax": partial(nn.Softmax, dim=1),
    "ReLU": nn.ReLU,
    "leaky ReLU 0.01": nn.LeakyReLU,
    "PReLU 0.25": nn.PReLU,
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "SELU": nn.SELU,
}
ADVICE = {
    **dict.fromkeys(("linear", "tanh", "sigmoid", "softmax"), GLOROT),
    **dict.fromkeys(("ReLU", "leaky ReLU 0.01", "PReLU 0.25", "ELU", "GELU"), HE),
    "SELU": LECUN,
}
SHAPES = {"equal widths": (128,) * 12, "funnel": (256, 192, 128, 96, 64, 48, 32)}
TIE = 0.02
"""Off by no more than this beside the best is as good: a layer's factor is known to about 2 %."""


@dataclass(frozen=True)
class Measured:
    """For each shape, activation and technique: mean factor of a layer, forward and backward."""

    advice: dict[str, str]
    factors: dict[str, dict[str, dict[str, tuple[float, float]]]]
    mean: float


def measure(pace: Pace, seed: int, *, shift: int = 0) -> Measured:
    """Every cell; ``shift`` moves each activation's advice so many techniques on."""
    seeds = pace.pick(3, 12)
    names = list(TECHNIQUES)
    advice = {k: names[(names.index(v) + shift) % len(names)] for k, v in ADVICE.items()}
    factors = {
        shape: {
            kind: {
                name: _factors(make, technique, widths, seed, seeds)
                for name, technique in TECHNIQUES.items()
            }
            for kind, make in KINDS.items()
        }
        for shape, widths in SHAPES.items()
    }
    drawn = [fl.draw(t, (256, 256), name="w", seed=seed) for t in TECHNIQUES.values()]
    mean = max(abs(float(w.mean())) / (float(w.std()) / math.sqrt(w.size)) for w in drawn)
    return Measured(advice, factors, mean)


def _factors(
    make: Callable[[], nn.Module], technique: str, widths: tuple[int, ...], seed: int, seeds: int
) -> tuple[float, float]:
    """Geometric means over seeds; the same seeds for every technique, so that they compare."""
    found = [
        passage(make, technique, widths, samples=64, seed=1000 * seed + i).per_layer()[:2]
        for i in range(seeds)
    ]
    forward, backward = np.exp(np.log(found).mean(0))
    return float(forward), float(backward)


def _off(both: tuple[float, float]) -> float:
    """How far the worse direction is from 1: |ln factor| of one layer."""
    return max(abs(math.log(factor)) for factor in both)


def judge(measured: Measured) -> Judgement:
    """The advised technique must be the best of the three, and right to 5 % a layer."""
    cells = measured.factors["equal widths"]
    best, words = [], {}
    for kind, row in cells.items():
        off = {name: _off(both) for name, both in row.items()}
        if off[measured.advice[kind]] <= min(off.values()) + TIE:
            best.append(kind)
        words[kind] = kept(math.exp(off[measured.advice[kind]]))
    funnel = measured.factors["funnel"]
    kept_there = [k for k, row in funnel.items() if _off(row[measured.advice[k]]) <= math.log(1.05)]
    n = len(cells)
    right, roughly, wrong = (
        [k for k, word in words.items() if word == w] for w in ("right", "roughly", "wrong")
    )
    checks = [
        equal("activations whose advised technique is the best of the three", float(len(best)), n),
        equal("activations that keep both directions to 5 % with it", float(len(right)), n),
        noted("to 25 % only", float(len(roughly))),
        noted("not even to 25 %", float(len(wrong))),
        noted("in a funnel: activations that keep both to 5 %", float(len(kept_there))),
        at_most("mean of the weights, largest, in standard errors", measured.mean, 4.0),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if len(best) > n / 2 else FAILS
    conditions = (
        f"The advised technique is the best of three for {len(best)} of {n} activations, not for"
        f" {_named([k for k in cells if k not in best])}; it is"
        f" right for {_named(right)}, roughly for {_named(roughly)}, wrong for {_named(wrong)}, and"
        f" in a funnel right for {_named(kept_there)}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def _named(kinds: list[str]) -> str:
    return ", ".join(kinds) if kinds else "none"


def show(measured: Measured) -> list[Picture | Grid]:
    """The table as a map for each shape and direction, then in numbers."""
    found: list[Picture | Grid] = []
    for shape, cells in measured.factors.items():
        for which, way in enumerate(("forward", "backward")):
            relu = cells["ReLU"][HE][which]
            found.append(
                picture(
                    "map",
                    f"{shape.capitalize()}, {way}",
                    x=list(TECHNIQUES),
                    y={k: [both[which] for both in row.values()] for k, row in cells.items()},
                    x_title="technique",
                    y_title="factor of a layer",
                    y_log=True,
                    alt=f"Factor of a layer {way} for each activation and technique; ReLU with He"
                    f" {relu:.2f}, tanh with Glorot {cells['tanh'][GLOROT][which]:.2f}.",
                )
            )
        rows = [
            (
                k,
                name,
                *both,
                kept(math.exp(_off(both))),
                "yes" if measured.advice[k] == name else "",
            )
            for k, row in cells.items()
            for name, both in row.items()
        ]
        heads = ("activation", "technique", "forward", "backward", "kept", "advised")
        found.append(table(f"Factor of one layer, {shape}", heads, rows))
    return found


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"shift": 1},
    sources=(
        "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward networks",
        "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers",
        "Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural networks",
    ),
    lesson=(
        "The table is exact where it was derived: linear layers with Glorot, ReLU with He, SELU's"
        " length with LeCun. For the other activations it is a rule of thumb, for tanh He's larger"
        " number keeps more than the advised one, for sigmoid and hidden softmax none of the three"
        " will do, and with equal widths Glorot and LeCun are one and the same number. Compute the"
        " gain of your own activation rather than look for the nearest row."
    ),
)
