"""Does LeCun suit SELU, tanh and logistic alike?

Weights of variance 1/fan_in keep the variance of activations and gradients through layers of SELU,
of tanh, and of the logistic function.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from firstlight.exhibits.experiment import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    interval_between,
    noted,
)
from firstlight.exhibits.networks import Passage, kept, passage
from firstlight.exhibits.pictures import picture, table
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Measurement, Picture


class ScaledTanh(nn.Module):
    """The function that LeCun derived 1/fan_in for: 1.7159 tanh(2x/3), which has f(±1) = ±1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Formula above."""
        return 1.7159 * torch.tanh(2 / 3 * x)


KINDS = {"SELU": nn.SELU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "LeCun's tanh": ScaledTanh}
LAWS = ("normal", "uniform")
LAYERS, WIDTH = 11, 128


@dataclass(frozen=True)
class Measured:
    """Factors of a layer (length, gradient, signal) by seed and law, and one passage."""

    factors: dict[str, tuple[tuple[float, float, float], ...]]
    ends: dict[str, tuple[float, ...]]
    by_layer: dict[str, Passage]


def measure(pace: Pace, seed: int, *, factor: float = 1.0) -> Measured:
    """Ten layers of each activation, with 1/fan_in times ``factor`` in both laws."""
    factors, ends, by_layer = {}, {}, {}
    for kind, make in KINDS.items():
        run = partial(passage, make, widths=(WIDTH,) * (LAYERS + 1), factor=factor, samples=128)
        runs = [
            run(f"lecun_{law}", seed=1000 * seed + i)
            for law in LAWS
            for i in range(pace.pick(6, 20))
        ]
        factors[kind] = tuple(r.per_layer() for r in runs)
        ends[kind] = tuple(r.length[-1] for r in runs)
        by_layer[kind] = runs[0]
    return Measured(factors, ends, by_layer)


def judge(measured: Measured) -> Judgement:
    """Each is held to 5 % a layer both ways; SELU's length decides whether there is anything."""
    checks: list[Measurement] = []
    said = []
    for kind in KINDS:
        triples = measured.factors[kind]
        words = []
        for which, way in enumerate(("length", "gradient")):
            mean, ends = mean_interval([t[which] for t in triples])
            worst = max(ends, key=lambda v: max(v, 1 / max(v, 1e-9)))
            name = f"{kind}: {way}, factor of a layer"
            if kind == "LeCun's tanh":  # not what is taught: noted, to tell what was meant
                checks.append(noted(name, mean))
            else:
                checks.append(interval_between(name, mean, ends, 1 / 1.05, 1.05))
            words.append(f"{mean:.2g} ({kept(worst)})")
        checks.append(
            noted(f"{kind}: signal, factor of a layer", mean_interval([t[2] for t in triples])[0])
        )
        checks.append(
            noted(f"{kind}: length in the last layer", mean_interval(measured.ends[kind])[0])
        )
        said.append(f"{kind} {words[0]} and {words[1]}")
    verdict = HOLDS if all_met(checks) else CONDITIONAL if checks[0].met else FAILS
    told = {HOLDS: "All keep both", CONDITIONAL: "SELU keeps its length, but not all is kept"}
    conditions = (
        f"{told.get(verdict, 'Not even SELU keeps its length')}; a layer multiplies length and"
        f" gradient by: {'; '.join(said)}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Variance by layer both ways, and every factor."""
    layers = range(1, LAYERS + 1)
    seen = measured.by_layer
    pictures: list[Picture | Grid] = [
        picture(
            "lines",
            title,
            x=layers,
            y={kind: getattr(one, what) for kind, one in seen.items()},
            x_title="layer",
            y_title=axis,
            y_log=True,
            alt=f"{axis}, last layer over first: "
            + ", ".join(
                f"{k} {getattr(p, what)[-1] / getattr(p, what)[0]:.2g}" for k, p in seen.items()
            )
            + ".",
        )
        for title, what, axis in (
            ("Forward: length", "length", "mean square of z"),
            ("Forward: what tells samples apart", "signal", "variance of z over samples"),
            ("Backward", "error", "mean square of δ"),
        )
    ]
    rows = [
        (kind, *(mean_interval([t[i] for t in triples])[0] for i in range(3)))
        for kind, triples in measured.factors.items()
    ]
    heads = ("activation", "length", "gradient", "signal")
    return [*pictures, table("Factor of one layer, mean over seeds and laws", heads, rows)]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"factor": 2.0},
    sources=(
        "LeCun, Bottou, Orr & Müller 1998, Efficient BackProp",
        "Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural networks",
    ),
    lesson=(
        "SELU was built so that 1/fan_in keeps its length at one, and it does; its gradient grows"
        " by seven per cent a layer, which is not much and not nothing. Plain tanh shrinks under"
        " 1/fan_in, for LeCun's argument was about a stretched tanh that maps one to one. The"
        " logistic function is the wrong guest: its length stands still because of its mean of one"
        " half, while what tells samples apart and the gradient lose a factor of about 18 a layer."
    ),
)
