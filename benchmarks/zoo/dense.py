"""Fully connected networks, written plainly."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import data
from zoo.specimen import Specimen, plain

WIDTH = 64

Start = Callable[[nn.Module], None]


def he(layer: nn.Module) -> None:
    """He's normal law with zero biases, on whatever has a weight matrix."""
    if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def glorot(layer: nn.Module) -> None:
    """Glorot's normal law with zero biases."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)


def lecun(layer: nn.Module) -> None:
    """LeCun's normal law with zero biases."""
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.zeros_(layer.bias)


def orthogonal(gain: float) -> Start:
    """Orthogonal matrices times a gain, zero biases."""

    def start(layer: nn.Module) -> None:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)

    return start


def mlp(
    depth: int,
    activation: Callable[[], nn.Module],
    start: Start | None,
    width: int = WIDTH,
    norm: Callable[[int], nn.Module] | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """``depth`` hidden layers and a head; torch's own start where ``start`` is None."""
    layers: list[nn.Module] = []
    before = 32
    for _ in range(depth):
        layers.append(nn.Linear(before, width))
        layers += [norm(width)] if norm else []
        layers.append(activation())
        layers += [nn.Dropout(dropout)] if dropout else []
        before = width
    model = nn.Sequential(*layers, nn.Linear(before, data.CLASSES))
    return model.apply(start) if start else model


class Highway(nn.Module):
    """Gates that begin mostly closed: bias −2, as its authors start it."""

    def __init__(self, depth: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(32, WIDTH)
        self.transforms = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, data.CLASSES)
        self.apply(he)
        for gate in self.gates:
            nn.init.constant_(gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for transform, gate in zip(self.transforms, self.gates, strict=True):
            open_ = torch.sigmoid(gate(x))
            x = open_ * functional.relu(transform(x)) + (1 - open_) * x
        return self.head(x)


class ReZero(nn.Module):
    """Residual layers times a scalar that begins at zero."""

    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.first = nn.Linear(32, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.scales = nn.Parameter(torch.zeros(depth))
        self.head = nn.Linear(WIDTH, data.CLASSES)
        self.apply(he)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for index, layer in enumerate(self.layers):
            x = x + self.scales[index] * functional.relu(layer(x))
        return self.head(x)


class ResidualMLP(nn.Module):
    """Pre-norm residual layers."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.first = nn.Linear(32, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(WIDTH, 2 * WIDTH) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = x + down(functional.gelu(up(norm(x))))
        return self.head(x)


class DenselyConnected(nn.Module):
    """Each layer sees all before it."""

    def __init__(self, depth: int = 6, growth: int = 16) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32 + i * growth, growth) for i in range(depth))
        self.head = nn.Linear(32 + depth * growth, data.CLASSES)
        self.apply(he)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, functional.relu(layer(x))], dim=1)
        return self.head(x)


class Autoencoder(nn.Module):
    """Down to four numbers and back."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (32, 64, 16, 4, 16, 64, 32)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.apply(glorot)

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index not in (2, len(self.layers) - 1):
                x = torch.tanh(x)
        return x


class VAE(nn.Module):
    """A variational autoencoder; its loss is reconstruction plus KL."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(32, WIDTH)
        self.mean, self.log_variance = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8)
        self.decode1, self.decode2 = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 32)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = functional.relu(self.encode(x))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decode2(functional.relu(self.decode1(z))), mean, log_variance


def elbo(model: nn.Module, x: Tensor) -> Tensor:
    """Minus the evidence lower bound, per sample."""
    out, mean, log_variance = model(x)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
    return functional.mse_loss(out, x, reduction="sum") / len(x) + kl


class Siren(nn.Module):
    """sin(30 · Wx): the weights are divided by the frequency, as Sitzmann et al. start it."""

    def __init__(self, depth: int = 4, frequency: float = 30.0) -> None:
        super().__init__()
        self.frequency = frequency
        self.layers = nn.ModuleList(nn.Linear(2 if i == 0 else WIDTH, WIDTH) for i in range(depth))
        self.head = nn.Linear(WIDTH, 1)
        bound = math.sqrt(6 / WIDTH) / frequency
        for index, layer in enumerate((*self.layers, self.head)):
            nn.init.uniform_(layer.weight, *((-0.5, 0.5) if index == 0 else (-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(self.frequency * layer(x))
        return self.head(x)


def coordinates(seed: int) -> Tensor:
    """Places in the unit square, a finer grid than the number of samples elsewhere."""
    return 2 * torch.rand(256, 2, generator=torch.Generator().manual_seed(seed)) - 1


def picture(x: Tensor) -> Tensor:
    """The picture that `Siren` learns."""
    return torch.sin(6 * x[:, :1]) * torch.cos(4 * x[:, 1:])


class LoRA(nn.Module):
    """A frozen linear layer with a trainable low-rank addition: W x + B A x, B = 0 at the start."""

    def __init__(self, inputs: int, outputs: int, rank: int = 4) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        he(self.base)
        self.base.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.empty(rank, inputs))
        self.lora_b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.lora_a.T @ self.lora_b.T


def lora() -> nn.Module:
    """Three adapted layers."""
    return nn.Sequential(
        LoRA(32, WIDTH), nn.ReLU(), LoRA(WIDTH, WIDTH), nn.ReLU(), LoRA(WIDTH, data.CLASSES)
    )


class Gaussian(nn.Module):
    """Mean and log variance of a regression."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU()
        )
        self.mean, self.log_variance = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        return self.mean(hidden), self.log_variance(hidden).exp()


def gaussian_loss(model: nn.Module, x: Tensor) -> Tensor:
    """Negative log likelihood of the first two features' product."""
    mean, variance = model(x)
    return functional.gaussian_nll_loss(mean, x[:, :1] * x[:, 1:2], variance)


def siamese(model: nn.Module, x: Tensor) -> Tensor:
    """A contrastive loss: two noisy views of a sample must find each other."""
    views = torch.stack([x + 0.1 * torch.randn_like(x) for _ in range(2)])
    a, b = functional.normalize(model(views), dim=-1)
    return functional.cross_entropy(a @ b.T / 0.1, torch.arange(len(x)))


_DEEP = "He's law, because torch's default fades in such a depth"

SPECIMENS: tuple[Specimen, ...] = (
    plain("mlp-relu-2-torch", "calibrate", lambda: mlp(2, nn.ReLU, None)),
    plain("mlp-relu-3-he", "calibrate", lambda: mlp(3, nn.ReLU, he)),
    plain("mlp-relu-20-he", "calibrate", lambda: mlp(20, nn.ReLU, he, 128), remark=_DEEP),
    plain("mlp-relu-30-he", "score", lambda: mlp(30, nn.ReLU, he, 96), remark=_DEEP),
    plain("mlp-leaky-relu-12", "score", lambda: mlp(12, nn.LeakyReLU, he)),
    plain("mlp-tanh-6-glorot", "calibrate", lambda: mlp(6, nn.Tanh, glorot)),
    plain("mlp-tanh-30-orthogonal", "score", lambda: mlp(30, nn.Tanh, orthogonal(1.05))),
    plain("mlp-sigmoid-2", "score", lambda: mlp(2, nn.Sigmoid, glorot), remark="Glorot's law"),
    plain("mlp-gelu-10", "score", lambda: mlp(10, nn.GELU, he)),
    plain("mlp-silu-4", "score", lambda: mlp(4, nn.SiLU, he)),
    plain("mlp-elu-5", "calibrate", lambda: mlp(5, nn.ELU, he)),
    plain("mlp-selu-16-lecun", "score", lambda: mlp(16, nn.SELU, lecun)),
    plain("mlp-softplus-3", "calibrate", lambda: mlp(3, nn.Softplus, glorot)),
    plain("mlp-mish-10", "calibrate", lambda: mlp(10, nn.Mish, he)),
    plain("mlp-batchnorm-10", "calibrate", lambda: mlp(10, nn.ReLU, None, norm=nn.BatchNorm1d)),
    plain("mlp-layernorm-10", "score", lambda: mlp(10, nn.ReLU, None, norm=nn.LayerNorm)),
    plain("mlp-dropout", "calibrate", lambda: mlp(3, nn.ReLU, None, dropout=0.5)),
    plain("mlp-residual-prenorm", "score", ResidualMLP),
    plain("highway", "score", Highway, remark="gates' biases −2, as its authors start it"),
    plain("rezero", "calibrate", ReZero),
    plain("densely-connected", "calibrate", DenselyConnected),
    plain("lora", "score", lora),
    plain("autoencoder", "score", Autoencoder, check=lambda s: {"target": data.vectors(s)}),
    plain("vae", "calibrate", VAE, check=lambda _: {"step": elbo}),
    plain("siren", "score", Siren, coordinates, lambda s: {"target": picture(coordinates(s))}),
    plain("gaussian-regression", "score", Gaussian, check=lambda _: {"step": gaussian_loss}),
    plain(
        "contrastive", "calibrate", lambda: mlp(3, nn.ReLU, he), check=lambda _: {"step": siamese}
    ),
)
