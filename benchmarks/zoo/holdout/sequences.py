"""Attention, state spaces, recurrences and graphs that no limit and no detector was written on."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import data
from zoo.specimen import Specimen, plain

WIDTH = 32


class CrossAttention(nn.Module):
    """One sequence asks another."""

    def __init__(self, width: int, source: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = nn.Linear(width, width), nn.Linear(source, width)
        self.v, self.out = nn.Linear(source, width), nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(samples, heads, places, size)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(source)), self.split(self.v(source))
        mixed = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class RandomFeatureAttention(CrossAttention):
    """Positive random features in place of the softmax (Choromanski et al. 2021)."""

    def __init__(self, width: int, heads: int = 4, features: int = 24) -> None:
        super().__init__(width, width, heads)
        self.register_buffer("directions", torch.randn(features, width // heads))

    def features(self, x: Tensor) -> Tensor:
        """φ(x) with φ(q)·φ(k) ≈ exp(q·k / √size)."""
        x = x * x.shape[-1] ** -0.25
        return torch.exp(x @ self.directions.T - x.square().sum(-1, True) / 2) + 1e-4

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        q = self.features(self.split(self.q(x)))
        k, v = self.features(self.split(self.k(source))), self.split(self.v(source))
        total = (q * k.sum(dim=2, keepdim=True)).sum(dim=-1, keepdim=True)
        mixed = q @ (k.transpose(2, 3) @ v) / total
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm attention and a GELU network."""

    def __init__(self, width: int, attention: CrossAttention | None = None) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention or CrossAttention(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y)
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


def vit_start(module: nn.Module) -> None:
    """Truncated N(0, 0.02²) and zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class DeiT(nn.Module):
    """A class token and a distillation token, each with its head (Touvron et al. 2021)."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.special = nn.Parameter(0.02 * torch.randn(1, 2, WIDTH))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 18, WIDTH))
        self.blocks = nn.ModuleList(Block(WIDTH) for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH)
        self.class_head, self.distilled_head = (nn.Linear(WIDTH, data.CLASSES) for _ in range(2))
        self.apply(vit_start)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.special.expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return (self.class_head(x[:, 0]) + self.distilled_head(x[:, 1])) / 2


class Perceiver(nn.Module):
    """A few latents ask all pixels, then each other (Jaegle et al. 2021)."""

    def __init__(self, latents: int = 8, size: int = 16) -> None:
        super().__init__()
        grid = torch.linspace(-1, 1, size)
        axes = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), dim=-1).flatten(0, 1)
        waves = axes[..., None] * math.pi * torch.tensor([1.0, 2.0, 4.0])
        places = torch.cat([waves.sin(), waves.cos()], dim=-1).flatten(1)
        self.register_buffer("places", places)
        self.latents = nn.Parameter(0.02 * torch.randn(latents, WIDTH))
        self.norm_latents, self.norm_pixels = nn.LayerNorm(WIDTH), nn.LayerNorm(15)
        self.cross = CrossAttention(WIDTH, 15, heads=1)
        self.blocks = nn.ModuleList(Block(WIDTH) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2).transpose(1, 2)
        pixels = torch.cat([pixels, self.places.expand(len(x), -1, -1)], dim=2)
        state = self.latents.expand(len(x), -1, -1)
        state = state + self.cross(self.norm_latents(state), self.norm_pixels(pixels))
        for block in self.blocks:
            state = block(state)
        return self.head(self.norm(state).mean(dim=1))


class Performer(nn.Module):
    """Tokens, three blocks with random features, mean, head; N(0, 0.02²) as BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, WIDTH)
        self.positions = nn.Embedding(16, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, RandomFeatureAttention(WIDTH)) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, data.CLASSES)
        self.apply(vit_start)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


def long_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution along the last axis by FFT; kernels are as long as the signal."""
    length = x.shape[-1]
    product = torch.fft.rfft(x, 2 * length) * torch.fft.rfft(kernel, 2 * length)
    return torch.fft.irfft(product, 2 * length)[..., :length]


class HyenaBlock(nn.Module):
    """Gates around a long convolution whose kernel a small network makes (Poli et al. 2023)."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.short = nn.Conv1d(3 * width, 3 * width, 3, padding=2, groups=3 * width)
        self.filter = nn.Sequential(nn.Linear(5, 16), nn.SiLU(), nn.Linear(16, width, bias=False))
        t = torch.linspace(0, 1, length)[:, None]
        turns = 2 * math.pi * t * torch.tensor([1.0, 2.0])
        self.register_buffer("time", torch.cat([t, turns.sin(), turns.cos()], dim=1))
        self.register_buffer("decay", torch.exp(-t * torch.linspace(1, 8, width)))
        self.pass_through = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        mixed = self.short(self.project(self.norm(x)).transpose(1, 2))[..., :length]
        gate, gate2, v = mixed.chunk(3, dim=1)
        kernel = (self.filter(self.time) * self.decay).T
        v = gate2 * v
        y = gate * (long_convolution(v, kernel) + self.pass_through * v)
        return x + self.out(y.transpose(1, 2))


class Hyena(nn.Module):
    """A language model of three such blocks; its norm's output is read by the head."""

    def __init__(self, length: int = 15) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(HyenaBlock(WIDTH, length) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, data.VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def next_token(model: nn.Module, ids: Tensor) -> Tensor:
    """The loss of a language model."""
    return functional.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:])


