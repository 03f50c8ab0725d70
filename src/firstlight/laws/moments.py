"""What the elements of a draw must have on average: mean, std, bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from math import prod

from firstlight.laws.elementwise import parent_of
from firstlight.records.law import (
    Constant,
    DeltaOrthogonal,
    Identity,
    Law,
    Listed,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout


@dataclass(frozen=True, kw_only=True)
class LawMoments:
    """Mean and std over all elements of a tensor, zeros around a kernel's centre included.

    ``low`` and ``high`` are hard bounds, None where there are none.
    """

    mean: float
    std: float
    low: float | None = None
    high: float | None = None


def moments(law: Law, layout: Layout) -> LawMoments:
    """The moments that a draw of ``law`` with this layout has on average.

    Args:
        law: any law.
        layout: the tensor's axes.

    Returns:
        Exact values for elementwise laws and the identity; for orthogonal ones the second moment is
        exact in every draw (an isometry's squared norm is its rank) and the mean holds on average.
    """
    out, in_, kernel = layout.out, layout.in_, prod(layout.kernel)
    match law:
        case Constant(value=value):
            return LawMoments(mean=value, std=0.0, low=value, high=value)
        case Normal(mean=mean, std=std):
            return LawMoments(mean=mean, std=std)
        case Uniform(low=low, high=high):
            return LawMoments(
                mean=(low + high) / 2, std=(high - low) / math.sqrt(12), low=low, high=high
            )
        case TruncatedNormal(mean=mean, std=std):
            centre, sigma = parent_of(law)
            return LawMoments(
                mean=mean,
                std=std,
                low=centre + sigma * law.low_sigma,
                high=centre + sigma * law.high_sigma,
            )
        case Orthogonal(gain=gain):
            square = gain**2 / max(out, in_ * kernel)
            return LawMoments(mean=0.0, std=math.sqrt(square), low=-abs(gain), high=abs(gain))
        case DeltaOrthogonal(gain=gain):
            square = gain**2 / max(out, in_) / kernel
            return LawMoments(mean=0.0, std=math.sqrt(square), low=-abs(gain), high=abs(gain))
        case Mirrored(gain=gain):
            half_out = -(-out // 2) if law.outputs else out
            half_in = -(-in_ // 2) if law.inputs else in_
            square = gain**2 / max(half_out, half_in) / kernel
            return LawMoments(mean=0.0, std=math.sqrt(square), low=-abs(gain), high=abs(gain))
        case Identity(gain=gain):
            share = min(out, in_) / (out * in_ * kernel)
            mean = gain * share
            std = math.sqrt(gain**2 * share - mean**2)
            return LawMoments(mean=mean, std=std, low=min(0.0, gain), high=max(0.0, gain))
        case Sparse(std=std, zero_fraction=zero_fraction):
            columns = in_ * kernel
            kept = round((1 - zero_fraction) * columns) / columns
            return LawMoments(mean=0.0, std=std * math.sqrt(kept))
        case Listed(values=values):
            mean = math.fsum(values) / max(1, len(values))
            square = math.fsum((v - mean) ** 2 for v in values) / max(1, len(values))
            low, high = min(values, default=0.0), max(values, default=0.0)
            return LawMoments(mean=mean, std=math.sqrt(square), low=low, high=high)


def scaled(law: Law, factor: float) -> Law:
    """The law of ``factor`` times a draw: the same random numbers at another scale.

    >>> scaled(Normal(std=0.5), 2.0)
    Normal(mean=0.0, std=1.0)
    """
    match law:
        case Constant(value=value):
            return Constant(value=factor * value)
        case Uniform(low=low, high=high):
            ends = sorted((factor * low, factor * high))
            return Uniform(low=ends[0], high=ends[1])
        case Normal(mean=mean, std=std) | TruncatedNormal(mean=mean, std=std):
            return replace(law, mean=factor * mean, std=factor * std)
        case Sparse(std=std):
            return replace(law, std=factor * std)
        case Orthogonal(gain=gain) | DeltaOrthogonal(gain=gain):
            return replace(law, gain=factor * gain)
        case Listed(values=values):
            return Listed(values=tuple(factor * value for value in values))
        case Mirrored(gain=gain) | Identity(gain=gain):
            return replace(law, gain=factor * gain)
