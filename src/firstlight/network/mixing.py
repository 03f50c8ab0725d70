"""Moments of what sums over many inputs: weights, averages, products of two signals, softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod

import numpy as np

from firstlight.network.axes import BATCH, POSITION, spatial
from firstlight.network.prescribed import Prescribed
from firstlight.network.signals import Signal, uneven
from firstlight.records.network import Layout, Operation


def taps(
    layout: Layout, operation: Operation, came: tuple[int, ...], *, centred: bool
) -> tuple[float, float]:
    """Kernel taps that fall inside the input, on average over outputs; and over pairs of them.

    Args:
        layout: of the weight.
        operation: a convolution.
        came: shape of its input.
        centred: whether only the centre of the kernel is not zero; it then counts for all taps.

    Returns:
        The mean number of taps, and the mean number that two distant outputs have both inside.
    """
    kernel = layout.kernel
    axes = len(kernel)
    stride = operation.option("stride") or (1.0,) * axes
    padding = operation.option("padding") or (0.0,) * axes
    dilation = operation.option("dilation") or (1.0,) * axes
    mean = pairs = 1.0
    for n, m, k, s, p, d in zip(
        spatial(came, operation.unit_axis, axes),
        spatial(operation.shape, operation.unit_axis, axes),
        kernel,
        stride,
        padding,
        dilation,
        strict=True,
    ):
        small, large = (n, m) if "transpose" in operation.function else (m, n)
        offsets = np.arange(small)[:, None] * s - p + np.arange(k)[None, :] * d
        inside = (offsets >= 0) & (offsets < large)
        if centred:
            inside = np.repeat(inside[:, k // 2 : k // 2 + 1], k, axis=1)
        shares = inside.sum(axis=0) / m
        mean *= float(shares.sum())
        pairs *= float((np.minimum(shares, 1.0) * shares).sum())
    return mean, pairs


def weighted(
    signal: Signal,
    weight: Prescribed,
    terms: float,
    pairs: float,
    axes: tuple[str, ...],
) -> Signal:
    """A sum of ``terms`` products with independent weights.

    E y² = n·E w²·E x² + n(n−1)·(E w)²·(E x)²; likenesses likewise.

    Args:
        signal: what comes in.
        weight: the weight's moments.
        terms: products per output.
        pairs: products per output that two distant outputs have both.
        axes: of the result.
    """
    source = signal
    if weight.mirrored_in and signal.odd is not None:
        source = signal.odd
    common = terms * (terms - 1) * (weight.mean * signal.mean) ** 2
    spread = max(0.0, weight.square)
    result = Signal(
        mean=terms * weight.mean * signal.mean,
        square=terms * spread * source.square + common,
        near=terms * spread * source.near + common,
        positions=pairs * spread * source.positions + common,
        samples=pairs * spread * source.samples + common,
        axes=axes,
        place=source.place + max(0.0, source.tails - 1 - source.place) / max(1.0, terms),
        unit=0.0 if weight.isometry else 2 / max(1.0, terms),
        terms=terms,
    )
    return with_twins(result) if weight.mirrored_out else result


def with_twins(signal: Signal) -> Signal:
    """A signal whose units come in pairs z, −z."""
    odd = replace(
        signal,
        square=2 * signal.square,
        near=2 * signal.near,
        positions=2 * signal.positions,
        samples=2 * signal.samples,
    )
    return replace(signal, odd=odd)


def shifted(signal: Signal, bias: Prescribed) -> Signal:
    """A bias added to each unit: the same at all positions and in all samples."""
    cross = 2 * bias.mean * signal.mean + bias.square
    return replace(
        signal,
        mean=signal.mean + bias.mean,
        square=signal.square + cross,
        near=signal.near + cross,
        positions=signal.positions + cross,
        samples=signal.samples + cross,
        odd=signal.odd if cross == 0 else None,
    )


def likeness(signal: Signal, label: str) -> float:
    """Mean product of two values along an axis of this kind."""
    if label == POSITION:
        return signal.positions
    if label == BATCH:
        return signal.samples
    return signal.mean**2


def averaged(
    signal: Signal, groups: Sequence[tuple[str, int]], axes: tuple[str, ...], *, near: bool = False
) -> Signal:
    """The mean over some axes.

    E x̄² = (E x² + (n−1)·likeness)/n, one kind of axis after the other.

    Args:
        signal: what is averaged.
        groups: kind and size of each axis that goes.
        axes: of the result.
        near: whether neighbours are averaged, as in a pooling window.
    """
    square, positions, samples = signal.square, signal.positions, signal.samples
    near_by = signal.near
    for label in dict.fromkeys(label for label, _ in groups):
        n = prod(size for other, size in groups if other == label)
        alike = signal.near if near and label == POSITION else likeness(signal, label)
        square = (square + (n - 1) * alike) / n
        if label == POSITION:
            near_by = (near_by + (n - 1) * positions) / n if near else square
            positions = positions if near else square
        elif label != BATCH:
            near_by, positions, samples = (
                (v + (n - 1) * alike) / n for v in (near_by, positions, samples)
            )
        else:
            samples = near_by = positions = square
    return Signal(
        mean=signal.mean,
        square=square,
        near=min(near_by, square),
        positions=min(positions, square),
        samples=min(samples, square),
        axes=axes,
    )


_HARD = 1e4
"""Variance of logits from which the largest one takes all."""


@lru_cache(maxsize=1024)
def softmax_moments(variance: float, count: float) -> tuple[float, float]:
    """E Σ p² and E (Σ p z)² of a softmax over ``count`` independent normal logits √variance·z.

    With S = Σ e^x and 1/S² = ∫ t e^(−tS) dt, the first is n ∫ t E[e^(2x − t e^x)] T^(n−1) dt with
    T = E e^(−t e^x); the second has z² in the first expectation, and the pairs
    n(n−1) ∫ t E[z e^(x − t e^x)]² T^(n−2) dt besides.

    Args:
        variance: of the logits over what is averaged.
        count: how many there are, ≥ 1.

    >>> [round(v, 4) for v in softmax_moments(0.0, 4.0)], softmax_moments(1.0, 1.0)
    ([0.25, 0.25], (1.0, 1.0))
    """
    if count <= 1:
        return 1.0, 1.0
    if variance <= 1e-12:
        return 1 / count, 1 / count
    variance = min(variance, _HARD)
    reach = 8.0 + 2 * math.sqrt(variance)  # e^(2x) moves the weight that far out
    z = np.linspace(-reach, reach, 161)
    weights = np.exp(-0.5 * z**2)
    weights /= weights.sum()
    x = math.sqrt(variance) * z
    top = max(math.log(count) + variance / 2, math.sqrt(2 * variance * math.log(count)))
    log_t = np.linspace(-top - 6 - 3 * math.sqrt(variance), 8 + top / 4, 240)
    exponent = -np.exp(np.minimum(log_t[:, None] + x[None, :], 700.0))
    # t e^x is kept in the exponent: neither factor alone stays within range.
    once = np.exp(exponent + log_t[:, None] + x)
    twice = np.exp(exponent + 2 * (log_t[:, None] + x))
    none = np.log(np.maximum(np.exp(exponent) @ weights, 1e-300))
    alone = np.exp((count - 1) * none)
    paired = np.exp(max(0.0, count - 2) * none)
    step = count * float(log_t[1] - log_t[0])
    squares = step * float(((twice @ weights) * alone).sum())
    tilt = step * float(((twice @ (weights * z * z)) * alone).sum())
    tilt += step * (count - 1) * float(((once @ (weights * z)) ** 2 * paired).sum())
    return min(1.0, max(1 / count, squares)), max(0.0, tilt)


def evenness(variance: float, heavy: float, inverse: float) -> tuple[float, float]:
    """`softmax_moments` where the variance of the logits differs from query to query.

    A query is short or long: in d dimensions its squared length has the relative variance 2/d.

    Args:
        variance: of the logits of one query, on average.
        heavy: its relative variance.
        inverse: one over the number of keys.
    """
    each = [
        (w, *softmax_moments(float(f"{variance * x:.3g}"), 1 / inverse)) for w, x in uneven(heavy)
    ]
    return sum(w * s for w, s, _ in each), sum(w * t for w, _, t in each)


def attended(
    value: Signal, squares: float, tilt: float, overlap: float, dropped: float = 0.0
) -> Signal:
    """Σ p v over keys: what is common to the keys stays, the rest is averaged.

    Keys and values are made from the same n numbers. In the one direction of them that decides a
    query's logits the average is tilted, E (Σ p z)²; in the others it is as if chosen at random.

    Args:
        value: what is averaged.
        squares: E Σ p² of one query.
        tilt: E (Σ p z)², z the standardised logits.
        overlap: E Σ p p′ of two queries.
        dropped: rate of a dropout on the weights.
    """
    own, common = max(0.0, value.square - value.positions), value.positions
    kept = 1 - min(dropped, 0.999)
    shift = (tilt - squares) / value.terms if value.terms >= 1 else 0.0
    return Signal(
        mean=value.mean,
        square=(squares / kept + shift) * own + common * (1 + squares * dropped / kept),
        near=overlap * own + common,
        positions=overlap * own + common,
        samples=value.samples,
        axes=value.axes,
    )


def contracted(
    left: Signal, right: Signal, count: int, labels: tuple[str, str], axes: tuple[str, ...]
) -> Signal:
    """Σ over ``count`` products of two independent signals.

    E y² = n·E a²·E b² + n(n−1)·likeness(a)·likeness(b).

    Args:
        left: one factor.
        right: the other; its positions are those of the result.
        count: how many products are summed.
        labels: what the contracted axis counts in each.
        axes: of the result.
    """
    common = count * (count - 1) * likeness(left, labels[0]) * likeness(right, labels[1])
    means = count * (count - 1) * (left.mean * right.mean) ** 2
    keys = count * left.square * right.positions + means
    return Signal(
        mean=count * left.mean * right.mean,
        square=count * left.square * right.square + common,
        near=keys,
        positions=keys,
        samples=count * left.samples * right.samples + means,
        axes=axes,
        heavy=2 / count,
    )
