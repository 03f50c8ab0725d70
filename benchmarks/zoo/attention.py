"""Transformers and mixers, written plainly."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import data
from zoo.specimen import Specimen, plain


class Attention(nn.Module):
    """Self-attention with grouped keys and values, rotary positions if asked."""

    def __init__(
        self,
        width: int,
        heads: int,
        groups: int | None = None,
        causal: bool = True,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups or heads, width // heads
        self.causal, self.rotary = causal, rotary
        self.q = nn.Linear(width, heads * self.size, bias=False)
        self.k = nn.Linear(width, self.groups * self.size, bias=False)
        self.v = nn.Linear(width, self.groups * self.size, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:2], heads, self.size).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q = self._split(self.q(x), self.heads)
        k, v = self._split(self.k(x), self.groups), self._split(self.v(x), self.groups)
        if self.rotary:
            q, k = rotated(q), rotated(k)
        k, v = (t.repeat_interleave(self.heads // self.groups, dim=1) for t in (k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.size)
        if self.causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, -torch.inf)
        mixed = scores.softmax(dim=-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


def rotated(x: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10000 ** (-torch.arange(half) / half)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class GPTBlock(nn.Module):
    """Pre-norm attention and GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 4)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """nanoGPT's start: N(0, 0.02²), branch ends / √(2·layers), head tied to the embedding."""

    def __init__(self, width: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        self.positions = nn.Embedding(64, width)
        self.blocks = nn.ModuleList(GPTBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, data.VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight
        self.apply(_normal_002)
        for block in self.blocks:
            for end in (block.attention.out, block.down):
                nn.init.normal_(end.weight, std=0.02 / math.sqrt(2 * depth))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def _normal_002(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class SwiGLU(nn.Module):
    """A gated feed-forward part (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class MixtureOfExperts(nn.Module):
    """Experts stacked in one tensor each, two of them per token."""

    def __init__(self, width: int, hidden: int, experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.empty(experts, width, hidden))
        self.down = nn.Parameter(torch.empty(experts, hidden, width))
        for weight in (self.up, self.down):
            nn.init.normal_(weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        shares, chosen = self.router(x).softmax(dim=-1).topk(2, dim=-1)
        gates = torch.zeros(*x.shape[:-1], len(self.up)).scatter(-1, chosen, shares)
        hidden = functional.silu(torch.einsum("btd,edh->bteh", x, self.up))
        return torch.einsum("bteh,ehd,bte->btd", hidden, self.down, gates)


class Llama(nn.Module):
    """RMSNorm, rotary grouped-query attention, SwiGLU or experts, untied head; N(0, 0.02²)."""

    def __init__(self, width: int = 48, depth: int = 3, experts: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2 * depth))
        self.attentions = nn.ModuleList(Attention(width, 4, 2, rotary=True) for _ in range(depth))
        make = MixtureOfExperts if experts else SwiGLU
        self.feeds = nn.ModuleList(make(width, 2 * width) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, data.VOCABULARY, bias=False)
        self.apply(_normal_002)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for index, (attention, feed) in enumerate(zip(self.attentions, self.feeds, strict=True)):
            x = x + attention(self.norms[2 * index](x))
            x = x + feed(self.norms[2 * index + 1](x))
        return self.head(self.norm(x))


class VisionTransformer(nn.Module):
    """Patches, a class token, pre-norm blocks of torch's own attention; timm's start."""

    def __init__(self, width: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 17, width))
        self.norm1 = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.norm2 = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.attention = nn.ModuleList(Attention(width, 4, causal=False) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, data.CLASSES)
        self.apply(_truncated_002)
        for parameter in (self.token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
        layers = (self.norm1, self.attention, self.norm2, self.up, self.down)
        for norm1, attention, norm2, up, down in zip(*layers, strict=True):
            x = x + attention(norm1(x))
            x = x + down(functional.gelu(up(norm2(x))))
        return self.head(self.norm(x)[:, 0])


def _truncated_002(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Mixer(nn.Module):
    """Tolstikhin et al. 2021: one MLP over places, one over channels; torch's default start."""

    def __init__(self, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.places = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(depth)
        )
        self.channels = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 96), nn.GELU(), nn.Linear(96, width))
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for index, (places, channels) in enumerate(zip(self.places, self.channels, strict=True)):
            x = x + places(self.norms[2 * index](x).transpose(1, 2)).transpose(1, 2)
            x = x + channels(self.norms[2 * index + 1](x))
        return self.head(self.norm(x).mean(dim=1))


class TorchEncoder(nn.Module):
    """`nn.TransformerEncoder`; its layers are started again one by one, since torch clones them."""

    def __init__(self, norm_first: bool, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.head = nn.Linear(width, data.CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.encoder(self.tokens(ids))).mean(dim=1))


class Translator(nn.Module):
    """`nn.Transformer` with encoder and decoder, Xavier on every matrix as torch starts it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        self.transformer = nn.Transformer(width, 4, 2, 2, 2 * width, batch_first=True)
        self.head = nn.Linear(width, data.VOCABULARY)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.head(self.transformer(self.tokens(source), self.tokens(target), tgt_mask=mask))


class LinearAttention(nn.Module):
    """Katharopoulos et al. 2020: φ(q)(φ(k)ᵀv), φ = ELU + 1."""

    def __init__(self, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.packed = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, data.CLASSES)
        self.apply(_normal_002)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for norm, packed, out in zip(self.norms, self.packed, self.out, strict=True):
            q, k, v = packed(norm(x)).chunk(3, dim=-1)
            q, k = functional.elu(q) + 1, functional.elu(k) + 1
            mixed = q @ (k.transpose(1, 2) @ v) / (q * k.sum(dim=1, keepdim=True)).sum(-1, True)
            x = x + out(mixed)
        return self.head(self.norm(x).mean(dim=1))


class SharedLayers(nn.Module):
    """One block called four times, as in ALBERT and universal transformers."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        self.block = GPTBlock(width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, data.CLASSES)
        self.apply(_normal_002)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for _ in range(4):
            x = self.block(x)
        return self.head(self.norm(x).mean(dim=1))


def next_token(model: nn.Module, ids: Tensor) -> Tensor:
    """The loss of a language model."""
    return functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def reversed_sentence(model: nn.Module, ids: Tensor) -> Tensor:
    """Translation into the reversed order."""
    target = ids.flip(1)
    output = model(ids, target[:, :-1])
    return functional.cross_entropy(output.transpose(1, 2), target[:, 1:])


def _first_token(seed: int) -> dict[str, Any]:
    return {"target": data.tokens(seed)[:, 0] % data.CLASSES}


def _language(_seed: int) -> dict[str, Any]:
    return {"step": next_token}


SPECIMENS: tuple[Specimen, ...] = (
    plain("gpt", "calibrate", GPT, data.tokens, _language, family="attention"),
    plain("llama-gqa-swiglu", "score", Llama, data.tokens, _language, family="attention"),
    plain(
        "mixture-of-experts",
        "score",
        lambda: Llama(experts=True),
        data.tokens,
        _language,
        family="attention",
    ),
    plain("vision-transformer", "calibrate", VisionTransformer, data.images, family="attention"),
    plain("mlp-mixer", "score", Mixer, data.images, family="attention"),
    plain(
        "torch-encoder-pre",
        "calibrate",
        lambda: TorchEncoder(True),
        data.tokens,
        _first_token,
        family="attention",
        remark="each layer started by itself, because torch clones the first",
    ),
    plain(
        "torch-encoder-post",
        "score",
        lambda: TorchEncoder(False),
        data.tokens,
        _first_token,
        family="attention",
        remark="each layer started by itself, because torch clones the first",
    ),
    plain(
        "torch-transformer",
        "score",
        Translator,
        data.tokens,
        lambda _: {"step": reversed_sentence},
        family="attention",
    ),
    plain(
        "linear-attention",
        "calibrate",
        LinearAttention,
        data.tokens,
        _first_token,
        family="attention",
    ),
    plain(
        "shared-layers", "calibrate", SharedLayers, data.tokens, _first_token, family="attention"
    ),
)
