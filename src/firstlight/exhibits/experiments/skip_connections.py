"""Do skip connections carry the gradient to any depth?

Without a way around its layers a deep network loses its gradient before it reaches the first layer;
with skip connections, x + f(x), it arrives unchanged at any depth.
"""

from __future__ import annotations

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
    noted,
)
from firstlight.exhibits.networks import linears, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import best_of_rates
from firstlight.records.exhibit import Grid, Picture

WIDTH, BATCH = 32, 128
DEPTHS = (3, 10, 30, 100)
TRAINED = 30
TINY = 1e-300  # so that a gradient which underflows can be shown
RATES = (0.001, 0.01, 0.1)
STARTS = {"PyTorch's default": "torch_linear", "He": "he_normal", "He / n": "he_normal"}
"""The last divides the weights of the n branches by their number."""


class _Block(nn.Module):
    """x + relu(W x), or relu(W x) alone."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Through, and around if there is a way."""
        through: Tensor = torch.relu(self.linear(x))
        return x + through if self.skip else through


@dataclass(frozen=True)
class Measured:
    """‖δ‖ at the first layer over the last, by start and depth; accuracies at `TRAINED` layers."""

    skip: dict[str, tuple[float, ...]]
    plain: dict[str, tuple[float, ...]]
    skip_accuracy: float
    plain_accuracy: float


def measure(pace: Pace, seed: int, *, skip: bool = True) -> Measured:
    """Gradients in float64 from three starts, and a training from He / n and He without skips.

    ``skip=False`` takes the ways around out of the networks that should have them.
    """
    draws, steps = pace.pick(1, 8), pace.pick(60, 400)

    def accuracy_of(skip: bool, name: str) -> float:
        return best_of_rates(
            lambda: _network(TRAINED, skip, name, seed),
            digits(),
            RATES,
            steps=steps,
            seed=seed,
        ).accuracy

    return Measured(
        skip={name: _ratios(skip, name, draws, seed) for name in STARTS},
        plain={name: _ratios(False, name, draws, seed) for name in STARTS},
        skip_accuracy=accuracy_of(skip, "He / n"),
        plain_accuracy=accuracy_of(False, "PyTorch's default"),
    )


def _ratios(skip: bool, name: str, draws: int, seed: int) -> tuple[float, ...]:
    data, found = doubled(), []
    for depth in DEPTHS:
        logs = []
        for draw in range(draws):
            model = _network(depth, skip, name, 100 * seed + draw).double()
            delta = signals(model, data.x[:BATCH], data.y[:BATCH]).delta
            # Layers 2 and the last before the head: the stem and the head are as without blocks.
            logs.append(np.log(max(TINY, float(delta[0].norm()) / float(delta[-2].norm()))))
        found.append(float(np.exp(np.mean(logs))))
    return tuple(found)


def _network(depth: int, skip: bool, name: str, seed: int) -> nn.Sequential:
    blocks = [_Block(skip) for _ in range(depth)]
    model = nn.Sequential(nn.Linear(64, WIDTH), *blocks, nn.Linear(WIDTH, 10))
    start(model, STARTS[name], seed=seed)
    with torch.no_grad():
        linears(model)[0].weight.div_(linears(model)[0].weight.std() * 8)  # a stem of unit gain
        if name.endswith("/ n"):
            for layer in linears(model)[1:-1]:
                layer.weight /= depth
    return model


def judge(measured: Measured) -> Judgement:
    """Arrive means: at least a hundredth at 100 layers. Unchanged means: within a factor of ten."""
    ends = {name: found[-1] for name, found in measured.skip.items()}
    arrives = [
        at_least(f"with skips, {name}: ‖δ‖ first over last at {DEPTHS[-1]}", end, 0.01)
        for name, end in ends.items()
    ]
    unchanged = {
        name: at_most(f"with skips, {name}: unchanged means at most ten times", end, 10.0)
        for name, end in ends.items()
    }
    gain = measured.skip_accuracy - measured.plain_accuracy
    better = at_least(f"accuracy that skips and He / n add at {TRAINED} layers", gain, 0.1, "%")
    lost = measured.plain["PyTorch's default"][-1]
    gone = at_most("without, PyTorch's default: the same", lost, 0.01)
    checks = [
        *arrives,
        *unchanged.values(),
        gone,
        better,
        noted("without, He: the same", measured.plain["He"][-1]),
        noted(f"with skips, He / n: accuracy at {TRAINED} layers", measured.skip_accuracy, "%"),
        noted(f"without, default: accuracy at {TRAINED} layers", measured.plain_accuracy, "%"),
    ]
    both = all_met([*arrives, unchanged["He / n"], gone, better])
    verdict = HOLDS if all_met(checks) else CONDITIONAL if both else FAILS
    told = (
        f"At {DEPTHS[-1]} layers the gradient at the first is {lost:.1g} of the last's without"
        f" skips from PyTorch's default and {measured.plain['He'][-1]:.1g} from He's; with"
        " skips it is "
        + ", ".join(f"{end:.2g} ({name})" for name, end in ends.items())
        + f"; accuracy at {TRAINED} layers {measured.skip_accuracy:.0%} (He / n) against"
        f" {measured.plain_accuracy:.0%} (PyTorch's default, without)."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """The gradient at the first layer by depth."""
    lines = {f"with skips, {name}": found for name, found in measured.skip.items()}
    # Without skips He's weights over n leave nothing, which would flatten all other lines.
    plain = {name: found for name, found in measured.plain.items() if not name.endswith("/ n")}
    lines |= {f"without, {name}": found for name, found in plain.items()}
    return [
        picture(
            "lines",
            "What arrives at the first layer",
            x=DEPTHS,
            y=lines,
            x_title="layers",
            y_title="‖δ‖ of the first layer over the last",
            x_log=True,
            y_log=True,
            alt=f"At {DEPTHS[-1]} layers: "
            + ", ".join(f"{name} {found[-1]:.2g}" for name, found in lines.items())
            + ".",
        ),
        table(
            f"Held-out accuracy at {TRAINED} layers, best of three rates",
            ("network", "accuracy, %"),
            [
                ("with skips, He / n", 100 * measured.skip_accuracy),
                ("without, PyTorch's default", 100 * measured.plain_accuracy),
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"skip": False},
    sources=(
        "He et al. 2016, Deep Residual Learning for Image Recognition",
        "Veit, Wilber & Belongie 2016, Residual Networks Behave Like Ensembles",
    ),
    lesson=(
        "The derivative of x + f(x) is one plus something, so the gradient always has a way back"
        " that no layer can close. What comes through the branches is added to it at each layer, so"
        " it does not vanish, it grows, and with branches at full scale it grows without bound."
        " Skips cure vanishing, and branches that start small cure the growth."
    ),
)
