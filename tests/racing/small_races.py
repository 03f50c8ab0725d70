"""A race small enough to be run many times, and whole functions that other processes can import."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.records.race import Race

FEATURES = 8


def data(samples: int = 128) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two classes, told apart by the sign of a sum."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * samples, FEATURES, generator=generator)
    y = (x.sum(dim=1) > 0).long()
    return x[:samples], y[:samples], x[samples:], y[samples:]


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, 2))


def short(factory: Any = build, **options: Any) -> Race:
    settings: dict[str, Any] = {
        "techniques": ("default", "he_normal"),
        "learning_rates": (0.03, 0.1),
        "seeds": 3,
        "steps": 10,
        "search_seeds": 1,
        **options,
    }
    return fl.race(factory, settings.pop("data", data()), **settings)
