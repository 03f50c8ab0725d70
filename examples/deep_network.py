"""A 50-layer tanh network: check, initialize, and train both starts from the same data."""

from itertools import pairwise

import torch
from torch import nn

import firstlight as fl

DEPTH, WIDTH = 50, 64


def build() -> nn.Module:
    """Fifty plain layers, at PyTorch's default start."""
    sizes = [2] + [WIDTH] * DEPTH
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 2))


def spirals(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two spirals."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    turn = 1.5 * torch.rand(n, generator=generator)
    angle = 2 * torch.pi * (turn + 0.5 * label)
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1)
    return points, label


def main() -> None:
    x, y = spirals(512, seed=0)
    held_out = spirals(512, seed=1)
    torch.manual_seed(0)
    model = build()
    print(fl.check(model, x, target=y).findings[0].evidence)
    receipt = fl.initialize(model, x, target=y, seed=0)
    print("after:", "healthy" if receipt.after.healthy else receipt.after.findings[0].evidence)
    race = fl.race(build, (x, y, *held_out), techniques=("default", "plan"), seeds=4, steps=100)
    print(race.verdict)


if __name__ == "__main__":
    main()
