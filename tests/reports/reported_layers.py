"""Layers and models of users' reports that are not plain stacks."""

from __future__ import annotations

import math

import torch
from reported_networks import CLASSES, FEATURES, he, started
from torch import Tensor, nn
from torch.nn import functional


class LoraLinear(nn.Module):
    """loralib's layer: a frozen weight and B·A, with A random and B zero."""

    def __init__(self, inputs: int, outputs: int, rank: int = 4, both_zero: bool = False) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.base.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.zeros(rank, inputs))
        self.lora_b = nn.Parameter(torch.zeros(outputs, rank))
        if not both_zero:
            nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.lora_a.T @ self.lora_b.T


def adapted(both_zero: bool) -> nn.Sequential:
    """Two adapted layers and a head that is trained."""
    return nn.Sequential(
        LoraLinear(FEATURES, 64, both_zero=both_zero),
        nn.GELU(),
        LoraLinear(64, 64, both_zero=both_zero),
        nn.GELU(),
        nn.Linear(64, CLASSES),
    )


class ControlNet(nn.Module):
    """A locked block and its trained copy, whose output comes back through zero convolutions."""

    def __init__(self, zero_convolutions: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.locked = nn.Conv2d(16, 16, 3, padding=1).requires_grad_(False)
        self.copy = nn.Conv2d(16, 16, 3, padding=1)
        self.zero = nn.Sequential(*(nn.Conv2d(16, 16, 1) for _ in range(zero_convolutions)))
        started(self.zero, nn.init.zeros_)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = functional.relu(self.locked(x) + self.zero(functional.relu(self.copy(x))))
        return self.head(x.mean(dim=(2, 3)))


class FullyConvolutional(nn.Module):
    """FCN-32s in small: features, a scoring convolution, a deconvolution back to the pixels."""

    def __init__(self, classes: int, filled: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        started(self.features, he)
        self.score = nn.Conv2d(32, classes, 1)
        self.upscore = nn.ConvTranspose2d(classes, classes, 8, stride=4, padding=2, bias=False)
        started(self.score, nn.init.zeros_)
        nn.init.zeros_(self.upscore.weight)
        if filled:  # bilinear interpolation, class by class, as the authors' net surgery does it
            ramp = 1 - (torch.arange(8) - 3.5).abs() / 4
            with torch.no_grad():
                for c in range(classes):
                    self.upscore.weight[c, c] = ramp[:, None] * ramp

    def forward(self, x: Tensor) -> Tensor:
        return self.upscore(self.score(self.features(x)))


class CapsuleNetwork(nn.Module):
    """Primary capsules, and two rounds of routing to one capsule per class."""

    def __init__(self, std: float, capsules: int = 72) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 9)
        self.conv2 = nn.Conv2d(32, 16, 9, stride=2)
        started(self, he)
        self.transform = nn.Parameter(std * torch.randn(capsules, CLASSES, 16, 8))

    @staticmethod
    def squash(s: Tensor) -> Tensor:
        square = s.square().sum(dim=-1, keepdim=True)
        return square / (1 + square) * s / (square + 1e-7).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """The length of each class's capsule."""
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        primary = self.squash(x.reshape(len(x), -1, 8))
        votes = torch.einsum("ijdk,bik->bijd", self.transform, primary)
        logits = torch.zeros(votes.shape[:3])
        for _ in range(2):
            weights = logits.softmax(dim=2)[..., None]
            output = self.squash((weights * votes).sum(dim=1))
            logits = logits + (votes * output[:, None]).sum(dim=-1)
        return (output.square().sum(dim=-1) + 1e-7).sqrt()


def margin_loss(lengths: Tensor, target: Tensor) -> Tensor:
    hot = functional.one_hot(target, CLASSES)
    present = hot * functional.relu(0.9 - lengths).square()
    absent = 0.5 * (1 - hot) * functional.relu(lengths - 0.1).square()
    return (present + absent).sum(dim=1).mean()


class ConditionalRandomField(nn.Module):
    """A linear chain over tags; the loss is the negative log-likelihood of the tags."""

    def __init__(self, tags: int = 5, filled: bool = True) -> None:
        super().__init__()
        self.emission = nn.Linear(16, tags)
        self.start = nn.Parameter(torch.empty(tags))
        self.transitions = nn.Parameter(torch.empty(tags, tags))
        if filled:
            nn.init.uniform_(self.start, -0.1, 0.1)
            nn.init.uniform_(self.transitions, -0.1, 0.1)

    def forward(self, x: Tensor, tags: Tensor) -> Tensor:
        emissions = self.emission(x)
        score = self.start[tags[:, 0]] + emissions[:, 0].gather(1, tags[:, :1])[:, 0]
        alpha = self.start + emissions[:, 0]
        for t in range(1, x.shape[1]):
            here = emissions[:, t].gather(1, tags[:, t : t + 1])[:, 0]
            score = score + self.transitions[tags[:, t - 1], tags[:, t]] + here
            alpha = torch.logsumexp(alpha[:, :, None] + self.transitions, dim=1) + emissions[:, t]
        return (torch.logsumexp(alpha, dim=1) - score).mean()


class Decoder(nn.Module):
    """Embedding times √width plus sines, two pre-norm layers with attention, and a head."""

    def __init__(self, std: float, vocabulary: int = 100, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=std)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 128, 0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    @staticmethod
    def positions(length: int, width: int) -> Tensor:
        angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)
        x = x + self.positions(ids.shape[1], self.embedding.embedding_dim)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class RmsNormed(nn.Module):
    """Three pre-norm blocks in the manner of Llama."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Linear(FEATURES, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + functional.gelu(layer(norm(x)))
        return self.head(x)


class ZeroGamma(nn.Module):
    """A residual block whose last norm starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        nn.init.zeros_(self.branch[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.branch(x))


class Attention(nn.Module):
    """TransformerLens' layer: one tensor per role, the output projection W_O last."""

    def __init__(self, filled: bool, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.W_QKV = nn.Parameter(torch.randn(3, heads, width, width // heads) / width**0.5)
        self.W_O = nn.Parameter(torch.empty(heads, width // heads, width))
        self.head = nn.Linear(width, CLASSES)
        if filled:
            nn.init.normal_(self.W_O, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.einsum("btd,nhdk->nbhtk", x, self.W_QKV)
        mixed = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1) @ v
        return self.head((x + torch.einsum("bhtk,hkd->btd", mixed, self.W_O)).mean(dim=1))


class Encoder(nn.Module):
    """`nn.TransformerEncoder`, and a head on the mean over positions."""

    def __init__(self, redrawn: bool, width: int = 64) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)
        for parameter in self.encoder.parameters() if redrawn else ():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(dim=1))
