"""Networks of any width for the coordinate check: the examples of mup, and what mup leaves out.

``MLP`` and ``Transformer`` are written after microsoft/mup's examples/MLP and examples/Transformer
(three layers without biases; post-norm encoder blocks with packed q, k, v and scores q·k/d), at the
size of a laptop. ``readout`` makes their last layer: `torch.nn.Linear`, or `mup.MuReadout` for the
original.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES, TOKENS, LENGTH = 10, 64, 12

Readout = Callable[..., nn.Module]


class MLP(nn.Module):
    """Three layers without biases."""

    def __init__(
        self, width: int, *, readout: Readout = nn.Linear, nonlin: Callable = torch.tanh
    ) -> None:
        super().__init__()
        self.nonlin = nonlin
        self.fc_1 = nn.Linear(64, width, bias=False)
        self.fc_2 = nn.Linear(width, width, bias=False)
        self.fc_3 = readout(width, CLASSES, bias=False)
        for layer in (self.fc_1, self.fc_2, self.fc_3):
            nn.init.normal_(layer.weight, std=layer.weight.shape[1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.nonlin(self.fc_1(x))
        return self.fc_3(self.nonlin(self.fc_2(x)))


class Attention(nn.Module):
    """Packed q, k, v; scores q·k/d in mup's form, q·k/√d in the standard one."""

    def __init__(self, width: int, heads: int, *, power: float = 1.0) -> None:
        super().__init__()
        self.heads, self.power = heads, power
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attention to all that came before."""
        samples, length, width = x.shape
        size = width // self.heads
        parts = self.qkv(x).view(samples, length, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        scores = q @ k.transpose(-1, -2) / size**self.power
        ahead = torch.full((length, length), -math.inf).triu(1)
        mixed = functional.softmax(scores + ahead, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(samples, length, width))


class Block(nn.Module):
    """A post-norm encoder block."""

    def __init__(self, width: int, heads: int, *, power: float = 1.0) -> None:
        super().__init__()
        self.attention = Attention(width, heads, power=power)
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the two layers."""
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.linear2(functional.relu(self.linear1(x))))


class Transformer(nn.Module):
    """A causal language model; ``tied`` makes the logits with the embedding."""

    def __init__(
        self,
        width: int,
        *,
        readout: Readout = nn.Linear,
        layers: int = 2,
        heads: int = 4,
        tied: bool = False,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = nn.Embedding(TOKENS, width)
        self.positions = nn.Parameter(torch.randn(LENGTH, width) * 0.5)
        self.blocks = nn.ModuleList(Block(width, heads, power=power) for _ in range(layers))
        self.decoder = readout(width, TOKENS, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2 and "encoder" not in name and "positions" not in name:
                nn.init.normal_(parameter, std=width**-0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token, one row each."""
        x = self.encoder(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.decoder(x).flatten(0, 1)


class ConvNet(nn.Module):
    """Dense, depthwise and pointwise convolutions, a batch norm and a head over pooled features."""

    def __init__(self, width: int, *, readout: Readout = nn.Linear) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, stride=2)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.head = readout(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.relu(self.conv(x))
        x = functional.relu(self.pointwise(functional.relu(self.depthwise(x))))
        return self.head(x.mean((2, 3)))


class PreNorm(nn.Module):
    """A residual network of ``depth`` pre-norm branches."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.ups = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stem(x)
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            x = x + down(functional.relu(up(norm(x))))
        return self.head(self.last(x))


def digits(samples: int = 64) -> tuple[Tensor, Tensor]:
    """Flat images, standardized, and classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.data[:samples], dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(data.target[:samples])


def sentences(samples: int = 8) -> tuple[Tensor, Tensor]:
    """Tokens that follow each other by a fixed rule with noise, and the next ones, flat."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(TOKENS, (samples, LENGTH + 1), generator=generator)
    tokens[:, 1::2] = (3 * tokens[:, :-1:2] + 1) % TOKENS
    return tokens[:, :-1], tokens[:, 1:].flatten()
