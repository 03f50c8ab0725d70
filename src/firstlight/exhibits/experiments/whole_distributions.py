"""Do all layers have the same distribution under Glorot?

With Glorot's weights the outputs of all layers come from the same distribution: not only the same
variance, but the same quantiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import ks_2samp, kurtosis
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
from firstlight.exhibits.networks import mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.records.exhibit import Grid, Picture

KINDS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "ReLU": nn.ReLU,
}
WIDTH, LAYERS = 256, 8
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SAME = 0.05
"""Two distributions pass as one here if no quantile's share differs by more than five points."""


@dataclass(frozen=True)
class Layers:
    """By layer: quantiles, deviation, distance from layer 1 as it is and at equal mean square."""

    quantiles: tuple[tuple[float, ...], ...]
    deviation: tuple[float, ...]
    distance: tuple[float, ...]
    shape: tuple[float, ...]
    tails: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """Layers of each activation on normal inputs, and of tanh on the digits."""

    nets: dict[str, Layers]
    chance: float


def measure(pace: Pace, seed: int, *, technique: str = "glorot_normal") -> Measured:
    """Outputs of every layer after its activation, over units and samples."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.randn(pace.pick(128, 512), WIDTH, generator=chance)
    nets = {n: _layers(_outputs(kind, technique, x, seed)) for n, kind in KINDS.items()}
    nets["tanh, digits"] = _layers(_outputs(nn.Tanh, technique, digits().x[: len(x)], seed))
    twice = [_outputs(nn.Identity, technique, x, s)[0] for s in (seed, seed + 1)]
    return Measured(nets, float(ks_2samp(*twice).statistic))


def _outputs(
    kind: Callable[[], nn.Module], technique: str, x: torch.Tensor, seed: int
) -> list[np.ndarray]:
    model = start(mlp((x.shape[1], *(WIDTH,) * LAYERS), kind, bias=False), technique, seed=seed)
    return [kind()(z).flatten().double().numpy() for z in signals(model, x).z]


def _layers(outputs: list[np.ndarray]) -> Layers:
    scaled = [v / np.sqrt(np.mean(v**2)) for v in outputs]  # no shift: ReLU's zeros stay zeros
    return Layers(
        quantiles=tuple(tuple(np.quantile(v, QUANTILES).tolist()) for v in outputs),
        deviation=tuple(float(v.std()) for v in outputs),
        distance=tuple(float(ks_2samp(v, outputs[0]).statistic) for v in outputs),
        shape=tuple(float(ks_2samp(v, scaled[0]).statistic) for v in scaled),
        tails=tuple(float(kurtosis(v)) for v in outputs),
    )


def judge(measured: Measured) -> Judgement:
    """The largest Kolmogorov–Smirnov distance of any layer from the first."""
    nets = measured.nets
    checks = [
        at_most(f"{name}: distance from layer 1, largest", max(net.distance), SAME)
        for name, net in nets.items()
    ]
    linear = checks[0].met
    checks += [
        noted(f"{name}: the same at equal mean square", max(net.shape))
        for name, net in nets.items()
    ]
    checks += [
        noted(f"{name}: deviation, last layer over first", net.deviation[-1] / net.deviation[0])
        for name, net in nets.items()
    ]
    checks += [
        noted("linear: excess kurtosis of the last layer", nets["linear"].tails[-1]),
        noted("distance between two draws of layer 1", measured.chance),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if linear else FAILS
    told = ", ".join(f"{name} {max(net.distance):.2f}" for name, net in nets.items())
    only = ", ".join(f"{name} {max(net.shape):.2f}" for name, net in nets.items())
    conditions = (
        f"Kolmogorov–Smirnov distance of {LAYERS} layers from the first, at most: {told} ({SAME}"
        f" passes as the same); at equal mean square: {only}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Distances and quantiles by layer."""
    layers = range(1, LAYERS + 1)
    nets = measured.nets
    pictures: list[Picture | Grid] = [
        picture(
            "lines",
            title,
            x=layers,
            y={name: getattr(net, what) for name, net in nets.items()},
            x_title="layer",
            y_title="Kolmogorov–Smirnov distance",
            alt="At the last layer: "
            + ", ".join(f"{n} {getattr(net, what)[-1]:.2f}" for n, net in nets.items())
            + ".",
        )
        for title, what in (
            ("Distance from layer 1", "distance"),
            ("The same at equal mean square", "shape"),
        )
    ]
    for name in ("linear", "tanh"):
        found = nets[name].quantiles
        pictures.append(
            picture(
                "lines",
                f"Quantiles of the outputs, {name}",
                x=layers,
                y={f"{100 * p:g} %": [q[i] for q in found] for i, p in enumerate(QUANTILES)},
                x_title="layer",
                y_title="output",
                alt=f"The 95 % quantile goes from {found[0][-1]:.2f} in layer 1 to"
                f" {found[-1][-1]:.2f} in layer {LAYERS}.",
            )
        )
    heads = ("network", "layer", *(f"{100 * p:g} %" for p in QUANTILES), "excess kurtosis")
    rows = [
        (name, i + 1, *net.quantiles[i], net.tails[i])
        for name, net in nets.items()
        for i in range(LAYERS)
    ]
    return [*pictures, table("Quantiles by layer", heads, rows)]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"technique": "torch_linear"},
    sources=(
        "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward networks",
    ),
    lesson=(
        "Glorot's rule is about variances, and it says something on whole distributions only where"
        " each layer's outputs are nearly normal, as in wide linear layers. Under tanh they shrink"
        " from layer to layer and change their form from flat to bell-shaped, and under sigmoid or"
        " ReLU the second layer already looks different from the first. Look at quantiles before"
        " you say that two layers have the same outputs."
    ),
)
