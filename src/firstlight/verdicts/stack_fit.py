"""Laws of given numbers, and of one law for each stacked matrix, against a tensor."""

from __future__ import annotations

from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from firstlight.records.law import Constant, Law, Listed, Stacked
from firstlight.records.network import Layout, plain_layout
from firstlight.verdicts.audit_numbers import Numbers, numbers_of

_NEAR = 1e-6
"""Relative difference that float32 may leave of nine digits."""


class Fit(Protocol):
    """The test of one law on one matrix."""

    def __call__(
        self,
        numbers: Numbers,
        law: Law,
        layout: Layout,
        *,
        values: NDArray[np.floating] | None = None,
        resolution: float = 0.0,
        level: float,
    ) -> float:
        """The p-value: `law_fit.fit_p`."""


def _parts(values: NDArray[np.floating], layout: Layout) -> NDArray[np.floating]:
    """The stacked matrices, each in logical order: the first axis counts them."""
    stacked = prod(n for _, n in layout.stacks)
    logical = values.reshape(layout.view).transpose(layout.order)
    return logical.reshape(stacked, *layout.logical[len(layout.stacks) :])


def listed_p(values: NDArray[np.floating], law: Listed, layout: Layout, resolution: float) -> float:
    """1 if the tensor holds the numbers of the law, to the resolution of its type."""
    if values.size != len(law.values):
        return 0.0
    near = max(_NEAR, resolution)
    return float(np.allclose(_parts(values, layout).ravel(), law.values, rtol=near, atol=1e-30))


def stacked_p(
    values: NDArray[np.floating],
    law: Stacked,
    layout: Layout,
    fit: Fit,
    *,
    resolution: float,
    level: float,
) -> float:
    """The smallest p-value of the stacked matrices, corrected for their number."""
    parts = _parts(values, layout)
    if len(parts) != len(law.laws):
        return 0.0
    plain = plain_layout(parts.shape[1:])
    found = (
        fit(numbers_of(part), one, plain, values=part, resolution=resolution, level=level)
        for part, one in zip(parts, law.laws, strict=True)
    )
    return min(1.0, len(parts) * min(found))


def stacked_constants(values: NDArray[np.floating], layout: Layout) -> Stacked | None:
    """One constant for each stacked matrix, not all equal: an LSTM's forget bias of 1, say."""
    if not layout.stacks or not values.size:
        return None
    parts = _parts(values, layout)
    flat = parts.reshape(len(parts), -1)
    if flat.shape[1] < 2 or not (flat == flat[:, :1]).all():
        return None
    return Stacked(laws=tuple(Constant(value=float(row[0])) for row in flat))
