"""Laws whose elements are drawn one by one, at any coordinates, in blocks that fit the cache.

The canonical value of an element is fl32(fl32(std)·z + fl32(mean)), computed in float64 and rounded
once. Types of 16 bits round that value once more; float64 copies it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.laws import compiled, quick
from firstlight.laws.cut import cut_moments
from firstlight.laws.kernels import NUMBERS, Kind
from firstlight.laws.philox import Words, words, words_of_several
from firstlight.laws.quantile import Reals, normal_quantile, signed_fraction
from firstlight.records.exact import nine_digits
from firstlight.records.law import Constant, Normal, TruncatedNormal, Uniform

Values = NDArray[np.float32]
_BLOCK_ELEMENTS = 1 << 15


def _single(value: float) -> float:
    # Equal numbers are one number to a cache: a location of −0 is taken as 0.
    return float(np.float32(value)) + 0.0


def parent_of(law: TruncatedNormal) -> tuple[float, float]:
    """Mean and std of the normal that, cut at the law's bounds, has the law's mean and std."""
    shift, variance = cut_moments(law.low_sigma, law.high_sigma)
    sigma = law.std / math.sqrt(variance)
    return nine_digits(law.mean - sigma * shift), nine_digits(sigma)


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """A law as the numbers that both paths compute with."""

    kind: Kind
    scale: float
    location: float
    middle: float = 0.0
    half: float = 1.0
    low: float = 0.0
    high: float = 0.0

    def quantiles(self, fraction: Reals) -> Reals:
        """The law's z of signed fractions, which may be overwritten."""
        if self.kind == "uniform":
            return fraction
        if self.kind == "normal":
            return normal_quantile(fraction)
        z = normal_quantile(self.middle + self.half * fraction)
        return np.clip(z, self.low, self.high, out=z)

    def values(self, drawn: Words) -> Reals:
        """The law's values at words of a stream, not rounded yet."""
        if self.quickly:
            return self._quick_values(drawn)
        values = self.quantiles(signed_fraction(drawn))
        values *= self.scale
        values += self.location
        return values

    def _quick_values(self, drawn: Words) -> Reals:
        """Values that round to the same numbers, in half the time."""
        fraction = signed_fraction(drawn)
        if self.kind == "truncated":
            fraction *= self.half
        values = quick.quantile(fraction)
        if self.kind == "truncated":
            np.clip(values, self.low, self.high, out=values)
        values *= self.scale
        near = quick.near_half_way(values)
        if near.any():
            values[near] = self.quantiles(signed_fraction(drawn[near])) * self.scale
        return values

    @cached_property
    def quickly(self) -> bool:
        """Whether `quick` finds the same numbers."""
        return quick.usable(self.kind, self.numbers)

    @cached_property
    def numbers(self) -> tuple[float, ...]:
        """In the order of the compiled kernels."""
        return tuple(getattr(self, name) for name in NUMBERS)


_STANDARD = _Shape(kind="normal", scale=1.0, location=0.0)


@lru_cache(maxsize=1 << 12)
def _shape(law: Normal | Uniform | TruncatedNormal) -> _Shape:
    match law:
        case Normal(mean=mean, std=std):
            return _Shape(kind="normal", scale=_single(std), location=_single(mean))
        case Uniform(low=low, high=high):
            half, middle = nine_digits((high - low) / 2), nine_digits((high + low) / 2)
            return _Shape(kind="uniform", scale=_single(half), location=_single(middle))
        case TruncatedNormal():
            mean, std = parent_of(law)
            below, above = (math.erf(x / math.sqrt(2)) for x in (law.low_sigma, law.high_sigma))
            return _Shape(
                kind="truncated",
                scale=_single(std),
                location=_single(mean),
                middle=nine_digits((above + below) / 2),
                half=nine_digits((above - below) / 2),
                low=law.low_sigma,
                high=law.high_sigma,
            )


def rounded_into(out: NDArray[Any], values: Values | Reals) -> None:
    """Write values of a law of binary32 into memory of its own type, rounded to nearest even.

    Args:
        out: float32, float64, float16 or, for bfloat16, uint16 with its bits.
        values: of a shape that broadcasts to it.
    """
    if out.dtype == np.float32:
        out[...] = values
        return
    single = values.astype(np.float32)
    if out.dtype == np.uint16:
        bits = single.view(np.uint32)
        out[...] = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> 16
    else:
        with np.errstate(over="ignore", under="ignore"):
            out[...] = single


