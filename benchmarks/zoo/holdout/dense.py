"""Fully connected networks that no limit and no detector was written on."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import data
from zoo.dense import WIDTH, he, lecun, mlp
from zoo.specimen import Specimen, plain


class Coupling(nn.Module):
    """One half scales and shifts the other (Dinh et al. 2017); scales are bounded by tanh."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(features // 2, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, features),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, other = x.chunk(2, dim=1)
        scale, shift = self.net(kept).chunk(2, dim=1)
        scale = torch.tanh(scale)
        return torch.cat([other * scale.exp() + shift, kept], dim=1), scale.sum(dim=1)


class RealNVP(nn.Module):
    """Couplings whose halves change places."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(32) for _ in range(depth))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        volume = x.new_zeros(len(x))
        for coupling in self.couplings:
            x, log_det = coupling(x)
            volume = volume + log_det
        return x, volume


def flow_loss(model: nn.Module, x: Tensor) -> Tensor:
    """Negative log likelihood per sample and feature, without its constant."""
    z, volume = model(x)
    return (0.5 * z.square().sum(dim=1) - volume).mean() / x.shape[1]


class HyperNetwork(nn.Module):
    """Hidden matrices are made by one layer from an embedding of their place (Ha et al. 2017).

    Started so that what is made has He's second moment (Chang et al. 2020).
    """

    def __init__(self, depth: int = 3, code: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(32, WIDTH)
        self.codes = nn.Parameter(torch.randn(depth, code))
        self.make = nn.Linear(code, WIDTH * WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, data.CLASSES)
        nn.init.normal_(self.make.weight, std=math.sqrt(2 / (code * WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        for made in self.make(self.codes).view(-1, WIDTH, WIDTH):
            x = functional.relu(x @ made.T)
        return self.head(x)


class EulerNet(nn.Module):
    """One vector field, followed for twelve Euler steps (as Chen et al. 2018)."""

    def __init__(self, steps: int = 12) -> None:
        super().__init__()
        self.steps = steps
        self.first = nn.Linear(32, WIDTH)
        self.field = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(self.steps):
            x = x + self.field(x) / self.steps
        return self.head(x)


def cosine_pairs(model: nn.Module, x: Tensor) -> Tensor:
    """A sample and its noisy copy agree; a sample and its neighbour in the batch do not."""
    here, same, other = model(x), model(x + 0.1 * torch.randn_like(x)), model(x.roll(1, dims=0))
    sign = torch.ones(len(x), device=x.device)
    return functional.cosine_embedding_loss(here, same, sign) + functional.cosine_embedding_loss(
        here, other, -sign
    )


class DuelingDQN(nn.Module):
    """Value and advantages from one trunk (Wang et al. 2016)."""

    def __init__(self, actions: int = 4) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(32, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.value, self.advantage = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, actions)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.trunk(x)
        advantage = self.advantage(hidden)
        return self.value(hidden) + advantage - advantage.mean(dim=1, keepdim=True)


def bellman(model: nn.Module, x: Tensor) -> Tensor:
    """One step of temporal difference learning; the reward can be read off the state."""
    action = x[:, :4].argmax(dim=1, keepdim=True)
    with torch.no_grad():
        wanted = x.gather(1, action + 4) + 0.5 * model(x.roll(1, dims=0)).max(1, True).values
    return functional.smooth_l1_loss(model(x).gather(1, action), wanted)


class TwoTowers(nn.Module):
    """Users and items in one space; torch's own starts."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.users, self.items = (nn.Embedding(data.VOCABULARY, width) for _ in range(2))
        self.user_tower, self.item_tower = (
            nn.Sequential(nn.Linear(2 * width, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 32))
            for _ in range(2)
        )

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        users = self.user_tower(self.users(ids[:, :2]).flatten(1))
        items = self.item_tower(self.items(ids[:, 2:]).flatten(1))
        return functional.normalize(users, dim=1), functional.normalize(items, dim=1)


def retrieval(model: nn.Module, ids: Tensor) -> Tensor:
    """Each user must find its item among the batch's."""
    users, items = model(ids)
    return functional.cross_entropy(users @ items.T / 0.2, torch.arange(len(ids)))


