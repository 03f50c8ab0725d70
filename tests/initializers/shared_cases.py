"""Real torch layers with their fans counted by hand, and the check of a draw against a law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import nn

from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import Technique
from firstlight.laws.draw import draw
from firstlight.records.network import Parameter

SIGMAS = 5.0
"""A mean or std is refused beyond five standard errors: 6e-7 per test, 2e-4 over 300 tests."""

TESTS = 300
P_LIMIT = 0.01 / TESTS
"""Kolmogorov–Smirnov limit, one false alarm in a hundred whole runs (seeds are fixed besides)."""

TRUNCATED = 0.87962566103423978  # std of N(0, 1) cut at ±2, independent of the package


@dataclass(frozen=True)
class Case:
    """A layer, and what its fans are by counting, not by any function of the package."""

    layer: nn.Module
    fan_in: float
    fan_out: float
    torch_in: float
    torch_out: float
    keras_in: float
    keras_out: float

    @property
    def weight(self) -> Parameter:
        return next(p for p in describe_parameters(self.layer) if p.name == "weight")


def _cases() -> dict[str, Case]:
    torch.manual_seed(0)
    return {
        "expanding": Case(nn.Linear(150, 400, bias=False), *(150, 400) * 3),
        "contracting": Case(nn.Linear(400, 150, bias=False), *(400, 150) * 3),
        # 128/4 channels × 3×3 taps reach one output, 256/4 × 9 one input.
        "grouped": Case(
            nn.Conv2d(128, 256, 3, groups=4, bias=False), 288, 576, 288, 2304, 288, 2304
        ),
        # Of 4×4 taps at stride 2, 2×2 reach one output; all 16 leave one input.
        "transposed": Case(
            nn.ConvTranspose2d(96, 32, 4, stride=2, bias=False), 384, 512, 512, 1536, 1536, 512
        ),
    }


CASES = _cases()


def draw_into(technique: Technique, layer: nn.Module, seed: int = 0, **options: Any) -> np.ndarray:
    """Draw the layer's weight by its own layout, write it, and give back what torch now holds."""
    parameter = next(p for p in describe_parameters(layer) if p.name == "weight")
    law = technique.law_for(parameter.layout, parameter.fans, **options)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(draw(law, parameter.layout, name="w", seed=seed)))
    return layer.weight.detach().numpy().copy()


def disagreements(values: np.ndarray, law: Any) -> list[str]:
    """In what a sample differs from a frozen scipy distribution; empty if in nothing."""
    x = np.asarray(values, dtype=np.float64).ravel()
    mean, variance, _, excess = (float(m) for m in law.stats(moments="mvsk"))
    std, n = variance**0.5, x.size
    low, high = law.support()
    slack = 1e-6 * max(abs(mean), std)  # float32
    found = []
    if abs(x.mean() - mean) > SIGMAS * std / n**0.5 + slack:
        found.append(f"mean {x.mean():.4g}, not {mean:.4g}")
    # s.e.(s)/σ = √((κ − 1)/(4n))
    if abs(x.std() / std - 1) > SIGMAS * ((excess + 2) / (4 * n)) ** 0.5:
        found.append(f"std {x.std():.4g}, not {std:.4g}")
    if x.min() < low - slack or x.max() > high + slack:
        found.append(f"range {x.min():.4g} … {x.max():.4g} leaves {low:.4g} … {high:.4g}")
    # The largest of n stays below this quantile once in e²⁰ samples.
    if x.max() < law.ppf(1 - 20 / n) or x.min() > law.ppf(20 / n):
        found.append(f"range {x.min():.4g} … {x.max():.4g} does not fill {low:.4g} … {high:.4g}")
    p = stats.kstest(x, law.cdf).pvalue
    if p < P_LIMIT:
        found.append(f"shape (Kolmogorov–Smirnov p = {p:.2g})")
    return found


def normal(variance: float) -> Any:
    return stats.norm(0, variance**0.5)


def uniform(variance: float) -> Any:
    bound = (3 * variance) ** 0.5
    return stats.uniform(-bound, 2 * bound)


def truncated(variance: float) -> Any:
    return stats.truncnorm(-2, 2, scale=variance**0.5 / TRUNCATED)
