"""What the elements of a draw must have on average: mean, std, bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from math import prod

from firstlight.laws.elementwise import parent_of
from firstlight.laws.mimetic import mimetic_mean_square
from firstlight.laws.patterns import hadamard_order, hadamard_sum
from firstlight.records.law import (
    Constant,
    DeltaOrthogonal,
    Identity,
    Law,
    Linked,
    Listed,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout
from firstlight.records.patterned import Hadamard, Mimetic, PaddedIdentity, Sinusoidal


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
        case Linked(gain=gain):
            units = in_ // law.positions
            pairs = out // 2 if law.outputs else out
            width = (units // 2 if law.inputs else units) * law.positions
            copies = (2 if law.inputs else 1) * (out / pairs)
            square = gain**2 * min(pairs, width) * copies / (out * in_ * kernel)
            return LawMoments(mean=0.0, std=math.sqrt(square))
        case Identity(gain=gain):
            share = min(out, in_) / (out * in_ * kernel)
            mean = gain * share
            std = math.sqrt(gain**2 * share - mean**2)
            return LawMoments(mean=mean, std=std, low=min(0.0, gain), high=max(0.0, gain))
        case Sparse(std=std, zero_fraction=zero_fraction):
            columns = in_ * kernel
            kept = round((1 - zero_fraction) * columns) / columns
            return LawMoments(mean=0.0, std=std * math.sqrt(kept))
        case Hadamard(gain=gain):
            each = gain / math.sqrt(hadamard_order(out, in_))
            mean = each * hadamard_sum(out, in_) / (out * in_ * kernel)
            std = math.sqrt(max(0.0, each**2 / kernel - mean**2))
            return LawMoments(mean=mean, std=std, low=-abs(each), high=abs(each))
        case PaddedIdentity(gain=gain, noise=noise):
            share = 1 / min(out, in_ * kernel)
            std = math.sqrt(gain**2 * share * (1 - share) + noise**2)
            bounds = (None, None) if noise else (min(0.0, gain), max(0.0, gain))
            return LawMoments(mean=gain * share, std=std, low=bounds[0], high=bounds[1])
        case Sinusoidal(std=std):
            return LawMoments(mean=0.0, std=std, low=-math.sqrt(2) * std, high=math.sqrt(2) * std)
        case Mimetic():
            return LawMoments(mean=0.0, std=math.sqrt(mimetic_mean_square(law, out, in_)))
        case Listed(values=values):
            return _listed(values)
        case Stacked(laws=laws):
            return _mixed([moments(one, layout) for one in laws])


def _listed(values: tuple[float, ...]) -> LawMoments:
    if not values:
        return LawMoments(mean=0.0, std=0.0)
    mean = math.fsum(values) / len(values)
    square = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return LawMoments(mean=mean, std=math.sqrt(square), low=min(values), high=max(values))


def _mixed(parts: list[LawMoments]) -> LawMoments:
    """Equal shares of each part."""
    mean = math.fsum(part.mean for part in parts) / len(parts)
    square = math.fsum(part.std**2 + (part.mean - mean) ** 2 for part in parts) / len(parts)
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    return LawMoments(
        mean=mean,
        std=math.sqrt(square),
        low=min(lows) if len(lows) == len(parts) else None,
        high=max(highs) if len(highs) == len(parts) else None,
    )


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
        case Sparse(std=std) | Sinusoidal(std=std):
            return replace(law, std=factor * std)
        case Orthogonal(gain=gain) | DeltaOrthogonal(gain=gain):
            return replace(law, gain=factor * gain)
        case Mirrored(gain=gain) | Linked(gain=gain) | Identity(gain=gain):
            return replace(law, gain=factor * gain)
        case Hadamard(gain=gain) | Mimetic(gain=gain):
            return replace(law, gain=factor * gain)
        case PaddedIdentity(gain=gain, noise=noise):
            return replace(law, gain=factor * gain, noise=abs(factor) * noise)
        case Listed(values=values):
            return Listed(values=tuple(factor * value for value in values))
        case Stacked(laws=laws):
            return Stacked(laws=tuple(scaled(one, factor) for one in laws))
