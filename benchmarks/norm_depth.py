"""What depth costs behind batch norm without skips: where `limits.NORM_ERROR` comes from.

    python benchmarks/norm_depth.py [--depths 10 20 30 40 50 60 80] [--steps 200]

Dense layers of 64 with batch norm and ReLU on the digits, batches of 128, He's start; the loss over
the last 20 of the steps, at the best of four rates, by SGD with momentum and by Adam, one seed.
Beside it the growth of ‖δ‖ that theory predicts, √(π/(π − 1)) a layer (Yang et al. 2019). Knowing
nothing costs ln 10 = 2.30. Measured, predicted growth in brackets: 10 layers (5.6) 0.015 by SGD and
0.021 by Adam; 20 (38) 0.17 and 0.17; 30 (260) 0.63 and 0.51; 40 (1,800) 1.57 and 1.34; 50 (1.2e4)
2.08 and 2.11; 60 (8.1e4) 2.17 and 2.25; 80 (3.7e6) 2.25 and 2.30.
"""

from __future__ import annotations

import argparse
import math
import os

import torch
from torch import nn

from firstlight.exhibits.digits import digits

WIDTH, BATCH, TAIL = 64, 128, 20
RATES = {"SGD": (0.003, 0.01, 0.03, 0.1), "Adam": (3e-4, 1e-3, 3e-3, 1e-2)}


def network(depth: int) -> nn.Sequential:
    """Weight, batch norm, ReLU, ``depth`` times, and a head."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(WIDTH, WIDTH, bias=False)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.BatchNorm1d(WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def reached(depth: int, name: str, rate: float, steps: int) -> float:
    """Mean loss over the last steps of one training."""
    data, model = digits(), network(depth)
    generator = torch.Generator().manual_seed(1)
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(model.parameters(), rate, momentum=0.9)
        if name == "SGD"
        else torch.optim.Adam(model.parameters(), rate)
    )
    losses = []
    for _ in range(steps):
        chosen = torch.randint(0, len(data.x), (BATCH,), generator=generator)
        loss = nn.functional.cross_entropy(model(data.x[chosen]), data.y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tail = losses[-TAIL:]
    return sum(tail) / len(tail)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--depths", type=int, nargs="*", default=[10, 20, 30, 40, 50, 60, 80])
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for depth in options.depths:
        growth = (math.pi / (math.pi - 1)) ** ((depth - 1) / 2)
        best = {
            name: min(reached(depth, name, rate, options.steps) for rate in rates)
            for name, rates in RATES.items()
        }
        losses = ", ".join(f"{name} {loss:.3f}" for name, loss in best.items())
        print(f"{depth} layers: predicted growth {growth:.3g}; loss {losses}", flush=True)


if __name__ == "__main__":
    main()
