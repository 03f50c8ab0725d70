"""What is measured of an input: how alike its positions and its samples are.

Pooling, attention and norms average over positions and samples; what comes out of them depends on
how much of the signal is common to what they average.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firstlight.records.checkup import InputReading
from firstlight.records.network import Operation


def input_reading(operation: Operation, tensor: Tensor) -> InputReading | None:
    """Moments of an input; None for one without elements.

    Args:
        operation: of kind ``input``.
        tensor: its values, samples along the first axis.
    """
    values = tensor.detach()
    if values.is_complex():
        values = values.abs()
    if values.numel() == 0 or values.dim() == 0:
        return None
    values = exact(values)
    if not math.isfinite(float(values.square().sum().float())):
        return None  # their squares leave the range of float32
    axes = (1 % values.dim(), values.dim() - 1)
    found = [_likeness(values, axis) for axis in axes]
    found.append(_likeness(values[:, None], 1))
    return InputReading(
        operation=operation.index,
        name=operation.name,
        mean=float(values.mean()),
        second_moment=float(values.square().mean()),
        near=tuple(each[0] for each in found),
        positions=tuple(each[1] for each in found),
        samples=tuple(each[2] for each in found),
        uneven=tuple(each[3] for each in found),
    )


def exact(values: Tensor) -> Tensor:
    """In 64 bits, on the CPU: what is measured decides scales, and those are the same everywhere.

    Scales are kept to nine digits; sums in 32 bits would differ in the eighth from one framework,
    device or layout to the next.
    """
    return values.to("cpu", torch.float64)


def _likeness(values: Tensor, axis: int) -> tuple[float, float, float, float]:
    """Mean products of neighbours, of any two positions, and of two samples, for one unit.

    Last, how much the mean square over units differs from place to place: what is over the 2/n
    of n normal units.
    """
    if axis == 0:  # a single axis: samples of one unit
        values, axis = values[:, None], 1
    square = float(values.square().mean())
    units = values.shape[axis]
    lengths = values.square().mean(dim=axis)
    relative = float(lengths.var(correction=0)) / max(square**2, 1e-30)
    uneven = max(0.0, relative - 2 / units) if units > 1 else 0.0
    samples = values.shape[0]
    rest = [a for a in range(1, values.dim()) if a != axis]
    places = [a for a in rest if values.shape[a] > 1]
    number = values.numel() // (samples * values.shape[axis])
    near = far = square
    if places:
        products = [
            float(
                (
                    values.narrow(a, 1, values.shape[a] - 1)
                    * values.narrow(a, 0, values.shape[a] - 1)
                ).mean()
            )
            for a in places
        ]
        near = sum(products) / len(products)
        averaged = float(values.mean(dim=rest).square().mean())
        far = (number * averaged - square) / (number - 1)
    if samples < 2:
        return near, far, far, uneven
    centre = float(values.mean(dim=[0, *rest]).square().mean())
    within = (square + (number - 1) * far) / number
    return near, far, (samples * centre - within) / (samples - 1), uneven
