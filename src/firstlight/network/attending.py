"""Moments of softmax and attention: averages whose weights are more or less even."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from firstlight.network.axes import BATCH, KEY, POSITION
from firstlight.network.mixing import attended, evenness, likeness
from firstlight.network.passage import Passage
from firstlight.network.signals import Signal
from firstlight.records.network import Operation


@lru_cache(maxsize=1024)
def causal_moments(variance: float, count: int, heavy: float = 0.0) -> tuple[float, float, float]:
    """E Σ p², E (Σ p z)² and E Σ p p′ of a causal softmax, on average over its queries.

    Query i sees i keys; of two queries the later one decides how much they share.

    >>> causal_moments(0.0, 2)
    (0.75, 0.75, 0.5)
    """
    some = sorted({1, 2, 3, 4, *(round(2 ** (i / 2)) for i in range(4, 60)), count})
    some = [i for i in some if i <= count]
    each = np.log([evenness(variance, heavy, 1 / i) for i in some])
    rows = np.arange(1, count + 1)
    squares, tilt = (
        float(np.exp(np.interp(np.log(rows), np.log(some), each[:, i])).mean()) for i in (0, 1)
    )
    if count < 2:
        return squares, tilt, 1.0
    overlap = float(((rows - 1) / rows).sum()) * 2 / (count * (count - 1))
    return squares, tilt, min(1.0, overlap)


Attention = tuple[Signal, Signal, Signal, float, float, int]
"""Query, key, value; E Σ p² of a query; scale of the logits; width of a head."""


def keys_of(operation: Operation, passage: Passage) -> Attention | None:
    """What decides an attention: its operands and how even its weights are."""
    found = _evenness(operation, passage)
    return None if found is None else (*found[0], found[1][0], found[2], found[3])


def _evenness(
    operation: Operation, passage: Passage
) -> tuple[tuple[Signal, Signal, Signal], tuple[float, float, float], float, int] | None:
    query, key, value = (passage.source(operation, i) for i in range(3))
    place = passage.place(operation, 1)
    if query is None or key is None or value is None or place is None:
        return None
    width, keys = passage.shape(place)[-1], passage.shape(place)[-2]
    scale = (operation.option("scale") or (width**-0.5,))[0]
    # What all keys have in common moves all logits of a query alike, and a softmax not at all.
    different = max(0.0, key.square - key.positions)
    variance = float(f"{scale**2 * width * query.square * different:.3g}")
    visible = operation.option("inverse_visible")
    inverse = visible[0] if visible else 1 / keys
    causal = bool((operation.option("causal") or (0.0,))[0])
    if causal or (visible and abs(inverse - _causal_inverse(keys)) < 1e-6):
        moments = causal_moments(variance, keys, 2 / width)
    else:
        moments = (*evenness(variance, 2 / width, inverse), inverse)
    return (query, key, value), moments, scale, width


def scaled_dot_product(operation: Operation, passage: Passage) -> Signal | None:
    """Attention: logits q·k/√d are normal with the variance that differs between keys."""
    found = _evenness(operation, passage)
    if found is None:
        return None
    value = found[0][2]
    dropout = (operation.option("dropout") or (0.0,))[0]
    axes = value.axes if len(value.axes) == len(operation.shape) else ()
    result = attended(value, *found[1], dropout)
    return replace(result, axes=axes or passage.default_axes(operation))


def _causal_inverse(keys: int) -> float:
    return sum(1 / i for i in range(1, keys + 1)) / keys


def softmax(operation: Operation, passage: Passage) -> Signal | None:
    """A softmax over one axis: mean 1/n, E Σ p² by how much its logits differ."""
    signal = passage.source(operation)
    axis = operation.option("axes")
    if signal is None or not axis or operation.function != "softmax":
        return None
    at, shape = int(axis[0]), operation.shape
    label = signal.axes[at] if at < len(signal.axes) else POSITION
    variance = float(f"{max(0.0, signal.square - likeness(signal, label)):.3g}")
    count = shape[at]
    inverse = signal.inverse_visible or 1 / count
    if signal.inverse_visible and math.isclose(inverse, _causal_inverse(count), rel_tol=1e-5):
        squares, tilt, overlap = causal_moments(variance, count, signal.heavy)
    else:
        squares, tilt = evenness(variance, signal.heavy, inverse)
        overlap = inverse
    axes = (*signal.axes[:at], KEY, *signal.axes[at + 1 :])
    return Signal(
        mean=1 / count,
        square=squares / count,
        near=overlap / count,
        positions=overlap / count,
        samples=overlap / count,
        tilt=tilt,
        axes=axes if BATCH in axes or len(axes) == len(shape) else passage.default_axes(operation),
    )
