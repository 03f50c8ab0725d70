"""Plain and convolutional networks of users' reports, and the data that all of them are fed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLES, FEATURES, CLASSES = 256, 64, 10


def vectors(features: int = FEATURES, samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, features)


def images(size: int = 32, samples: int = 64) -> Tensor:
    """Smooth, as photographs are; mean 0, variance 1."""
    coarse = torch.randn(samples, 3, 5, 5)
    x = functional.interpolate(coarse, size, mode="bilinear", align_corners=True)
    return (x - x.mean()) / x.std()


def labels(samples: int = SAMPLES, classes: int = CLASSES) -> Tensor:
    return torch.randint(classes, (samples,))


@contextmanager
def unfilled_memory() -> Iterator[None]:
    """Inside, `torch.empty` returns NaN: what memory that nobody filled may hold, every time."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def mlp(
    depth: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    width: int = 128,
    inputs: int = FEATURES,
    outputs: int = CLASSES,
) -> nn.Sequential:
    """``depth`` hidden layers, started as torch starts them."""
    sizes = [inputs] + [width] * depth
    layers: list[nn.Module] = []
    for m, n in pairwise(sizes):
        layers += [nn.Linear(m, n), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


@torch.no_grad()
def started(model: nn.Module, start: Callable[[Tensor], object]) -> nn.Module:
    """Every weight drawn by ``start``, every bias zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            start(module.weight)
            if module.bias is not None:
                module.bias.zero_()
    return model


def he(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def normal(std: float) -> Callable[[Tensor], Tensor]:
    return lambda weight: nn.init.normal_(weight, std=std)


def vgg16(classes: int = CLASSES, width: int = 8) -> nn.Sequential:
    """The thirteen convolutions and three dense layers of VGG-16 at an eighth of its width."""
    plan = [1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0]
    layers: list[nn.Module] = []
    channels = 3
    for factor in plan:
        if factor:
            layers += [nn.Conv2d(channels, factor * width, 3, padding=1), nn.ReLU()]
            channels = factor * width
        else:
            layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(channels, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(64, classes))


class Inception(nn.Module):
    """GoogLeNet's module: 1 × 1, 3 × 3 and 5 × 5 convolutions and a pool side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // 4
        self.one = nn.Conv2d(channels, quarter, 1)
        self.three = nn.Sequential(
            nn.Conv2d(channels, quarter, 1), nn.ReLU(), nn.Conv2d(quarter, quarter, 3, padding=1)
        )
        self.five = nn.Sequential(
            nn.Conv2d(channels, quarter, 1), nn.ReLU(), nn.Conv2d(quarter, quarter, 5, padding=2)
        )
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(channels, quarter, 1))

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.one(x), self.three(x), self.five(x), self.pool(x))
        return functional.relu(torch.cat(branches, dim=1))


def googlenet(classes: int) -> nn.Sequential:
    """A stem and nine inception modules."""
    stem = (nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU())
    modules = (Inception(32) for _ in range(9))
    return nn.Sequential(
        *stem, *modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes)
    )


class Bottleneck(nn.Module):
    """detectron2's block; its frozen norm of an unloaded checkpoint is the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width // 2, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        return functional.relu(x + self.conv3(branch))


def deep_resnet(blocks: int) -> nn.Sequential:
    layers = [Bottleneck(32) for _ in range(blocks)]
    stem = (nn.Conv2d(3, 32, 3, padding=1), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))
    return nn.Sequential(*stem, *layers, *head)


class SeparableBlock(nn.Module):
    """Depthwise, then pointwise, without a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.pointwise(functional.relu(self.depthwise(x))))


def separable(blocks: int = 4, width: int = 32) -> nn.Sequential:
    layers = (SeparableBlock(width) for _ in range(blocks))
    stem = (nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))
    return nn.Sequential(*stem, *layers, *head)
