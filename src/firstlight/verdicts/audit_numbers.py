"""What an audit keeps of a tensor: moments and bounds of all values, and a sorted sample.

One pass in blocks, so that nothing larger than the tensor itself is ever held, and the sample is
sorted once for all laws that are tried.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE = 100_000
"""Values of a larger tensor on which distributions are tested; moments and bounds use all."""

_BLOCK = 1 << 18
_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

Reals = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """The values of one tensor, as far as laws are told apart by them.

    Args:
        size: how many there are.
        mean: of all, NaN if some are not finite.
        std: of all (population).
        low: the least.
        high: the largest.
        zeros: how many are exactly zero.
        non_finite: how many are NaN or infinite.
        subnormal: share of the sample that is nonzero and below what float32 normally holds.
        sample: finite values, ascending.
        digest: equal tensors have equal ones.
    """

    size: int
    mean: float
    std: float
    low: float
    high: float
    zeros: int
    non_finite: int
    subnormal: float
    sample: Reals
    digest: str

    @property
    def constant(self) -> bool:
        """Whether all values are one and the same number."""
        return self.size > 0 and self.low == self.high

    @property
    def largest(self) -> float:
        """The largest modulus."""
        return max(abs(self.low), abs(self.high))

    def second_moment(self, centre: float) -> float:
        """The mean of (x − centre)² over all values."""
        return self.std**2 + (self.mean - centre) ** 2


def positions(size: int, most: int) -> NDArray[np.int64]:
    """``most`` different places out of ``size``, all if there are no more.

    Steps of about 0.618 · size, coprime to it: no column of a matrix is favoured, as it would be by
    equal short steps.

    >>> positions(10, 4).tolist()
    [0, 7, 4, 1]
    """
    if size <= most:
        return np.arange(size)
    step = round(size * (math.sqrt(5) - 1) / 2)
    while math.gcd(step, size) != 1:
        step += 1
    return np.arange(most, dtype=np.int64) * step % size


def numbers_of(values: NDArray[np.floating], sample: int = SAMPLE) -> Numbers:
    """Read a tensor once.

    Args:
        values: of any shape and floating type.
        sample: how many values are kept.

    >>> read = numbers_of(np.array([[3.0, 1.0], [0.0, 0.0]]))
    >>> read.size, read.mean, read.low, read.high, read.zeros
    (4, 1.0, 0.0, 3.0, 2)
    """
    flat = values.reshape(-1)
    count, mean, spread = 0, 0.0, 0.0
    low, high, zeros, non_finite = math.inf, -math.inf, 0, 0
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK].astype(np.float64)
            lowest, highest = float(block.min()), float(block.max())
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                non_finite += int((~np.isfinite(block)).sum())
            low, high = min(low, lowest), max(high, highest)
            if lowest <= 0 <= highest:
                zeros += block.size - int(np.count_nonzero(block))
            # Moments of blocks, joined about their common mean (Chan et al. 1983).
            middle = float(block.mean())
            block -= middle
            n, apart = block.size, middle - mean
            spread += float(block @ block) + apart**2 * count * n / (count + n)
            mean += apart * n / (count + n)
            count += n
        chosen = flat[positions(flat.size, sample)].astype(np.float64)
    digest = hashlib.blake2b(chosen.tobytes(), digest_size=16)
    digest.update(np.array([flat.size, mean, spread, low, high]).tobytes())
    digest.update(repr(values.shape).encode())
    finite = np.sort(chosen[np.isfinite(chosen)])
    tiny = (finite != 0) & (np.abs(finite) < _SMALLEST_NORMAL)
    usable = count > 0 and not non_finite
    return Numbers(
        size=count,
        mean=mean if usable else math.nan if count else 0.0,
        std=math.sqrt(spread / count) if usable else math.nan if count else 0.0,
        low=low if count else 0.0,
        high=high if count else 0.0,
        zeros=zeros,
        non_finite=non_finite,
        subnormal=float(tiny.mean()) if finite.size else 0.0,
        sample=finite,
        digest=digest.hexdigest(),
    )


def pooled(draws: Sequence[NDArray[np.floating]]) -> Numbers:
    """Several draws of one small tensor as if they were one large one."""
    return numbers_of(draws[0] if len(draws) == 1 else np.stack(draws))
