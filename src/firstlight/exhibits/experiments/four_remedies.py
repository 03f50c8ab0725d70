"""Four remedies for a vanishing gradient, side by side.

Where the gradient vanishes in a deep sigmoid network, each of four remedies helps: ReLU in place of
sigmoid, a good start, batch normalization, and skip connections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import firstlight as fl
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
    noted,
)
from firstlight.exhibits.networks import mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import Trial, best_of_rates
from firstlight.records.exhibit import Grid, Picture

WIDTH, DEPTH, BATCH = 32, 12, 128
RATES = (0.03, 0.3, 1.0)
ILL = "sigmoid, PyTorch's default"
USEFUL = 0.5


class _Around(nn.Module):
    """x + σ(W x)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """The way through and the way around."""
        through: Tensor = self.layer(x)
        return x + through


@dataclass(frozen=True)
class Measured:
    """By remedy: ‖δ‖ of each layer, and a trial at its best rate."""

    depth: int
    steps: int
    delta: dict[str, tuple[float, ...]]
    trials: dict[str, Trial]
    guess: float


def measure(pace: Pace, seed: int, *, depth: int = DEPTH) -> Measured:
    """The failing network of ``depth`` hidden layers, and the same with one thing changed."""
    long, data, steps = doubled(), digits(), pace.pick(70, 800)
    delta, trials = {}, {}
    for name, build in _remedies(depth, seed).items():
        seen = signals(build().double(), long.x[:BATCH], long.y[:BATCH])
        delta[name] = tuple(float(d.norm()) for d in seen.delta)
        trial = best_of_rates(build, data, RATES, steps=steps, seed=seed)
        trials[name] = trial._replace(losses=thinned(trial.losses, of=steps)[1])
    most = float(torch.bincount(data.y).max() / len(data.y))
    return Measured(depth, steps, delta, trials, most)


def _remedies(depth: int, seed: int) -> dict[str, Callable[[], nn.Module]]:
    widths, data = (64, *[WIDTH] * depth, 10), digits()
    default = "torch_linear"

    def planned() -> nn.Module:
        model = start(mlp(widths, nn.Sigmoid), default, seed=seed)
        fl.plan(model, data.x[:BATCH], target=data.y[:BATCH]).apply(model, seed=seed)
        return model

    def skips() -> nn.Module:
        blocks = [_Around() for _ in range(depth - 1)]
        model = nn.Sequential(nn.Linear(64, WIDTH), nn.Sigmoid(), *blocks, nn.Linear(WIDTH, 10))
        return start(model, default, seed=seed)

    return {
        ILL: lambda: start(mlp(widths, nn.Sigmoid), default, seed=seed),
        "ReLU": lambda: start(mlp(widths, nn.ReLU), default, seed=seed),
        "Glorot's start": lambda: start(mlp(widths, nn.Sigmoid), "glorot_normal", seed=seed),
        "planned start": planned,
        "batch norm": lambda: start(
            mlp(widths, nn.Sigmoid, norm=nn.BatchNorm1d), default, seed=seed
        ),
        "skips": skips,
        "ReLU and He": lambda: start(mlp(widths, nn.ReLU), "he_normal", seed=seed),
    }


def judge(measured: Measured) -> Judgement:
    """The network must fail, and each remedy by itself must bring half the digits."""
    reached = {name: trial.accuracy for name, trial in measured.trials.items()}
    back = {name: d[0] / d[-2] for name, d in measured.delta.items()}
    fails = [
        at_most(f"{ILL}: accuracy", reached[ILL], measured.guess + 0.05, "%"),
        at_most(f"{ILL}: ‖δ‖, first hidden layer over last", back[ILL], 1e-3),
    ]
    # Glorot's is the start as taught; the planned one shows what a start can do.
    names = ("ReLU", "Glorot's start", "planned start", "batch norm", "skips")
    helps = [at_least(f"{n}: accuracy", reached[n], USEFUL, "%") for n in names]
    checks = [
        *fails,
        *helps,
        noted("ReLU and He: accuracy", reached["ReLU and He"], "%"),
        noted("always the most frequent digit: accuracy", measured.guess, "%"),
        *(noted(f"{n}: ‖δ‖, first hidden layer over last", b) for n, b in back.items() if n != ILL),
    ]
    some = all_met(fails) and any(m.met for m in helps)
    verdict = HOLDS if all_met(checks) else CONDITIONAL if some else FAILS
    told = (
        f"With {measured.depth} hidden layer{'s' if measured.depth > 1 else ''} the sigmoid network"
        f" reaches {reached[ILL]:.0%}; with one thing changed "
        + ", ".join(f"{n} {reached[n]:.0%}" for n in names)
        + f", and with two, ReLU and He, {reached['ReLU and He']:.0%}."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Gradient by layer, accuracy and the curves."""
    shown = [name for name in measured.delta if name != "ReLU and He"]
    ends = ", ".join(f"{n} {measured.trials[n].accuracy:.0%}" for n in measured.trials)
    return [
        picture(
            "lines",
            "What comes back to each layer",
            x=list(range(1, measured.depth + 2)),
            y={name: measured.delta[name] for name in shown},
            x_title="layer",
            y_title="‖δ‖",
            y_log=True,
            alt="‖δ‖ at the first layer: "
            + ", ".join(f"{name} {measured.delta[name][0]:.1g}" for name in shown)
            + ".",
        ),
        picture(
            "lines",
            "Training, each at its best rate",
            x=thinned(range(measured.steps))[0],
            y={name: measured.trials[name].losses for name in shown},
            x_title="step",
            y_title="loss of the batch",
            alt=f"Held-out accuracy at the end: {ends}.",
        ),
        table(
            "Held-out accuracy",
            ("network", "learning rate", "accuracy, %"),
            [(name, t.rate, 100 * t.accuracy) for name, t in measured.trials.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"depth": 1},
    sources=(
        "Glorot & Bengio 2010, Understanding the Difficulty of Training Deep Networks",
        "Ioffe & Szegedy 2015, Batch Normalization",
        "He et al. 2016, Deep Residual Learning for Image Recognition",
    ),
    lesson=(
        "A gradient vanishes because each layer multiplies it by less than one, and a remedy is"
        " what brings that factor to one or goes around it. ReLU alone leaves the weights too"
        " small and Glorot's start alone leaves the slope of sigmoid too flat, so these two need a"
        " partner, while norms, skips and a start made for the network do it by themselves. Look"
        " at the gradient of the first layer before you choose, for the name of a remedy decides"
        " nothing."
    ),
)
