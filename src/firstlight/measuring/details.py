"""A close look at a few results: distribution, units, cosines, singular values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.records.detail import BINS, COSINE_BINS, Detail

MOST_ROWS, MOST_UNITS, MOST_POSITIONS = 32, 32, 4
"""What is looked at of one result: 4096 numbers at most."""

MOST_DETAILS = 256
"""Operations that are looked at; of deeper networks every second, fourth … one."""

_SINGULAR_VALUES = 16
_DIGITS = 5
_TINY = 1e-15


def every(count: int) -> int:
    """Of so many operations every how-many-th is looked at: a power of two.

    >>> every(200), every(257), every(1000)
    (1, 2, 4)
    """
    step = 1
    while math.ceil(count / step) > MOST_DETAILS:
        step *= 2
    return step


def thinning(shape: Sequence[int], unit_axis: int) -> tuple[slice, ...]:
    """Even steps along each axis that leave at most 32 rows, 32 units and 4 positions.

    >>> thinning((128, 64, 10, 10), 1)
    (slice(None, None, 4), slice(None, None, 2), slice(None, None, 5), slice(None, None, 5))
    """
    places = max(1, len(shape) - 2)
    each = max(1, int(MOST_POSITIONS ** (1 / places) + 1e-9))
    most = [each] * len(shape)
    most[0] = MOST_ROWS
    if unit_axis:
        most[unit_axis] = MOST_UNITS
    return tuple(
        slice(None, None, max(1, math.ceil(n / top))) for n, top in zip(shape, most, strict=True)
    )


def detail(sample: NDArray[np.float64], *, per_sample: bool, of_units: int) -> Detail:
    """The summaries of what was thinned.

    Args:
        sample: (rows, units, positions).
        per_sample: whether the rows are samples.
        of_units: units of the whole result.
    """
    rows, units = sample.shape[:2]
    seen: dict[str, Any] = {
        "rows": rows,
        "per_sample": per_sample,
        "units": units,
        "of_units": of_units,
    }
    largest = float(np.abs(sample).max()) if sample.size else 0.0
    if not math.isfinite(largest):
        return Detail(**seen)
    # Scaled by the largest first: squares of small and of large values leave the range.
    scaled = sample / (largest or 1.0)
    size = float(np.sqrt(np.mean(scaled**2))) if sample.size else 0.0
    scaled = scaled / (size or 1.0)
    bins = np.clip(np.floor(scaled * (BINS / 8)) + BINS // 2, 0, BINS - 1).astype(np.intp)
    flat = scaled.reshape(rows, -1)
    gram = flat @ flat.T
    cosines, mean_cosine = _cosines(gram)
    return Detail(
        **seen,
        rms=size * largest,
        histogram=_shares(np.bincount(bins.reshape(-1), minlength=BINS)),
        unit_means=_rounded(scaled.mean(axis=(0, 2))),
        unit_stds=_rounded(scaled.std(axis=(0, 2))),
        cosines=cosines,
        mean_cosine=mean_cosine,
        singular_values=_singular(gram),
    )


def _cosines(gram: NDArray[np.float64]) -> tuple[tuple[float, ...], float | None]:
    alive = np.flatnonzero(np.diagonal(gram) > 0)
    if len(alive) < 2:
        return (), None
    norms = np.sqrt(np.diagonal(gram)[alive])
    first, second = np.triu_indices(len(alive), 1)
    pairs = gram[np.ix_(alive, alive)][first, second] / (norms[first] * norms[second])
    at = np.clip(((pairs + 1) * (COSINE_BINS / 2)).astype(np.intp), 0, COSINE_BINS - 1)
    mean = round(float(np.clip(pairs.mean(), -1, 1)), _DIGITS)
    return _shares(np.bincount(at, minlength=COSINE_BINS)), mean


def _singular(gram: NDArray[np.float64]) -> tuple[float, ...]:
    total = float(np.trace(gram))
    if not total > 0:
        return ()
    squares = np.linalg.eigvalsh(gram)[::-1] / total
    # What an eigenvalue of float64 cannot resolve is zero.
    return _rounded(np.sqrt(np.where(squares > _TINY, squares, 0.0))[:_SINGULAR_VALUES])


def _shares(counts: NDArray[np.intp]) -> tuple[float, ...]:
    return _rounded(counts / max(1, int(counts.sum())))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Five digits: more would only make files larger."""
    return tuple(np.round(values, _DIGITS).tolist())
