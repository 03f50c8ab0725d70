"""Convolutional classics, written plainly at small widths, each with the start of its own time."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import data
from zoo.dense import he
from zoo.specimen import Specimen, plain


def _he_fan_out(module: nn.Module) -> None:
    """The start of torchvision's of ResNets: He by fan_out, norms 1 and 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _conv(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)


def lenet() -> nn.Module:
    """LeCun et al. 1998, with its tanh, at torch's default start."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, data.CLASSES),
    )


def alexnet() -> nn.Module:
    """Krizhevsky et al. 2012 for 32 × 32 pixels; He's law where its own std 0.01 fades."""
    sizes = ((3, 24, 2), (24, 48, 2), (48, 64, 1), (64, 48, 1), (48, 48, 1))
    layers: list[nn.Module] = []
    for inputs, outputs, pool in sizes:
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if pool > 1 else []
    layers += [nn.Flatten(), nn.Dropout(), nn.Linear(48 * 64, 96), nn.ReLU(inplace=True)]
    head = nn.Linear(96, data.CLASSES)
    model = nn.Sequential(*layers, nn.Dropout(), head).apply(he)
    nn.init.normal_(head.weight, std=0.01)
    return model


def vgg(norm: bool) -> nn.Module:
    """Simonyan & Zisserman 2015, eleven layers; torchvision's start (He by fan_out, head 0.01)."""
    layers: list[nn.Module] = []
    before = 3
    for width in (16, 0, 32, 0, 48, 48, 0, 64, 64, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(before, width, 3, padding=1))
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers.append(nn.ReLU(inplace=True))
        before = width
    layers += [nn.Flatten(), nn.Linear(64 * 4, 64), nn.ReLU(inplace=True), nn.Dropout()]
    head = nn.Linear(64, data.CLASSES)
    model = nn.Sequential(*layers, head).apply(_he_fan_out)
    nn.init.normal_(head.weight, std=0.01)
    return model


