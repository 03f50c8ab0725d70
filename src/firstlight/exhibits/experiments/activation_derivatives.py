"""Do slopes below one make gradients vanish?

The sigmoid lies in (0, 1), with slope σ(1 − σ) ≤ ¼; tanh lies in (−1, 1), with slope 1 − tanh² ≤ 1.
Backpropagation multiplies one slope per layer, so with either the product vanishes with
depth; ReLU, whose slope is one where it is active, differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
    between,
    equal,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.records.exhibit import Grid, Picture

WIDTH, SAMPLES = 128, 128
VANISHED = 1e-3
"""What "vanishes" means here: less than a thousandth is left at the first layer."""


@dataclass(frozen=True)
class Measured:
    """Curves on a grid, and by depth the slopes' product and what is left of δ."""

    depth: int
    grid: tuple[float, ...]
    slopes: dict[str, tuple[float, ...]]
    largest: dict[str, float]
    apart: dict[str, float]
    range_of: dict[str, tuple[float, float]]
    products: dict[str, tuple[float, ...]]
    delta: dict[str, float]
    active: tuple[float, float]
    open_paths: tuple[float, float]


def measure(pace: Pace, seed: int, *, slope_one: bool = False) -> Measured:
    """Formulas against automatic differentiation; then products through a random network.

    ``slope_one`` puts the identity in the place of sigmoid and tanh.
    """
    depth = pace.pick(20, 60)
    squashing: tuple[type[nn.Module], ...] = (nn.Identity, nn.Identity)
    kinds = dict(
        zip(
            ("sigmoid", "tanh", "ReLU"),
            (*(squashing if slope_one else (nn.Sigmoid, nn.Tanh)), nn.ReLU),
            strict=True,
        )
    )
    formulas: dict[str, Callable[[Tensor], Tensor]] = {
        "sigmoid": lambda x: torch.exp(-x) / (1 + torch.exp(-x)) ** 2,
        "tanh": lambda x: 1 / torch.cosh(x) ** 2,
        "ReLU": lambda x: (x > 0).double(),
    }
    grid = torch.linspace(-10, 10, 2001, dtype=torch.float64)
    slopes = {name: _slope(kind(), grid) for name, kind in kinds.items()}
    values = {name: kind()(grid) for name, kind in kinds.items()}
    techniques = {"sigmoid": "glorot_normal", "tanh": "glorot_normal", "ReLU": "he_normal"}
    nets = {name: _through(kinds[name], techniques[name], depth, seed) for name in kinds}
    nets["tanh, weights × 3"] = _through(kinds["tanh"], "glorot_normal", depth, seed, 3.0)
    active = slopes["ReLU"][grid > 0]
    layers = nets["ReLU"][2]
    return Measured(
        depth=depth,
        grid=thinned(grid.tolist())[1],
        slopes={name: thinned(slope.tolist())[1] for name, slope in slopes.items()},
        largest={name: float(slope.max()) for name, slope in slopes.items()},
        apart={n: float((slopes[n] - formulas[n](grid)).abs().max()) for n in slopes},
        range_of={n: (float(v.min()), float(v.max())) for n, v in values.items()},
        products={n: net[0] for n, net in nets.items()},
        delta={n: net[1] for n, net in nets.items()},
        active=(float(active.min()), float(active.max())),
        open_paths=(min(layers), max(layers)),
    )


def _slope(module: nn.Module, at: Tensor) -> Tensor:
    x = at.clone().requires_grad_()
    (slope,) = torch.autograd.grad(module(x).sum(), x)
    return slope


def _through(
    kind: type[nn.Module], technique: str, depth: int, seed: int, scale: float = 1.0
) -> tuple[tuple[float, ...], float, list[float]]:
    """Products of root mean square slopes from the end, δ first over last, and shares not zero."""
    model = start(mlp((WIDTH,) * (depth + 2), kind, bias=False), technique, seed=seed).double()
    with torch.no_grad():
        for layer in linears(model):
            layer.weight.mul_(scale)
    chance = torch.Generator().manual_seed(seed)
    x, error = (
        torch.randn(SAMPLES, WIDTH, dtype=torch.float64, generator=chance) for _ in range(2)
    )
    found = signals(model, x, error, loss=lambda output, wanted: (output * wanted).sum())
    slopes = [_slope(kind(), z) for z in found.z[:-1]]
    product, products = 1.0, [1.0]
    for slope in reversed(slopes):
        product *= float(slope.square().mean().sqrt())
        products.append(product)
    ratio = float(found.delta[0].norm() / found.delta[-1].norm())
    return tuple(products), ratio, [float((slope != 0).double().mean()) for slope in slopes]


