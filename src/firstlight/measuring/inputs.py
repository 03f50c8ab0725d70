"""What is measured of an input: how alike its positions and its samples are.

Pooling, attention and norms average over positions and samples; what comes out of them depends on
how much of the signal is common to what they average.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.records.checkup import InputReading
from firstlight.records.network import Operation


def input_reading(operation: Operation, values: NDArray[Any]) -> InputReading | None:
    """Moments of an input; None for one without elements.

    Args:
        operation: of kind ``input``.
        values: samples along the first axis.
    """
    values = abs(values) if values.dtype.kind == "c" else values
    if values.size == 0 or values.ndim == 0:
        return None
    # What is measured decides scales, which are kept to nine digits and are the same everywhere.
    values = values.astype(np.float64)
    if not _mean_square(values) * values.size < float(np.finfo(np.float32).max):
        return None  # their squares leave the range of float32
    axes = (1 % values.ndim, values.ndim - 1)
    found = [_likeness(values, axis) for axis in axes]
    found.append(_likeness(values[:, None], 1))
    return InputReading(
        operation=operation.index,
        name=operation.name,
        mean=float(values.mean()),
        second_moment=_mean_square(values),
        near=tuple(each[0] for each in found),
        positions=tuple(each[1] for each in found),
        samples=tuple(each[2] for each in found),
        uneven=tuple(each[3] for each in found),
    )


def _mean_square(values: NDArray[Any]) -> float:
    flat = values.reshape(-1)
    with np.errstate(over="ignore"):
        return float(np.vdot(flat, flat)) / flat.size


def _likeness(values: NDArray[Any], axis: int) -> tuple[float, float, float, float]:
    """Mean products of neighbours, of any two positions, and of two samples, for one unit.

    Last, how much the mean square over units differs from place to place: what is over the 2/n
    of n normal units.
    """
    if axis == 0:  # a single axis: samples of one unit
        values, axis = values[:, None], 1
    square = _mean_square(values)
    units = values.shape[axis]
    lengths = np.square(values).mean(axis=axis)
    relative = float(lengths.var()) / max(square**2, 1e-30)
    uneven = max(0.0, relative - 2 / units) if units > 1 else 0.0
    samples = values.shape[0]
    rest = tuple(a for a in range(1, values.ndim) if a != axis)
    places = [a for a in rest if values.shape[a] > 1]
    number = values.size // (samples * values.shape[axis])
    near = far = square
    if places:
        products = []
        for a in places:
            moved = values.swapaxes(0, a)
            products.append(float((moved[1:] * moved[:-1]).mean()))
        near = sum(products) / len(products)
        averaged = _mean_square(values.mean(axis=rest))
        far = (number * averaged - square) / (number - 1)
    if samples < 2:
        return near, far, far, uneven
    centre = _mean_square(values.mean(axis=(0, *rest)))
    within = (square + (number - 1) * far) / number
    return near, far, (samples * centre - within) / (samples - 1), uneven
