"""Units that are the same unit: equal in value on every sample, and equal in gradient.

Each unit's values over the batch are projected on a few random directions, and so are its
gradients. Twins have equal projections, up to one common sign; sorting brings them together, so
that the cost is n log n in the number of units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

# Equal units differ by the rounding of float32 sums only; independent ones differ by about 1.
_RELATIVE_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Twins:
    """How many units have a twin, and one pair."""

    units: int
    example: tuple[int, int] | None


def find_twins(values: Reals, gradients: Reals, *, up_to_sign: bool) -> Twins:
    """Count the units that are equal to another unit.

    Args:
        values: (units, p) random projections of each unit's values, p ≥ 2.
        gradients: (units, p) of its gradients.
        up_to_sign: whether v and −v (with gradients d and −d) count as equal: the twins of an odd
            activation.

    Returns:
        Their number and an example.

    >>> same = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, -1.0]])
    >>> find_twins(same, same, up_to_sign=False)
    Twins(units=2, example=(0, 1))
    """
    if not (np.isfinite(values).all() and np.isfinite(gradients).all()):
        return Twins(units=0, example=None)
    scale_v = float(np.sqrt(np.mean(values**2)))
    scale_g = float(np.sqrt(np.mean(gradients**2)))
    signature = np.hstack([values / (scale_v or 1.0), gradients / (scale_g or 1.0)])
    if len(signature) < 2:
        return Twins(units=0, example=None)
    if up_to_sign:
        signature = signature * np.where(signature[:, :1] < 0, -1.0, 1.0)
    order = np.lexsort(signature.T[::-1])
    ordered = signature[order]
    size = np.maximum(np.abs(ordered[1:]), np.abs(ordered[:-1])).max(axis=1, keepdims=True)
    limit = _RELATIVE_TOLERANCE * np.maximum(size, _RELATIVE_TOLERANCE)
    same = (np.abs(np.diff(ordered, axis=0)) <= limit).all(axis=1)
    member = np.zeros(len(ordered), bool)
    member[1:] |= same
    member[:-1] |= same
    if not same.any():
        return Twins(units=0, example=None)
    first = int(np.argmax(same))
    pair = sorted((int(order[first]), int(order[first + 1])))
    return Twins(units=int(member.sum()), example=(pair[0], pair[1]))
