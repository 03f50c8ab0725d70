"""Moments of what sums over many inputs: weights, averages, products of two signals, softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod

import numpy as np

from firstlight.network.axes import BATCH, POSITION
from firstlight.network.prescribed import Prescribed
from firstlight.network.signals import Signal
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
    spatial = len(kernel)
    stride = operation.option("stride") or (1.0,) * spatial
    padding = operation.option("padding") or (0.0,) * spatial
    dilation = operation.option("dilation") or (1.0,) * spatial
    mean = pairs = 1.0
    for n, m, k, s, p, d in zip(
        came[-spatial:],
        operation.shape[-spatial:],
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
def softmax_square(variance: float, count: float) -> float:
    """E Σ p² of a softmax over ``count`` independent normal logits.

    With S = Σ e^z and 1/S² = ∫ t e^(−tS) dt, it is n ∫ t E[e^(2z − t e^z)] E[e^(−t e^z)]^(n−1) dt.

    Args:
        variance: of the logits over what is averaged.
        count: how many there are, ≥ 1.

    >>> round(softmax_square(0.0, 4.0), 6), softmax_square(1.0, 1.0)
    (0.25, 1.0)
    """
    if count <= 1:
        return 1.0
    if variance <= 1e-12:
        return 1 / count
    if variance > _HARD:
        return 1.0
    reach = 8.0 + 2 * math.sqrt(variance)  # e^(2z) moves the weight that far out
    z = np.linspace(-reach, reach, 161)
    weights = np.exp(-0.5 * z**2)
    weights /= weights.sum()
    x = math.sqrt(variance) * z
    top = max(math.log(count) + variance / 2, math.sqrt(2 * variance * math.log(count)))
    log_t = np.linspace(-top - 6 - 3 * math.sqrt(variance), 8 - min(0.0, -top / 4), 240)
    exponent = -np.exp(np.minimum(log_t[:, None] + x[None, :], 700.0))
    damped = np.exp(exponent) @ weights
    second = np.exp(exponent + 2 * x) @ weights
    powered = np.exp((count - 1) * np.log(np.maximum(damped, 1e-300)))
    integrand = count * second * powered * np.exp(2 * log_t)
    step = log_t[1] - log_t[0]
    return min(1.0, max(1 / count, float(integrand.sum() * step)))


def evenness(variance: float, heavy: float, inverse: float) -> float:
    """E Σ p² where the variance of the logits differs from query to query.

    A query is short or long: in d dimensions its squared length has the relative variance 2/d. The
    mean is taken over three points of a log-normal law.

    Args:
        variance: of the logits of one query, on average.
        heavy: its relative variance.
        inverse: one over the number of keys.
    """
    if heavy <= 0:
        return softmax_square(variance, 1 / inverse)
    width = math.sqrt(math.log1p(heavy))
    points = [math.exp(width * z - width * width / 2) for z in (-math.sqrt(3), 0.0, math.sqrt(3))]
    each = [softmax_square(float(f"{variance * x:.3g}"), 1 / inverse) for x in points]
    return (each[0] + 4 * each[1] + each[2]) / 6


def attended(value: Signal, squares: float, overlap: float, dropped: float = 0.0) -> Signal:
    """Σ p v over keys: what is common to the keys stays, the rest is averaged.

    Args:
        value: what is averaged.
        squares: E Σ p² of one query.
        overlap: E Σ p p′ of two queries.
        dropped: rate of a dropout on the weights.
    """
    own, common = value.square - value.positions, value.positions
    kept = 1 - min(dropped, 0.999)
    return Signal(
        mean=value.mean,
        square=squares / kept * own + common * (1 + squares * dropped / kept),
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
