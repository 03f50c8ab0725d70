"""Families with the scale taken from the numbers, for laws that no technique names."""

from __future__ import annotations

import math
from collections.abc import Iterator

from firstlight.laws.elementwise import parent_of
from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform
from firstlight.verdicts.audit_numbers import Numbers

Candidate = tuple[str | None, str, Law]
"""Technique, words, law."""

_FEWEST_ESTIMATED = 20
"""Values from which a scale is estimated; fewer fit everything."""

_FEWEST_AT_BOUND = 5
"""Values expected within one σ of a cut from which its place is estimated."""


def estimated_laws(numbers: Numbers, fan_in: float | None) -> Iterator[Candidate]:
    """Normal, uniform and cut normal laws of the tensor's own scale.

    Args:
        numbers: of the tensor.
        fan_in: to put the variance in its words; None for tensors without.
    """
    n, mean, std = numbers.size, numbers.mean, numbers.std
    if n < _FEWEST_ESTIMATED or std == 0:
        return
    if abs(mean) < 3 * std / math.sqrt(n):
        mean = 0.0

    fans = "" if fan_in is None or mean else f", variance {std**2 * fan_in:.3g}/fan_in"
    yield None, f"N({mean:.3g}, {std:.3g}²){fans}", Normal(mean=mean, std=std)
    low, high = numbers.low, numbers.high
    # The range of n uniform numbers falls short of the law's by 2/(n + 1) of it.
    widened = (high - low) * (n + 1) / max(1, n - 1)
    middle = 0.0 if abs(high + low) < 0.05 * (high - low) else (high + low) / 2
    uniform = Uniform(low=middle - widened / 2, high=middle + widened / 2)
    span = f"U(±{widened / 2:.3g})" if middle == 0 else f"U({uniform.low:.3g}, {uniform.high:.3g})"
    yield None, span + fans, uniform
    for cut in (2.0, 3.0):
        standard = TruncatedNormal(std=1.0, low_sigma=-cut, high_sigma=cut)
        _, parent = parent_of(standard)
        # The largest of n falls short of the bound by 1/(n · density at both ends).
        tail = 2 * math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
        density = tail / math.erf(cut / math.sqrt(2))
        if n * density < _FEWEST_AT_BOUND:
            continue
        sigma = max(high - mean, mean - low) / (cut - 1 / (n * density))
        law = TruncatedNormal(mean=mean, std=sigma / parent, low_sigma=-cut, high_sigma=cut)
        yield None, f"N({mean:.3g}, {sigma:.3g}²) cut at ±{cut:g}σ{fans}", law