class Block(nn.Module):
    """A residual block, activation after or before the convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int, pre: bool) -> None:
        super().__init__()
        self.pre = pre
        self.conv1, self.conv2 = _conv(inputs, outputs, stride), _conv(outputs, outputs)
        self.norm1 = nn.BatchNorm2d(inputs if pre else outputs)
        self.norm2 = nn.BatchNorm2d(outputs)
        straight = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if straight else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            y = self.conv1(functional.relu(self.norm1(x)))
            return self.skip(x) + self.conv2(functional.relu(self.norm2(y)))
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.skip(x))


class ResNet(nn.Module):
    """He et al. 2015 for small pictures."""

    def __init__(self, pre: bool = False, zero_gamma: bool = False, blocks: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 16)] if pre else [_conv(3, 16), nn.BatchNorm2d(16)]
        layers += [] if pre else [nn.ReLU()]
        before = 16
        for width in (16, 32, 48):
            for index in range(blocks):
                stride = 2 if index == 0 and width > 16 else 1
                layers.append(Block(before, width, stride, pre))
                before = width
        layers += [nn.BatchNorm2d(before), nn.ReLU()] if pre else []
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, data.CLASSES)
        self.apply(_he_fan_out)
        if zero_gamma:
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


class Fixup(nn.Module):
    """Residual blocks without a norm: last weight zero, first × blocks^-½ (Zhang et al. 2019)."""

    def __init__(self, blocks: int = 6, width: int = 24) -> None:
        super().__init__()
        self.stem = _conv(3, width)
        self.first = nn.ModuleList(_conv(width, width) for _ in range(blocks))
        self.last = nn.ModuleList(_conv(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, data.CLASSES)
        self.apply(he)
        nn.init.zeros_(self.head.weight)
        for first, last in zip(self.first, self.last, strict=True):
            with torch.no_grad():
                first.weight.mul_(blocks**-0.5)
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for first, last in zip(self.first, self.last, strict=True):
            x = functional.relu(x + last(functional.relu(first(x))))
        return self.head(x.mean(dim=(2, 3)))


class DenseNet(nn.Module):
    """Huang et al. 2017: every layer sees all before it."""

    def __init__(self, growth: int = 12, depth: int = 4) -> None:
        super().__init__()
        self.stem = _conv(3, 24)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        width = 24
        for _ in range(2):
            layers = nn.ModuleList()
            for _ in range(depth):
                layers.append(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), _conv(width, growth)))
                width += growth
            self.blocks.append(layers)
            self.transitions.append(
                nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1))
            )
            width //= 2
        self.norm, self.head = nn.BatchNorm2d(width), nn.Linear(width, data.CLASSES)
        self.apply(he)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            for layer in block:
                x = torch.cat([x, layer(x)], dim=1)
            x = functional.avg_pool2d(transition(x), 2)
        return self.head(functional.relu(self.norm(x)).mean(dim=(2, 3)))


def mobilenet() -> nn.Module:
    """Howard et al. 2017: depthwise and pointwise convolutions, torch's default start."""
    layers: list[nn.Module] = [_conv(3, 16, 2), nn.BatchNorm2d(16), nn.ReLU6()]
    for inputs, outputs, stride in ((16, 32, 1), (32, 48, 2), (48, 48, 1), (48, 64, 2)):
        layers += [_conv(inputs, inputs, stride, inputs), nn.BatchNorm2d(inputs), nn.ReLU6()]
        layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, data.CLASSES)]
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """Inverted bottlenecks with a gate per channel, as in EfficientNet."""

    def __init__(self, width: int = 24, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, width, 2), nn.BatchNorm2d(width), nn.SiLU())
        self.expand, self.depthwise, self.project = (nn.ModuleList() for _ in range(3))
        self.squeeze, self.excite = nn.ModuleList(), nn.ModuleList()
        wide = 3 * width
        for _ in range(blocks):
            self.expand.append(nn.Sequential(nn.Conv2d(width, wide, 1), nn.BatchNorm2d(wide)))
            self.depthwise.append(
                nn.Sequential(_conv(wide, wide, groups=wide), nn.BatchNorm2d(wide))
            )
            self.squeeze.append(nn.Conv2d(wide, 8, 1))
            self.excite.append(nn.Conv2d(8, wide, 1))
            self.project.append(nn.Sequential(nn.Conv2d(wide, width, 1), nn.BatchNorm2d(width)))
        self.head = nn.Linear(width, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        layers = (self.expand, self.depthwise, self.squeeze, self.excite, self.project)
        for expand, depthwise, squeeze, excite, project in zip(*layers, strict=True):
            y = functional.silu(depthwise(functional.silu(expand(x))))
            gate = excite(functional.silu(squeeze(y.mean(dim=(2, 3), keepdim=True))))
            x = x + project(y * torch.sigmoid(gate))
        return self.head(x.mean(dim=(2, 3)))


class UNet(nn.Module):
    """Ronneberger et al. 2015, three scales; regression to a blurred picture."""

    def __init__(self, width: int = 12, norm: bool = True) -> None:
        super().__init__()

        def double(inputs: int, outputs: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for before in (inputs, outputs):
                layers.append(nn.Conv2d(before, outputs, 3, padding=1))
                layers += [nn.GroupNorm(4, outputs)] if norm else []
                layers.append(nn.ReLU())
            return nn.Sequential(*layers)

        widths = (width, 2 * width, 4 * width)
        self.down = nn.ModuleList(double(a, b) for a, b in zip((3, *widths), widths, strict=False))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, 2) for a, b in itertools.pairwise(widths)
        )
        self.join = nn.ModuleList(double(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(width, 3, 1)
        self.apply(he)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else functional.max_pool2d(x, 2))
            kept.append(x)
        for index in (1, 0):
            x = self.join[index](torch.cat([kept[index], self.up[index](x)], dim=1))
        return self.head(x)


def blurred(seed: int) -> Tensor:
    """What the U-Net restores to."""
    return functional.avg_pool2d(data.images(seed, 16), 3, 1, 1)


class Generator(nn.Module):
    """DCGAN's generator, with its start: N(0, 0.02²), norms N(1, 0.02²)."""

    def __init__(self, noise: int = 32, width: int = 16) -> None:
        super().__init__()
        sizes = (noise, 4 * width, 2 * width, width)
        layers: list[nn.Module] = []
        for index, (a, b) in enumerate(itertools.pairwise(sizes)):
            first = index == 0
            layers.append(nn.ConvTranspose2d(a, b, 4, 1 if first else 2, 0 if first else 1))
            layers += [nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())
        self.apply(dcgan_start)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


def dcgan_start(module: nn.Module) -> None:
    """Radford et al. 2016."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def discriminator() -> nn.Module:
    """DCGAN's discriminator: one logit per picture."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.2)]
    for a, b in ((16, 32), (32, 64)):
        layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(64, 1, 4), nn.Flatten(0)]
    return nn.Sequential(*layers).apply(dcgan_start)


