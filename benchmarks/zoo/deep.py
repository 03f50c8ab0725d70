"""Three networks that are hard to start, and their data: real, shipped with packages."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from firstlight.exhibits.mnist import mnist

CLASSES = 10
Data = tuple[Tensor, Tensor, Tensor, Tensor]
"""Inputs and targets to train on, and held out."""


@cache
def pictures() -> Data:
    """4,000 MNIST images and 1,000 held out, standardised."""
    images = mnist()
    arrays = (images.inputs, images.targets, images.held_out_inputs, images.held_out_targets)
    x, y, held_x, held_y = map(torch.from_numpy, arrays)
    return x.reshape(-1, 1, 28, 28), y, held_x.reshape(-1, 1, 28, 28), held_y


@cache
def rows() -> Data:
    """1,347 digits and 450 held out as sequences of 8 rows of 8 numbers, standardised."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y)[order]
    cut = 1347
    inputs = ((inputs - inputs[:cut].mean()) / inputs[:cut].std()).reshape(-1, 8, 8)
    return inputs[:cut], targets[:cut], inputs[cut:], targets[cut:]


class Residual(nn.Module):
    """Two convolutions and a skip, without a norm: relu(x + conv(relu(conv(x))))."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        stride = 1 if inputs == width else 2
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.skip = nn.Identity() if stride == 1 else nn.Conv2d(inputs, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.skip(x) + self.conv2(functional.relu(self.conv1(x))))


class ResNet(nn.Module):
    """52 layers: a stem, 25 blocks in two stages, a head on all places; no norm anywhere."""

    def __init__(self, blocks: tuple[int, int] = (5, 20), width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 2, 1)
        first, second = blocks
        widths = [width] * first + [2 * width] * second
        before = [width, *widths]
        self.blocks = nn.Sequential(*(Residual(a, b) for a, b in zip(before, widths, strict=False)))
        self.head = nn.Linear(49 * 2 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(functional.relu(self.stem(x))).flatten(1))


class Transformer(nn.Module):
    """Post-norm encoder layers of torch on 8 tokens, learned positions, mean, head."""

    def __init__(self, depth: int = 18, width: int = 32) -> None:
        super().__init__()
        self.enter = nn.Linear(8, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 8, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
            for _ in range(depth)
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(dim=1))


def plain_cnn(depth: int = 50, width: int = 16) -> nn.Sequential:
    """Plain 3×3 convolutions with ReLU: the first two with stride 2, the rest at 7 × 7; a head."""
    layers: list[nn.Module] = []
    before = 1
    for index in range(depth):
        layers += [nn.Conv2d(before, width, 3, 2 if index < 2 else 1, 1), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(49 * width, CLASSES))


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network with its data, its optimizer, and the starts that are raced on it."""

    name: str
    build: Callable[[], nn.Module]
    data: Callable[[], Data]
    optimizer: str
    rates: tuple[float, ...]
    steps: int
    starts: tuple[str, ...]


SGD_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
ADAM_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)

NETWORKS = (
    Network(
        name="resnet-52-no-norm",
        build=ResNet,
        data=pictures,
        optimizer="sgd",
        rates=SGD_RATES,
        steps=100,
        starts=("plan", "default", "he", "fixup", "lsuv", "anyinit"),
    ),
    Network(
        name="transformer-18-post-norm",
        build=Transformer,
        data=rows,
        optimizer="adam",
        rates=ADAM_RATES,
        steps=150,
        starts=("plan", "default", "glorot", "t-fixup", "deepnorm", "lsuv", "anyinit"),
    ),
    Network(
        name="cnn-50-plain",
        build=plain_cnn,
        data=pictures,
        optimizer="sgd",
        rates=SGD_RATES,
        steps=100,
        starts=("plan", "default", "he", "orthogonal", "delta-orthogonal", "lsuv", "anyinit"),
    ),
)
"""Rates in steps of about three, six of them."""
