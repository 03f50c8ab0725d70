"""Does batch normalization mend depth?

Batch normalization cannot make a plain network as deep as one likes: it keeps the forward signal in
every layer, but at the start the gradient grows towards the input by a constant factor per layer,
whatever the scale of the weights. Skip connections tame it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from firstlight.exhibits.digits import digits, doubled
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
    noted,
)
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import best_of_rates
from firstlight.records.exhibit import Grid, Picture

WIDTH, BATCH = 64, 128
DEPTHS = (5, 10, 20, 40)
RATES = (0.001, 0.01, 0.1)
SCALES = {"He": 1.0, "He / 10": 0.1, "He × 10": 10.0}
THEORY = math.pi / (math.pi - 1)
"""Factor of ‖δ‖² per ReLU layer behind batch normalization, large batch and width (Yang et al.)."""


class _Block(nn.Module):
    """x + relu(BN(W x)): the same layer with a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the way through and the way around."""
        added: Tensor = self.branch(x)
        return x + added


@dataclass(frozen=True)
class Measured:
    """‖δ‖² by layer of the deepest network, its factor per layer, also with skips; accuracy."""

    delta: dict[str, tuple[float, ...]]
    factor: dict[str, float]
    around: float
    forward: float
    depths: tuple[int, ...]
    accuracy: tuple[float, ...]


def measure(pace: Pace, seed: int, *, skips: bool = False) -> Measured:
    """Gradients at the start in float64, then a training at each depth in float32."""
    depths = DEPTHS if pace is Pace.FULL else DEPTHS[1:]
    draws = pace.pick(2, 8)
    data = doubled()
    x, y = data.x[:BATCH], data.y[:BATCH]
    delta, factor, forward = {}, {}, 1.0
    for name, scale in SCALES.items():
        models = [
            _network(depths[-1], scale, skips, seed * 100 + draw).double() for draw in range(draws)
        ]
        delta[name], factor[name] = _growth(models, x, y)
        if scale == 1.0:
            normed = _normed(models[-1], x)
            forward = normed[-1] / normed[0]
    around = _growth([_network(depths[-1], 1.0, True, seed * 100).double()], x, y)[1]
    steps = pace.pick(40, 300)
    found = [
        best_of_rates(
            lambda depth=depth: _network(depth, 1.0, skips, seed),  # type: ignore[misc]
            digits(),
            RATES,
            steps=steps,
            seed=seed,
        ).accuracy
        for depth in depths
    ]
    return Measured(delta, factor, around, forward, depths, tuple(found))


def _growth(models: list[nn.Sequential], x: Tensor, y: Tensor) -> tuple[tuple[float, ...], float]:
    """‖δ‖² by layer over that of the last one, and its factor per layer; geometric means."""
    seen = [[float(d.square().sum()) for d in signals(m, x, y).delta[1:-1]] for m in models]
    squares = np.log(seen).mean(0)
    by_layer = np.exp(squares - squares[-1])
    return tuple(by_layer.tolist()), float(by_layer[0] ** (1 / (len(squares) - 1)))


def _network(depth: int, scale: float, skips: bool, seed: int) -> nn.Sequential:
    if skips:
        blocks = [_Block() for _ in range(depth)]
        model = nn.Sequential(nn.Linear(64, WIDTH), *blocks, nn.Linear(WIDTH, 10))
    else:
        widths = (64, *[WIDTH] * (depth + 1), 10)
        model = mlp(widths, norm=nn.BatchNorm1d)
    start(model, "he_normal", seed=seed)
    with torch.no_grad():
        for layer in linears(model)[1:-1]:
            layer.weight *= scale
    return model


def _normed(model: nn.Module, x: Tensor) -> list[float]:
    """Mean square of what each normalization gives."""
    seen: list[float] = []
    parts = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d)]
    hooks = [
        part.register_forward_hook(lambda _, __, z: seen.append(float(z.square().mean())))
        for part in parts
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def judge(measured: Measured) -> Judgement:
    """The factor per layer must be above one at each scale, and deep must train worse."""
    depth = measured.depths[-1]
    lost = measured.accuracy[0] - measured.accuracy[-1]
    grows = [
        at_least(f"{name}: factor of ‖δ‖² per layer towards the input", factor, 1.2)
        for name, factor in measured.factor.items()
    ]
    checks = [
        *grows,
        at_most(
            f"He: growth of ‖δ‖² over {depth} layers, with skips over without",
            (measured.around / measured.factor["He"]) ** (depth - 1),
            0.01,
        ),
        between(
            "forward: mean square behind the norm, last over first", measured.forward, 0.9, 1.1
        ),
        at_least(f"accuracy that {depth} layers lose to {measured.depths[0]}", lost, 0.05, "%"),
        noted("theory: factor of ‖δ‖² per layer", THEORY),
        noted(f"He: ‖δ‖² of the first of {depth} layers over the last", measured.delta["He"][0]),
        *(
            noted(f"{d} layers: held-out accuracy", a, "%")
            for d, a in zip(measured.depths, measured.accuracy, strict=True)
        ),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(grows) else FAILS
    low, high = min(measured.factor.values()), max(measured.factor.values())
    told = (
        f"‖δ‖² changes by {low:.2f} to {high:.2f} per layer towards the input, whatever the scale"
        f" (theory without skips {THEORY:.2f}) and by {measured.around:.2f} with skips,"
        f" while the forward signal stays at {measured.forward:.2f}; accuracy"
        f" {measured.accuracy[0]:.0%} at {measured.depths[0]} layers,"
        f" {measured.accuracy[-1]:.0%} at {depth}."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """The gradient by layer, and accuracy by depth."""
    layers = range(1, measured.depths[-1] + 1)
    theory = [THEORY ** (measured.depths[-1] - layer) for layer in layers]
    return [
        picture(
            "lines",
            "The gradient behind batch normalization",
            x=list(layers),
            y={**measured.delta, "theory, without skips": theory},
            x_title="layer (1 is next to the input)",
            y_title="‖δ‖² over that of the last layer",
            y_log=True,
            alt=f"At the first layer ‖δ‖² is {measured.delta['He'][0]:.3g} times the last's; the"
            " three scales of weights lie on one line.",
        ),
        table(
            "Held-out accuracy at the best rate of " + ", ".join(f"{r:g}" for r in RATES),
            ("layers", "accuracy, %"),
            [(f"{d}", 100 * a) for d, a in zip(measured.depths, measured.accuracy, strict=True)],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"skips": True},
    sources=("Yang et al. 2019, A Mean Field Theory of Batch Normalization",),
    lesson=(
        "Batch normalization holds the forward signal, and pays for it on the way back: each ReLU"
        " layer multiplies the squared gradient by about π/(π − 1), whatever the weights' scale."
        " Over forty layers that is a factor of millions, so no single learning rate suits first"
        " and last layers. The cure is a way around the layers, which is why the networks that made"
        " it famous have skips too."
    ),
)