class TCN(nn.Module):
    """Dilated causal convolutions with residual additions (Bai et al. 2018)."""

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        widths = (8, *(width,) * levels)
        pairs = list(itertools.pairwise(widths))
        self.first = nn.ModuleList(
            nn.Conv1d(a, b, 3, padding=2 * 2**i, dilation=2**i) for i, (a, b) in enumerate(pairs)
        )
        self.second = nn.ModuleList(
            nn.Conv1d(b, b, 3, padding=2 * 2**i, dilation=2**i) for i, (_, b) in enumerate(pairs)
        )
        self.skips = nn.ModuleList(
            nn.Conv1d(a, b, 1) if a != b else nn.Identity() for a, b in pairs
        )
        self.head = nn.Linear(width, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        length = x.shape[2]
        for first, second, skip in zip(self.first, self.second, self.skips, strict=True):
            y = functional.relu(first(x)[..., :length])
            y = functional.relu(second(y)[..., :length])
            x = functional.relu(y + skip(x))
        return self.head(x[..., -1])


def _digits(seed: int) -> Tensor:
    return data.images(seed, 32, 1)


def _small(seed: int) -> Tensor:
    return data.images(seed, 16)


def _noise(seed: int) -> Tensor:
    return torch.randn(data.SAMPLES, 32, generator=torch.Generator().manual_seed(seed))


def _realism(model: nn.Module, z: Tensor) -> Tensor:
    """A generator's step, against pictures of the task (a moment match stands for the critic)."""
    return functional.mse_loss(model(z), torch.tanh(data.images(0)))


def _real_or_noise(seed: int) -> Tensor:
    pictures = data.images(seed)
    white = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(_is_real(seed)[:, None, None, None] > 0, pictures, white)


def _is_real(seed: int) -> Tensor:
    return (data.labels(seed) % 2).float()


SPECIMENS: tuple[Specimen, ...] = (
    plain("lenet", "calibrate", lenet, _digits, family="convolutional"),
    plain(
        "alexnet",
        "calibrate",
        alexnet,
        data.images,
        family="convolutional",
        remark="He's law, because its own std 0.01 fades",
    ),
    plain("vgg-11", "score", lambda: vgg(False), data.images, family="convolutional"),
    plain("vgg-11-batchnorm", "score", lambda: vgg(True), data.images, family="convolutional"),
    plain("resnet-post", "calibrate", ResNet, _small, family="convolutional"),
    plain("resnet-pre", "score", lambda: ResNet(pre=True), _small, family="convolutional"),
    plain(
        "resnet-zero-gamma",
        "score",
        lambda: ResNet(zero_gamma=True),
        _small,
        family="convolutional",
    ),
    plain("resnet-fixup", "calibrate", Fixup, _small, family="convolutional"),
    plain("densenet", "score", DenseNet, _small, family="convolutional"),
    plain("mobilenet", "calibrate", mobilenet, data.images, family="convolutional"),
    plain("squeeze-excite", "score", SqueezeExcite, _small, family="convolutional"),
    plain(
        "u-net",
        "score",
        UNet,
        _small,
        lambda s: {"target": blurred(s)},
        family="convolutional",
    ),
    plain(
        "gan-generator",
        "calibrate",
        Generator,
        _noise,
        lambda _: {"step": _realism},
        family="convolutional",
    ),
    plain(
        "gan-discriminator",
        "score",
        discriminator,
        _real_or_noise,
        lambda s: {"loss": "binary_cross_entropy", "target": _is_real(s)},
        family="convolutional",
    ),
    plain("tcn", "calibrate", TCN, data.series, family="convolutional"),
)