def judge(measured: Measured) -> Judgement:
    """Formulas to rounding; a product "vanishes" if less than a thousandth is left."""
    largest = measured.largest
    left = {name: products[-1] for name, products in measured.products.items()}
    low, high = measured.range_of["sigmoid"]
    under, over = measured.range_of["tanh"]
    exact = [
        at_most("sigmoid: formula against automatic", measured.apart["sigmoid"], 1e-12),
        at_most("tanh: formula against automatic", measured.apart["tanh"], 1e-12),
        between("sigmoid: largest slope", largest["sigmoid"], 0.249, 0.25),
        between("tanh: largest slope", largest["tanh"], 0.999, 1.0),
        at_least("sigmoid: smallest value for x in ±10", low, 0.0),
        at_most("sigmoid: largest value", high, 1.0),
        at_least("tanh: smallest value", under, -1.0),
        at_most("tanh: largest value", over, 1.0),
        at_most(
            f"sigmoid: product of slopes through {measured.depth} layers",
            left["sigmoid"],
            0.25**measured.depth,
        ),
        equal("ReLU: slope where it is active, least", measured.active[0], 1.0),
        between("ReLU: gradient, first layer over last", measured.delta["ReLU"], 0.1, 10.0),
    ]
    tanh = [
        at_most("tanh, Glorot: product of slopes", left["tanh"], VANISHED),
        at_most("tanh, Glorot: gradient, first layer over last", measured.delta["tanh"], VANISHED),
    ]
    checks = [
        *exact,
        *tanh,
        noted("sigmoid: gradient, first layer over last", measured.delta["sigmoid"]),
        noted("tanh, weights three times larger: product of slopes", left["tanh, weights × 3"]),
        noted(
            "tanh, weights three times larger: gradient, first over last",
            measured.delta["tanh, weights × 3"],
        ),
        noted("ReLU: product of root mean square slopes", left["ReLU"]),
        noted("ReLU: smallest share of active units in a layer", measured.open_paths[0], "%"),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(exact) else FAILS
    conditions = (
        f"Through {measured.depth} layers the product of slopes falls to {left['sigmoid']:.1g}"
        f" (sigmoid), {left['tanh']:.2g} (tanh from Glorot's start) and {left['ReLU']:.1g} (ReLU);"
        f" with the weights, δ to {measured.delta['sigmoid']:.1g}, {measured.delta['tanh']:.2g} and"
        f" {measured.delta['ReLU']:.2g} of its size."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """The slopes, their products by depth, and what is left of the gradient."""
    left = {name: products[-1] for name, products in measured.products.items()}
    return [
        picture(
            "lines",
            "Slopes",
            x=measured.grid,
            y=measured.slopes,
            x_title="x",
            y_title="slope",
            alt="The sigmoid's slope peaks at 0.25 and that of tanh at 1, both at x = 0; ReLU has"
            " 0 on the left and 1 on the right.",
        ),
        picture(
            "lines",
            "Product of slopes, counted from the last layer",
            x=range(measured.depth + 1),
            y=measured.products,
            x_title="layers passed",
            y_title="product of root mean square slopes",
            y_log=True,
            alt="Left at the first layer: "
            + ", ".join(f"{n} {v:.1g}" for n, v in left.items())
            + ".",
        ),
        table(
            "What is left at the first layer",
            ("network", "product of slopes", "gradient, first over last"),
            [(name, left[name], measured.delta[name]) for name in left],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"slope_one": True},
    sources=(
        "Hochreiter 1991, Untersuchungen zu dynamischen neuronalen Netzen",
        "Glorot, Bordes & Bengio 2011, Deep sparse rectifier neural networks",
    ),
    lesson=(
        "The gradient is a product of slopes and weights, and only both together say whether it"
        " vanishes. A sigmoid passes at most a quarter, which no usual weights make up for; tanh"
        " passes nearly all of it while its inputs are small, so from Glorot's start it fades"
        " slowly rather than vanishes. ReLU passes one or nothing, half of the paths in each layer"
        " are shut, and it is He's factor of two that makes up for these."
    ),
)