def _fill_in_numpy(
    shape: _Shape, key: tuple[int, int], rows: range, columns: range, out: NDArray[Any]
) -> None:
    """The reference: blocks of whole rows, or parts of rows where columns are one axis."""
    wide = min(len(columns), _BLOCK_ELEMENTS) if out.ndim == 2 else len(columns)
    high = max(1, _BLOCK_ELEMENTS // wide)
    for row in range(0, len(rows), high):
        for column in range(0, len(columns), wide):
            block = (rows[row : row + high], columns[column : column + wide])
            drawn = shape.values(words(key, *block))
            part = out[row : row + high]
            part = part[:, column : column + wide] if out.ndim == 2 else part
            rounded_into(part, drawn.reshape(part.shape))


def fill(
    law: Constant | Normal | Uniform | TruncatedNormal,
    key: tuple[int, int],
    rows: range,
    columns: range,
    out: NDArray[Any],
) -> None:
    """Write the elements of one matrix at ``rows`` × ``columns`` into memory.

    Args:
        law: an elementwise law.
        key: the key of the matrix's stream.
        rows: consecutive rows.
        columns: consecutive columns.
        out: float32, float64, float16 or, for bfloat16, uint16 with its bits; of shape
            (len(rows), axes of the columns …), in any order in memory.
    """
    if isinstance(law, Constant):
        rounded_into(out, np.full((1,) * out.ndim, law.value, np.float32))
    elif out.size:
        shape = _shape(law)
        region = compiled.Region(
            kind=shape.kind, numbers=shape.numbers, key=key, rows=rows, columns=columns, out=out
        )
        if not compiled.fill(region):
            _fill_in_numpy(shape, key, rows, columns, out)


def fill_several(
    law: Normal | Uniform | TruncatedNormal,
    keys: Sequence[tuple[int, int]],
    outs: Sequence[NDArray[Any]],
) -> None:
    """Write whole small matrices of one law, at once: most of their time is the calls of NumPy.

    Args:
        law: an elementwise law that is random.
        keys: of each matrix's stream.
        outs: as `fill`'s, each of at least one element.
    """
    shapes = [(len(out), out.size // len(out)) for out in outs]
    values = _shape(law).values(words_of_several(keys, shapes))
    first = 0
    for (high, wide), out in zip(shapes, outs, strict=True):
        last = first + high * -(-wide // 4)
        rounded_into(out, values[first:last].reshape(high, -1)[:, :wide].reshape(out.shape))
        first = last


def standard_normals(key: tuple[int, int], rows: range, columns: range) -> Reals:
    """The standard normal quantiles of a stream, not rounded: what structured laws compute with.

    Args:
        key: of the stream.
        rows: consecutive rows.
        columns: consecutive columns.

    Returns:
        float64 of shape (len(rows), len(columns)).
    """
    values = np.empty((len(rows), len(columns)))
    region = compiled.Region(
        kind="normal",
        numbers=_STANDARD.numbers,
        key=key,
        rows=rows,
        columns=columns,
        out=values,
        exact=True,
    )
    if values.size and not compiled.fill(region):
        step = max(1, _BLOCK_ELEMENTS // len(columns))
        for row in range(0, len(rows), step):
            drawn = words(key, rows[row : row + step], columns)
            values[row : row + step] = normal_quantile(signed_fraction(drawn))
    return values


def stream_words(key: tuple[int, int], rows: range, columns: range) -> Words:
    """`philox.words` of a large region, by a kernel where one pays.

    Args:
        key: of the stream.
        rows: consecutive rows.
        columns: consecutive columns.

    Returns:
        uint32 of shape (len(rows), len(columns)).
    """
    drawn = np.empty((len(rows), len(columns)), np.uint32)
    region = compiled.Region(
        kind="word", numbers=(), key=key, rows=rows, columns=columns, out=drawn
    )
    if drawn.size and not compiled.fill(region):
        step = max(1, _BLOCK_ELEMENTS // len(columns))
        for row in range(0, len(rows), step):
            drawn[row : row + step] = words(key, rows[row : row + step], columns)
    return drawn


def elements(
    law: Constant | Normal | Uniform | TruncatedNormal,
    key: tuple[int, int],
    rows: range,
    columns: range,
) -> Values:
    """The elements of one matrix at ``rows`` × ``columns``.

    Args:
        law: an elementwise law.
        key: the key of the matrix's stream.
        rows: consecutive rows.
        columns: consecutive columns.

    Returns:
        float32 of shape (len(rows), len(columns)).
    """
    values = np.empty((len(rows), len(columns)), np.float32)
    fill(law, key, rows, columns, values)
    return values
