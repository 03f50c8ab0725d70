"""Small tasks that can be learned: what the specimens are fed.

Each function draws fresh samples by seed from a task that never changes, so that a training can
take one seed per step. Inputs are standardised: mean 0, variance 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SAMPLES, CLASSES, VOCABULARY = 64, 10, 200
SPECIAL = 3
"""Token ids below this are padding, start and end; data never holds them."""

_TASK = 12345


def _generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """One for what the task is, one for the samples."""
    return torch.Generator().manual_seed(_TASK), torch.Generator().manual_seed(seed)


def labels(seed: int, classes: int = CLASSES, samples: int = SAMPLES) -> Tensor:
    """The class of each sample."""
    return torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(~seed))


def vectors(seed: int, features: int = 32, samples: int = SAMPLES) -> Tensor:
    """(samples, features): a mean per class, and normal noise."""
    task, noise = _generators(seed)
    means = torch.randn(CLASSES, features, generator=task)
    x = torch.randn(samples, features, generator=noise)
    return 0.6 * means[labels(seed, samples=samples)] + 0.8 * x


def images(seed: int, size: int = 32, channels: int = 3, samples: int = SAMPLES) -> Tensor:
    """(samples, channels, size, size): smooth, as photographs are; a prototype per class."""
    task, noise = _generators(seed)

    def smooth(count: int, generator: torch.Generator) -> Tensor:
        coarse = torch.randn(count, channels, 5, 5, generator=generator)
        fine = functional.interpolate(coarse, size, mode="bilinear", align_corners=True)
        return fine / fine.std()

    chosen = smooth(CLASSES, task)[labels(seed, samples=samples)]
    grain = torch.randn(samples, channels, size, size, generator=noise)
    return 0.6 * chosen + 0.7 * smooth(samples, noise) + math.sqrt(1 - 0.85) * grain


def waves(seed: int, length: int = 2000, samples: int = SAMPLES) -> Tensor:
    """(samples, length): a tone whose pitch is the class, an overtone, and noise."""
    _, noise = _generators(seed)
    time = torch.arange(length) / 400.0
    pitch = 10.0 + 4.0 * labels(seed, samples=samples)[:, None]
    phase = 2 * math.pi * torch.rand(samples, 1, generator=noise)
    tone = torch.sin(2 * math.pi * pitch * time + phase)
    overtone = 0.5 * torch.sin(4 * math.pi * pitch * time + 2 * phase)
    x = tone + overtone + 0.3 * torch.randn(samples, length, generator=noise)
    return (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True)


def spectrograms(seed: int, bins: int = 80, frames: int = 32, samples: int = SAMPLES) -> Tensor:
    """(samples, bins, frames): log power of `waves`, standardised."""
    x = waves(seed, 40 * frames, samples).reshape(samples, frames, 40)
    power = torch.fft.rfft(x, n=2 * bins).abs()[..., :bins].square().add(1e-3).log()
    return ((power - power.mean()) / power.std()).transpose(1, 2).contiguous()


def series(seed: int, length: int = 20, features: int = 8, samples: int = SAMPLES) -> Tensor:
    """(samples, length, features): slow waves in `vectors`' class directions."""
    _, noise = _generators(seed)
    direction = vectors(seed, features, samples)[:, None]
    phase = 2 * math.pi * torch.rand(samples, 1, 1, generator=noise)
    wave = math.sqrt(2) * torch.cos(0.5 * torch.arange(length)[:, None] + phase)
    x = direction * wave + 0.3 * torch.randn(samples, length, features, generator=noise)
    return (x - x.mean()) / x.std()


def tokens(
    seed: int, length: int = 16, vocabulary: int = VOCABULARY, samples: int = SAMPLES
) -> Tensor:
    """(samples, length): Zipf's law, and half of the tokens follow from the one before."""
    task, noise = _generators(seed)
    words = vocabulary - SPECIAL
    following = torch.randperm(words, generator=task)
    shares = 1.0 / torch.arange(1, words + 1)
    drawn = torch.multinomial(shares, samples * length, replacement=True, generator=noise)
    ids = drawn.reshape(samples, length)
    follows = torch.rand(samples, length, generator=noise) < 0.5
    for t in range(1, length):
        ids[:, t] = torch.where(follows[:, t], following[ids[:, t - 1]], ids[:, t])
    return ids + SPECIAL


def points(seed: int, count: int = 16, samples: int = SAMPLES) -> Tensor:
    """(samples, count, 3): clouds of points stretched along a direction per class."""
    task, noise = _generators(seed)
    stretch = torch.rand(CLASSES, 3, generator=task) + 0.3
    x = (
        torch.randn(samples, count, 3, generator=noise)
        * stretch[labels(seed, samples=samples)][:, None]
    )
    return x / x.std()


def graphs(
    seed: int, nodes: int = 12, features: int = 8, samples: int = SAMPLES
) -> tuple[Tensor, Tensor]:
    """Node features (samples, nodes, features) and symmetric adjacencies with self-loops."""
    _, noise = _generators(seed)
    centre = vectors(seed, features, samples)[:, None]
    x = 0.6 * centre + 0.8 * torch.randn(samples, nodes, features, generator=noise)
    edges = (torch.rand(samples, nodes, nodes, generator=noise) < 0.25).float()
    return x, ((edges + edges.transpose(1, 2)).clamp(max=1) + torch.eye(nodes)).clamp(max=1)