class DiagonalSSM(nn.Module):
    """S4D with the real start A = −1/2 + iπn (Gu et al. 2022)."""

    def __init__(self, width: int, state: int = 8) -> None:
        super().__init__()
        low, high = math.log(1e-2), math.log(1e-1)
        self.log_step = nn.Parameter(low + (high - low) * torch.rand(width))
        self.log_decay = nn.Parameter(torch.full((width, state), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(state).float().repeat(width, 1))
        self.read = nn.Parameter(torch.randn(width, state, 2) * math.sqrt(0.5))
        self.direct = nn.Parameter(torch.randn(width))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm(x).transpose(1, 2)
        step = self.log_step.exp()[:, None]
        a = torch.complex(-self.log_decay.exp(), self.frequency)
        c = torch.view_as_complex(self.read) * (torch.exp(step * a) - 1) / a
        powers = torch.exp((step * a)[..., None] * torch.arange(u.shape[2]))
        kernel = 2 * torch.einsum("ws,wst->wt", c, powers).real
        y = functional.gelu(long_convolution(u, kernel) + self.direct[:, None] * u)
        return x + functional.glu(self.out(y.transpose(1, 2)), dim=-1)


class StateSpace(nn.Module):
    """Four layers, mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(8, WIDTH)
        self.layers = nn.ModuleList(DiagonalSSM(WIDTH) for _ in range(4))
        self.head = nn.Linear(WIDTH, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(dim=1))


class SpeechCommands(nn.Module):
    """Convolution, bidirectional GRU, attention over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(40, WIDTH, 5, 2, 2), nn.BatchNorm1d(WIDTH), nn.ReLU())
        self.body = nn.GRU(WIDTH, 24, batch_first=True, bidirectional=True)
        self.weigh = nn.Sequential(nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 1))
        self.head = nn.Linear(48, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states = self.body(self.conv(x).transpose(1, 2))[0]
        shares = self.weigh(states).softmax(dim=1)
        return self.head((shares * states).sum(dim=1))


class WaveNet(nn.Module):
    """Dilated causal convolutions, tanh times sigmoid, sums of skips (Van den Oord et al. 2016)."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv1d(8, WIDTH, 1)
        self.filters, self.gates = (
            nn.ModuleList(
                nn.Conv1d(WIDTH, WIDTH, 2, padding=2**i, dilation=2**i) for i in range(depth)
            )
            for _ in range(2)
        )
        self.stays, self.skips = (
            nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 1) for _ in range(n)) for n in (depth - 1, depth)
        )
        self.mix, self.head = nn.Conv1d(WIDTH, WIDTH, 1), nn.Conv1d(WIDTH, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x.transpose(1, 2))
        total: Tensor | float = 0.0
        for index, skip in enumerate(self.skips):
            values, gates = self.filters[index](x), self.gates[index](x)
            y = (torch.tanh(values) * torch.sigmoid(gates))[..., : x.shape[2]]
            total = total + skip(y)
            if index < len(self.stays):
                x = x + self.stays[index](y)
        return self.head(functional.relu(self.mix(functional.relu(total)))).transpose(1, 2)


def next_value(model: nn.Module, x: Tensor) -> Tensor:
    """The series, one step ahead."""
    return functional.mse_loss(model(x[:, :-1]), x[:, 1:])


class SetTransformer(nn.Module):
    """Induced attention and pooling by a learned seed (Lee et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3, WIDTH)
        self.inducing, self.seed = (nn.Parameter(torch.empty(1, n, WIDTH)) for n in (8, 1))
        self.ask, self.answer, self.pool = (CrossAttention(WIDTH, WIDTH) for _ in range(3))
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, data.CLASSES)
        for points in (self.inducing, self.seed):
            nn.init.xavier_uniform_(points)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        inducing = self.inducing.expand(len(x), -1, -1)
        inducing = inducing + self.ask(inducing, x)
        x = x + self.answer(x, inducing)
        x = x + functional.relu(self.first(x))
        seed = self.seed.expand(len(x), -1, -1)
        pooled = seed + self.pool(seed, x)
        return self.head((pooled + functional.relu(self.second(pooled))).squeeze(1))


class GraphAttention(nn.Module):
    """Neighbours weighed by a small network (Veličković et al. 2018); Glorot's law."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, width, bias=False) for a in (8, width))
        self.here, self.there = (
            nn.ModuleList(nn.Linear(width, 1, bias=False) for _ in range(2)) for _ in range(2)
        )
        self.head = nn.Linear(width, data.CLASSES)
        for layer in (*self.layers, *self.here, *self.there):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for layer, here, there in zip(self.layers, self.here, self.there, strict=True):
            x = layer(x)
            scores = functional.leaky_relu(here(x) + there(x).transpose(1, 2), 0.2)
            shares = scores.masked_fill(adjacency == 0, -torch.inf).softmax(dim=-1)
            x = functional.elu(shares @ x)
        return self.head(x.mean(dim=1))


def _first_token(seed: int) -> dict[str, Any]:
    return {"target": data.tokens(seed)[:, 0] % data.CLASSES}


def _small(seed: int) -> Tensor:
    return data.images(seed, 16)


SPECIMENS: tuple[Specimen, ...] = (
    plain("deit-distilled", "score", DeiT, _small, family="attention"),
    plain("perceiver-pixels", "score", Perceiver, _small, family="attention"),
    plain("performer", "score", Performer, data.tokens, _first_token, family="attention"),
    plain("hyena", "score", Hyena, data.tokens, lambda _: {"step": next_token}, family="attention"),
    plain("s4-diagonal", "score", StateSpace, data.series, family="recurrent"),
    plain(
        "conv-bigru-attention",
        "score",
        SpeechCommands,
        lambda s: data.spectrograms(s, 40),
        family="recurrent",
    ),
    plain(
        "wavenet",
        "score",
        WaveNet,
        data.series,
        lambda _: {"step": next_value},
        family="convolutional",
    ),
    plain("set-transformer", "score", SetTransformer, data.points, family="graphs"),
    plain("graph-attention", "score", GraphAttention, data.graphs, family="graphs"),
)
