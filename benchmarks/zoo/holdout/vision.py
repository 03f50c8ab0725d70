"""Convolutional networks that no limit and no detector was written on."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from zoo import data
from zoo.dense import he
from zoo.specimen import Specimen, plain


def unit(a: int, b: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    conv = nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(b), nn.ReLU())


class InceptionBlock(nn.Module):
    """Four branches side by side (Szegedy et al. 2015)."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.one = unit(a, b, 1)
        self.three = nn.Sequential(unit(a, b, 1), unit(b, b, 3))
        self.five = nn.Sequential(unit(a, b, 1), unit(b, b, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(a, b, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], dim=1)


class Inception(nn.Module):
    """A stem, two blocks, global pooling and a dropped-out head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 16, 3, 2)
        self.blocks = nn.Sequential(InceptionBlock(16, 8), InceptionBlock(32, 8))
        self.dropout, self.head = nn.Dropout(0.4), nn.Linear(32, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.blocks(self.stem(x)).mean(dim=(2, 3))))


class ShuffleBlock(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1, addition (Zhang et al. 2018)."""

    def __init__(self, width: int, groups: int = 4) -> None:
        super().__init__()
        inner = width // 2
        self.groups = groups
        self.squeeze = unit(width, inner, 1, groups=groups)
        self.depthwise = nn.Sequential(
            nn.Conv2d(inner, inner, 3, 1, 1, groups=inner, bias=False), nn.BatchNorm2d(inner)
        )
        self.widen = nn.Sequential(
            nn.Conv2d(inner, width, 1, groups=groups, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(x)
        y = y.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        return functional.relu(x + self.widen(self.depthwise(y)))


class ShuffleNet(nn.Module):
    """Four such blocks."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = unit(3, width, 3, 2)
        self.blocks = nn.ModuleList(ShuffleBlock(width) for _ in range(4))
        self.head = nn.Linear(width, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=(2, 3)))


class Hourglass(nn.Module):
    """Down and up again; what passed on the way down is added (Newell et al. 2016)."""

    def __init__(self, width: int = 16, levels: int = 2) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.encode, self.across, self.decode = (
            nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(levels))
            for _ in range(3)
        )
        self.bottom = nn.Conv2d(width, width, 3, padding=1)
        self.apply(he)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.enter(x))
        kept = []
        for encode, across in zip(self.encode, self.across, strict=True):
            kept.append(functional.relu(across(x)))
            x = functional.max_pool2d(functional.relu(encode(x)), 2)
        x = functional.relu(self.bottom(x))
        for decode in self.decode:
            x = functional.interpolate(functional.relu(decode(x)), scale_factor=2) + kept.pop()
        return self.head(x)


class WideBlock(nn.Module):
    """Pre-activation with dropout between its convolutions (Zagoruyko & Komodakis 2016)."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(a), nn.BatchNorm2d(b)
        self.conv1 = nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(0.3)
        self.skip = nn.Identity() if a == b else nn.Conv2d(a, b, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(x))
        short = x if isinstance(self.skip, nn.Identity) else self.skip(y)
        y = self.dropout(functional.relu(self.norm2(self.conv1(y))))
        return short + self.conv2(y)


class WideResNet(nn.Module):
    """Four blocks, twice as wide as a ResNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.blocks = nn.Sequential(
            WideBlock(8, 16, 1), WideBlock(16, 16, 1), WideBlock(16, 32, 2), WideBlock(32, 32, 1)
        )
        self.norm, self.head = nn.BatchNorm2d(32), nn.Linear(32, data.CLASSES)
        self.apply(he)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.blocks(self.first(x))))
        return self.head(x.mean(dim=(2, 3)))


def all_convolutional() -> nn.Module:
    """Strides instead of pooling, no dense layer (Springenberg et al. 2015); He's law."""
    sizes = ((3, 16, 1), (16, 16, 1), (16, 16, 2), (16, 32, 1), (32, 32, 1), (32, 32, 2))
    rows: list[nn.Module] = []
    for a, b, stride in (*sizes, *((32, 32, 1),) * 5):
        rows += [nn.Conv2d(a, b, 3, stride, 1), nn.ReLU()]
    rows += [nn.Conv2d(32, data.CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*rows).apply(he)


class RepBlock(nn.Module):
    """3×3, 1×1 and nothing at all, each with a norm, added before the ReLU (Ding et al. 2021)."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.three = nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.one = nn.Conv2d(a, b, 1, stride, bias=False)
        self.norm3, self.norm1 = nn.BatchNorm2d(b), nn.BatchNorm2d(b)
        self.norm0 = nn.BatchNorm2d(a) if a == b and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm3(self.three(x)) + self.norm1(self.one(x))
        return functional.relu(y if self.norm0 is None else y + self.norm0(x))


class RepVGG(nn.Module):
    """Six such blocks."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 32, 1))
        self.blocks = nn.Sequential(*(RepBlock(*size) for size in sizes))
        self.head = nn.Linear(32, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean(dim=(2, 3)))


class SuperBlock(nn.Module):
    """Two convolutions, no norm, an addition (Lim et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.relu(self.conv1(x)))


class SuperResolution(nn.Module):
    """Twice as many pixels by `PixelShuffle`; torch's own start."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(SuperBlock(width) for _ in range(3))
        self.widen, self.shuffle = nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2)
        self.out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = entered = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.shuffle(self.widen(x + entered)))


class SpectralCritic(nn.Module):
    """A discriminator whose weights are divided by their norm (Miyato et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 16, 1), (16, 16, 2), (16, 32, 1), (32, 32, 2))
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 3, stride, 1)) for a, b, stride in sizes
        )
        self.head = spectral_norm(nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), 0.1)
        return self.head(x.sum(dim=(2, 3))).squeeze(1)


class Video(nn.Module):
    """Convolutions over time and space."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise((1, 8, 16, 16)):
            layers += [nn.Conv3d(a, b, 3, (1, 2, 2), 1, bias=False), nn.BatchNorm3d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(16, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean(dim=(2, 3, 4)))


class Capsules(nn.Module):
    """Convolutions, primary capsules, three rounds of routing (Sabour et al. 2017).

    Its transformations start at N(0, 0.1²): at 0.01 it is known to stand still.
    """

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = rounds
        self.conv = nn.Conv2d(1, 32, 5)
        self.primary = nn.Conv2d(32, 32, 5, stride=2)
        self.transform = nn.Parameter(0.1 * torch.randn(64, data.CLASSES, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(functional.relu(self.conv(x)))
        capsules = squash(x.unflatten(1, (4, 8)).permute(0, 1, 3, 4, 2).flatten(1, 3))
        votes = torch.einsum("nic,ijcd->nijd", capsules, self.transform)
        agreement = votes.new_zeros(votes.shape[:3])
        for last in reversed(range(self.rounds)):
            chosen = agreement.softmax(dim=2)[..., None]
            found = squash((chosen * votes).sum(dim=1))
            if last:
                agreement = agreement + (votes * found[:, None]).sum(dim=3)
        return (found.square().sum(dim=2) + 1e-8).sqrt()


def squash(x: Tensor) -> Tensor:
    """Short vectors vanish, long ones get length one."""
    square = x.square().sum(dim=-1, keepdim=True)
    return x * square / (1 + square) / (square + 1e-8).sqrt()


def margin_loss(lengths: Tensor, target: Tensor) -> Tensor:
    """The right capsule is longer than 0.9, the others shorter than 0.1."""
    right = functional.one_hot(target, data.CLASSES).float()
    short, long = functional.relu(0.9 - lengths).square(), functional.relu(lengths - 0.1).square()
    return (right * short + 0.5 * (1 - right) * long).sum(dim=1).mean()


def small(seed: int) -> Tensor:
    """Coloured pictures of 16 × 16."""
    return data.images(seed, 16)


def coarse(seed: int) -> Tensor:
    """What super-resolution starts from."""
    return functional.avg_pool2d(data.images(seed, 16), 2)


def critic_pictures(seed: int) -> Tensor:
    """Pictures of the task, and every second one with its pixels in disorder."""
    x = small(seed)
    order = torch.randperm(256, generator=torch.Generator().manual_seed(seed))
    mixed = x.flatten(2)[..., order].view_as(x)
    return torch.where(genuine(seed)[:, None, None, None] > 0, x, mixed)


def genuine(seed: int) -> Tensor:
    """Which of them are in order."""
    return (data.labels(seed) % 2).float()


def film(seed: int) -> Tensor:
    """(samples, 1, 4, 16, 16): a picture that moves."""
    x = data.images(seed, 16, 1)
    return torch.stack([x.roll(t, dims=-1) for t in range(4)], dim=2)


SPECIMENS: tuple[Specimen, ...] = (
    plain("inception", "score", Inception, small, family="convolutional"),
    plain("shuffle-net", "score", ShuffleNet, small, family="convolutional"),
    plain(
        "hourglass-additive",
        "score",
        Hourglass,
        small,
        lambda s: {"target": functional.avg_pool2d(small(s), 3, 1, 1)},
        family="convolutional",
        remark="He's law, the head by torch's",
    ),
    plain("wide-resnet-dropout", "score", WideResNet, small, family="convolutional"),
    plain(
        "all-convolutional",
        "score",
        all_convolutional,
        small,
        family="convolutional",
        remark="He's law",
    ),
    plain("rep-vgg", "score", RepVGG, small, family="convolutional"),
    plain(
        "super-resolution",
        "score",
        SuperResolution,
        coarse,
        lambda s: {"target": small(s)},
        family="convolutional",
    ),
    plain(
        "spectral-critic",
        "score",
        SpectralCritic,
        critic_pictures,
        lambda s: {"loss": "binary_cross_entropy", "target": genuine(s)},
        family="convolutional",
    ),
    plain("video-3d", "score", Video, film, family="convolutional"),
    plain(
        "capsules",
        "score",
        Capsules,
        lambda s: data.images(s, 16, 1),
        lambda s: {"loss": margin_loss, "target": data.labels(s)},
        family="convolutional",
        remark="transformations N(0, 0.1²)",
    ),
)
