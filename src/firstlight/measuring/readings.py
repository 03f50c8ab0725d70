"""From sums that were taken at one operation to its reading; frameworks only take the sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.measuring.estimates import mean_over_samples
from firstlight.measuring.twins import Twins, find_twins
from firstlight.records.checkup import Reading
from firstlight.records.network import Operation

Reals = NDArray[np.float64]

PROJECTIONS = 3
"""Random directions on which each unit is projected, to find equal ones."""

MEASURED = frozenset({"weighted", "activation", "add", "embedding", "composite"})
"""Kinds of operation that are measured."""

PROJECTED = frozenset({"weighted", "activation"})
"""Kinds whose units are compared with each other."""

_RESOLUTION = 1e-6
"""Relative error of a difference of two float32 sums of squares."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What was taken of one result, or of its gradient.

    Args:
        norms: Euclidean norm of each sample; one for all where the first axis is not the batch.
        elements: numbers in one sample.
        mean: of all; None of a gradient.
        centre: norm of the mean over samples; None of a gradient.
        projections: (units, p) of each unit's values; None where units are not compared.
        saturated: share of values on the flat ends of an activation; None where it has none.
        non_finite: how many are NaN or infinite.
    """

    norms: Reals
    elements: int
    mean: float | None = None
    centre: float | None = None
    projections: Reals | None = None
    saturated: float | None = None
    non_finite: int = 0


def _twins(operation: Operation, values: Reals, gradients: Reals) -> Twins:
    if operation.kind != "activation":
        return find_twins(values, gradients, up_to_sign=False)
    # Dead units give equal zeros, however different their weights are: they do not count here.
    alive = np.flatnonzero(values.any(axis=1))
    if len(alive) < 2:
        return Twins(units=0, example=None)
    twins = find_twins(values[alive], gradients[alive], up_to_sign=True)
    if twins.example is None:
        return twins
    first, second = (int(alive[i]) for i in twins.example)
    return Twins(units=twins.units, example=(first, second))


def _spread(value: Sums, squares: Reals) -> float:
    """Mean squared deviation from the batch mean; 0 below the resolution of float32 sums."""
    mean_square = float(squares.mean())
    spread = mean_square - (value.centre or 0.0) ** 2
    resolved = spread > _RESOLUTION * mean_square
    return spread / value.elements if resolved else 0.0


def reading(operation: Operation, samples: int, value: Sums, delta: Sums | None) -> Reading:
    """The measurements as a record; squares in float64, where small norms do not underflow.

    Args:
        operation: what was measured.
        samples: the batch size.
        value: of its result.
        delta: of the gradient with respect to it; None if none came back.
    """
    more: dict[str, Any] = {}
    with np.errstate(all="ignore"):
        if delta is not None:
            deltas = delta.norms**2
            in_a_row = samples // len(deltas)
            more["delta_square_per_sample"] = mean_over_samples(deltas / max(1, in_a_row))
            more["delta_mean_square"] = mean_over_samples(deltas / delta.elements)
            more["non_finite_delta"] = delta.non_finite
            if value.projections is not None and delta.projections is not None:
                twins = _twins(operation, value.projections, delta.projections)
                more["twin_units"], more["twin_example"] = twins.units, twins.example
        squares = value.norms**2
        if len(squares) > 1:
            more["sample_spread"] = _spread(value, squares)
    if operation.kind == "activation" and value.projections is not None:
        # A unit that is zero on every sample has exactly zero projections; no other has.
        more["dead_fraction"] = float((value.projections == 0).all(axis=1).mean())
    return Reading(
        operation=operation.index,
        name=operation.name,
        mean=value.mean,
        second_moment=mean_over_samples(squares / value.elements),
        saturated_fraction=value.saturated,
        non_finite=value.non_finite,
        **more,
    )