class RadialKAN(nn.Module):
    """Learned univariate functions as sums of Gaussians, beside a plain layer (FastKAN)."""

    def __init__(self, inputs: int, outputs: int, grid: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.register_buffer("grid", torch.linspace(-2, 2, grid))
        self.spline = nn.Linear(inputs * grid, outputs, bias=False)
        self.base = nn.Linear(inputs, outputs)
        nn.init.trunc_normal_(self.spline.weight, std=1 / math.sqrt(inputs * grid))

    def forward(self, x: Tensor) -> Tensor:
        bumps = torch.exp(-((self.norm(x)[..., None] - self.grid) / 0.57).square())
        return self.spline(bumps.flatten(1)) + self.base(functional.silu(x))


class KAN(nn.Module):
    """Three such layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(RadialKAN(a, b) for a, b in ((32, 48), (48, 48)))
        self.head = RadialKAN(48, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class MaskedLinear(nn.Linear):
    """Some connections are cut."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """Each bit from the bits before it, in one pass (Germain et al. 2015)."""

    def __init__(self, bits: int = 32) -> None:
        super().__init__()
        order, hidden = torch.arange(1, bits + 1), torch.arange(WIDTH) % (bits - 1) + 1
        self.first = MaskedLinear((hidden[:, None] >= order).float())
        self.second = MaskedLinear((hidden[:, None] >= hidden).float())
        self.head = MaskedLinear((order[:, None] > hidden).float())

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        return self.head(functional.relu(self.second(x)))


def bits(seed: int) -> Tensor:
    """Signs of the vectors, as 0 and 1."""
    return (data.vectors(seed) > 0).float()


def funnel() -> nn.Module:
    """Twelve ReLU layers that grow narrower, started by He's law."""
    sizes = (256, 256, 224, 192, 160, 128, 112, 96, 80, 64, 48, 40, 32)
    rows: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        rows += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*rows, nn.Linear(sizes[-1], data.CLASSES)).apply(he)


class CrossNetwork(nn.Module):
    """x + x₀ ⊙ (W x + b), beside a deep part (Wang et al. 2021)."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.crosses = nn.ModuleList(nn.Linear(32, 32) for _ in range(depth))
        self.deep = nn.Sequential(
            nn.Linear(32, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.head = nn.Linear(32 + WIDTH, data.CLASSES)
        for cross in self.crosses:
            nn.init.trunc_normal_(cross.weight, std=0.05)
            nn.init.zeros_(cross.bias)

    def forward(self, x: Tensor) -> Tensor:
        crossed = x
        for cross in self.crosses:
            crossed = crossed + x * cross(crossed)
        return self.head(torch.cat([crossed, self.deep(x)], dim=1))


class FiLM(nn.Module):
    """A second input scales and shifts the features (Perez et al. 2018)."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        widths = (32, *(WIDTH,) * depth)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(
            nn.LayerNorm(WIDTH, elementwise_affine=False) for _ in range(depth)
        )
        self.films = nn.ModuleList(nn.Linear(8, 2 * WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, data.CLASSES)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for layer, norm, film in zip(self.layers, self.norms, self.films, strict=True):
            scale, shift = film(condition).chunk(2, dim=1)
            x = functional.relu(norm(layer(x)) * (1 + scale) + shift)
        return self.head(x)


class Maxout(nn.Module):
    """The larger of two affine maps (Goodfellow et al. 2013); E[max²] is one, so LeCun's law."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        widths = (32, *(WIDTH,) * depth)
        self.layers = nn.ModuleList(nn.Linear(a, 2 * b) for a, b in itertools.pairwise(widths))
        self.head = nn.Linear(WIDTH, data.CLASSES)
        self.apply(lecun)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).unflatten(1, (-1, 2)).amax(dim=2)
        return self.head(x)


class MixtureDensity(nn.Module):
    """Weights, means and log deviations of a mixture (Bishop 1994)."""

    def __init__(self, components: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh()
        )
        self.mixture = nn.Linear(WIDTH, 3 * components)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixture(self.body(x))


def mixture_loss(model: nn.Module, x: Tensor) -> Tensor:
    """Negative log likelihood of the first two features' product."""
    weights, means, deviations = model(x).chunk(3, dim=1)
    z = (x[:, :1] * x[:, 1:2] - means) * torch.exp(-deviations)
    return -torch.logsumexp(weights.log_softmax(dim=1) - deviations - z.square() / 2, 1).mean()


SPECIMENS: tuple[Specimen, ...] = (
    plain("real-nvp", "score", RealNVP, check=lambda _: {"step": flow_loss}),
    plain("hyper-network", "score", HyperNetwork, remark="Chang's start of the generator"),
    plain("euler-12-shared", "score", EulerNet),
    plain(
        "siamese-cosine",
        "score",
        lambda: mlp(4, nn.ReLU, he),
        check=lambda _: {"step": cosine_pairs},
    ),
    plain("dueling-dqn", "score", DuelingDQN, check=lambda _: {"step": bellman}),
    plain(
        "two-towers",
        "score",
        TwoTowers,
        lambda s: data.tokens(s, 4),
        lambda _: {"step": retrieval},
    ),
    plain("kan-radial", "score", KAN),
    plain(
        "made", "score", MADE, bits, lambda s: {"loss": "binary_cross_entropy", "target": bits(s)}
    ),
    plain("funnel-12", "score", funnel, lambda s: data.vectors(s, 256), remark="He's law"),
    plain("deep-and-cross", "score", CrossNetwork),
    plain("film", "score", FiLM, lambda s: (data.vectors(s), data.vectors(s + 1, 8))),
    plain("maxout", "score", Maxout, remark="LeCun's law"),
    plain("mixture-density", "score", MixtureDensity, check=lambda _: {"step": mixture_loss}),
)
