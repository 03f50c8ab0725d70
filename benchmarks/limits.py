"""What healthy and sick networks measure, beside the checkup's limits.

    python benchmarks/limits.py [--seeds 5]

Plain networks of width 128 on normal inputs with random labels, 10 classes, a batch of 256. Each
number is the worst over the seeds: for healthy networks the one nearest to an alarm, for sick ones
the one farthest from it.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import firstlight as fl
from firstlight.records.checkup import Checkup
from firstlight.verdicts import limits
from firstlight.verdicts.view import View, rms_ratio


@dataclass(frozen=True)
class Case:
    """A network by activation, depth, weight scale σ_w and what is wrong with it, if anything."""

    name: str
    activation: type[nn.Module]
    depth: int
    sigma_w: float
    healthy: bool


CASES = (
    Case("He, 3 ReLU layers", nn.ReLU, 3, math.sqrt(2), True),
    Case("He, 20 ReLU layers", nn.ReLU, 20, math.sqrt(2), True),
    Case("He, 50 ReLU layers", nn.ReLU, 50, math.sqrt(2), True),
    Case("Glorot, 6 tanh layers", nn.Tanh, 6, 1.0, True),
    Case("Glorot, 50 tanh layers", nn.Tanh, 50, 1.0, True),
    Case("PyTorch's scale, 3 ReLU layers", nn.ReLU, 3, 1 / math.sqrt(3), True),
    Case("PyTorch's scale, 20 ReLU layers", nn.ReLU, 20, 1 / math.sqrt(3), False),
    Case("twice He, 20 ReLU layers", nn.ReLU, 20, 2 * math.sqrt(2), False),
    Case("Glorot, 5 sigmoid layers", nn.Sigmoid, 5, 1.0, False),
    Case("σ_w = 10, 8 tanh layers", nn.Tanh, 8, 10.0, False),
)


def network(case: Case, seed: int) -> nn.Module:
    """Normal weights of the case's scale, zero biases."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    sizes = [64] + [128] * case.depth
    for index in range(case.depth):
        layers += [nn.Linear(sizes[index], 128), case.activation()]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(
                module.weight, 0, case.sigma_w / math.sqrt(module.in_features), generator=generator
            )
            nn.init.zeros_(module.bias)
    return model


def measured(checkup: Checkup) -> dict[str, float]:
    """The numbers that the limits are held against; larger is worse."""
    (rows,) = View(checkup.observation).profiles
    forward = rms_ratio(rows[-1].second_moment.value, rows[0].second_moment.value)
    backward = rms_ratio(
        rows[0].delta_square_per_sample.value, rows[-1].delta_square_per_sample.value
    )
    share = [row.sample_spread / row.second_moment.value for row in (rows[0], rows[-1])]
    return {
        "forward": max(forward, 1 / forward),
        "backward": max(backward, 1 / backward) if backward else math.inf,
        "collapse": share[0] / max(share[1], 1e-300),
        "dead": max((r.dead_fraction or 0 for r in checkup.layers), default=0),
        "saturated": max((r.saturated_fraction or 0 for r in checkup.layers), default=0),
        "loss": checkup.observation.loss / checkup.observation.undecided_loss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    heads = ("forward", "backward", "collapse", "dead", "saturated", "loss")
    table = Table("network", *heads, "errors in")
    table.add_row(
        "error limit",
        f"{limits.PROFILE_ERROR:g}",
        f"{limits.PROFILE_ERROR:g}",
        f"{1 / limits.COLLAPSE_ERROR:g}",
        f"{limits.DEAD_ERROR:g}",
        f"{limits.SATURATED_ERROR:g}",
        f"{limits.LOSS_ERROR:g}",
        "",
        end_section=True,
    )
    for case in CASES:
        numbers, errors = [], 0
        for seed in range(options.seeds):
            generator = torch.Generator().manual_seed(1000 + seed)
            batch = torch.randn(256, 64, generator=generator)
            labels = torch.randint(10, (256,), generator=generator)
            checkup = fl.check(network(case, seed), batch, target=labels)
            numbers.append(measured(checkup))
            errors += not checkup.healthy
        worst = max if case.healthy else min
        row = [f"{worst(n[head] for n in numbers):.3g}" for head in heads]
        name = f"{'healthy' if case.healthy else 'sick'}: {case.name}"
        table.add_row(name, *row, f"{errors} of {options.seeds}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
