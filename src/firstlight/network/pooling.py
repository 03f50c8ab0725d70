"""Moments of pooled signals: averages over windows, positions or units; maxima over windows."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from firstlight.network.axes import POSITION, ordered, spatial
from firstlight.network.mixing import averaged
from firstlight.network.passage import Passage
from firstlight.network.signals import Function, Signal, grid
from firstlight.records.network import Operation
from firstlight.theory.formulas import Array


def reduced_axes(operation: Operation, came: tuple[str, ...]) -> tuple[str, ...]:
    """The axes that are left of a reduction; all of them if it kept their places."""
    gone = {int(a) for a in operation.option("axes")}
    if len(operation.shape) == len(came):
        return came
    return ordered(came, tuple(float(a) for a in range(len(came)) if a not in gone))


def pooled(operation: Operation, passage: Passage) -> Signal | None:
    """Average and maximum pooling, adaptive or by windows; the mean over axes."""
    made = passage.made(operation)
    signal = passage.signals[made[0]] if made else None
    if signal is None:
        return None
    name, came = operation.function, passage.shape(made[0])
    if name == "mean":
        return mean_over(operation, signal, came)
    if name in ("interpolate", "upsample"):
        return Signal(
            mean=signal.mean,
            square=signal.square,
            near=signal.square,
            positions=signal.positions,
            samples=signal.samples,
            axes=signal.axes,
        )
    count = int((operation.option("spatial") or (0.0,))[0])
    unit, made_of = operation.unit_axis, operation.shape
    if not count:
        return None
    axes = signal.axes
    if "adaptive" in name:
        window = prod(spatial(came, unit, count)) / max(1, prod(spatial(made_of, unit, count)))
        inside = 1.0
    else:
        window = prod(operation.option("kernel"))
        inside = _inside(operation, came) if "max" not in name else 1.0
    whole = prod(spatial(made_of, unit, count)) == 1
    if "max" in name:
        root = signal.own_root(made[0])
        return largest(signal, root.base, root.whole, max(1, round(window)))
    if "avg" not in name:
        return None
    result = averaged(signal, [(POSITION, max(1, round(window)))], axes, near=not whole)
    return result.scaled(sqrt(inside)) if inside < 1 else result


def _inside(operation: Operation, came: tuple[int, ...]) -> float:
    """Share of a window that is not padding."""
    kernel, padding = operation.option("kernel"), operation.option("padding")
    stride, count = operation.option("stride"), len(kernel)
    sizes = (spatial(shape, operation.unit_axis, count) for shape in (came, operation.shape))
    share = 1.0
    for n, m, k, s, p in zip(*sizes, kernel, stride, padding, strict=True):
        offsets = np.arange(m)[:, None] * s - p + np.arange(int(k))[None, :]
        share *= float(((offsets >= 0) & (offsets < n)).mean())
    return share


def mean_over(operation: Operation, signal: Signal, came: tuple[int, ...]) -> Signal | None:
    """The mean over some axes."""
    gone = [int(a) for a in operation.option("axes")]
    if not gone or len(signal.axes) != len(came):
        return None
    groups = [(signal.axes[a], came[a]) for a in gone]
    return averaged(signal, groups, reduced_axes(operation, signal.axes))


def _largest_of(count: int) -> tuple[Array, Array]:
    """Grid and weights of the largest of ``count`` standard normal numbers."""
    from scipy.special import ndtr

    z, weights = grid()
    powered = count * weights * ndtr(z) ** (count - 1)
    return z, powered / powered.sum()


def largest(signal: Signal, base: Signal, function: Function, count: int) -> Signal:
    """The largest value of a window, for a function that mostly grows.

    The normal values of a window are taken as equally alike, by the likeness of neighbours.

    Args:
        signal: what is pooled.
        base: the normal signal that it is a function of.
        function: the function.
        count: values in a window.
    """
    z, weights = grid()
    top, top_weights = _largest_of(count)
    m, v = base.mean, base.variance
    near = min(max(base.near - m * m, 0.0), v)
    values = function(m + sqrt(near) * z[:, None] + sqrt(v - near) * top)
    inner = values @ top_weights
    mean, square = float(weights @ inner), float(weights @ (values**2 @ top_weights))
    centre = float(top_weights @ top)
    spread = float(top_weights @ top**2) - centre**2
    found = []
    for common in (base.near, base.positions, base.samples):
        shared = min(max(common - m * m, 0.0), near) if common is not base.near else near
        rest = sqrt(max(0.0, near - shared + (v - near) * spread))
        shifted = m + sqrt(v - near) * centre + sqrt(shared) * z[:, None] + rest * z
        given = function(shifted) @ weights
        found.append(min(square, float(weights @ given**2)))
    return Signal(
        mean=mean,
        square=square,
        near=found[0],
        positions=found[1],
        samples=found[2],
        axes=signal.axes,
    )
