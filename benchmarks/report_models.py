"""Six models as unlike as possible, with batches, for looking at their reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl

CLASSES = 10


class MLP(nn.Sequential):
    """Plain layers with ReLU."""

    def __init__(self, depth: int, width: int = 128, inputs: int = 64) -> None:
        layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Linear(width, width), nn.ReLU()]
        super().__init__(*layers, nn.Linear(width, CLASSES))


class Block(nn.Module):
    """Two convolutions with batch norm, and a skip."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.skip: nn.Module = nn.Identity()
        if stride > 1:
            self.skip = nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """Both convolutions, and what came."""
        h = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(h)) + self.skip(x))


class ResNet(nn.Sequential):
    """Six blocks for images of 32 × 32."""

    def __init__(self) -> None:
        shapes = ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
        blocks = [Block(*shape) for shape in shapes]
        stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))
        super().__init__(*stem, *blocks, *head)


class TransformerBlock(nn.Module):
    """A pre-norm block as in GPT-2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attention and a feed-forward layer."""
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Four blocks over 300 tokens, with a tied head."""

    def __init__(self, vocabulary: int = 300, width: int = 64) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(64, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.tokens.weight, 0, 0.02)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        """Logits, one row per position."""
        h = self.tokens(x) + self.places.weight[: x.shape[1]]
        return self.head(self.norm(self.blocks(h))).flatten(0, 1)


class LSTM(nn.Module):
    """Two recurrent layers between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(200, 64)
        self.rnn = nn.LSTM(64, 128, 2, batch_first=True)
        self.head = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from the last position."""
        return self.head(self.rnn(self.embed(x))[0][:, -1])


class Broken(nn.Module):
    """Raw inputs, saturated units, a zero layer, a loud one, and a layer that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 64)
        self.hidden = nn.ModuleList(nn.Linear(64, 64) for _ in range(6))
        self.unused, self.head = nn.Linear(64, 64), nn.Linear(64, CLASSES)
        nn.init.constant_(self.hidden[0].weight, 0.02)  # type: ignore[arg-type]
        nn.init.zeros_(self.hidden[3].weight)  # type: ignore[arg-type]
        nn.init.normal_(self.hidden[4].weight, std=30.0)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight, std=5.0)

    def forward(self, x: Tensor) -> Tensor:
        """Everything that can go wrong."""
        h = torch.sigmoid(self.first(x * 50))
        for layer in self.hidden:
            h = torch.relu(layer(h))
        return self.head(h)


def mlp() -> Any:
    """Thirty layers, before and after."""
    return fl.initialize(MLP(30), torch.randn(64, 64), target=_classes(64), seed=0)


def resnet() -> Any:
    """As PyTorch starts it."""
    return fl.check(ResNet(), torch.randn(32, 3, 32, 32), target=_classes(32))


def gpt() -> Any:
    """Likewise."""
    tokens = torch.randint(300, (16, 32))
    return fl.check(GPT(), tokens, target=tokens.flatten())


def lstm() -> Any:
    """Likewise."""
    return fl.check(LSTM(), torch.randint(200, (64, 12)), target=_classes(64))


def broken() -> Any:
    """What nobody should train."""
    return fl.check(Broken(), torch.randn(64, 32) + 3, target=_classes(64))


def deep() -> Any:
    """Two hundred layers, before and after."""
    return fl.initialize(MLP(200, 64), torch.randn(64, 64), target=_classes(64), seed=0)


REPORTS: dict[str, Callable[[], Any]] = {
    "MLP, 30 layers": mlp,
    "ResNet": resnet,
    "GPT": gpt,
    "LSTM": lstm,
    "broken": broken,
    "MLP, 200 layers": deep,
}
"""Records by name."""


def report(name: str) -> Any:
    """The record of a model, the same at each call."""
    torch.manual_seed(0)
    return REPORTS[name]()


def _classes(count: int) -> Tensor:
    return torch.randint(CLASSES, (count,))
