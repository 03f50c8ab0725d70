"""Deep random networks in NumPy, to compare with predictions: forward, backward, correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import ortho_group

from firstlight.records.prediction import Prediction
from firstlight.theory.activations import activation
from firstlight.theory.propagation import ALIKE

PAIRS = 64
"""Pairs of inputs of each kind; the batch of 256 is large enough for batch norm's statistics."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One draw: arrays over layers, and the ends of the backward pass."""

    second_moment: np.ndarray
    unrelated: np.ndarray
    alike: np.ndarray
    delta_square_ratio: float


def spread(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def inputs(width: int, length: float, random: np.random.Generator) -> np.ndarray:
    """First 64 + 64 unrelated, then 64 + 64 alike; each of exactly this second moment."""
    first, second, shared, own = random.normal(size=(4, PAIRS, width))
    related = ALIKE * shared + math.sqrt(1 - ALIKE**2) * own
    x = np.concatenate([first, second, shared, related])
    scaled: np.ndarray = x * math.sqrt(length) / np.sqrt((x**2).mean(axis=1, keepdims=True))
    return scaled


def correlations(h: np.ndarray) -> tuple[float, float]:
    """Mean correlation of the unrelated and of the alike pairs."""
    unit = h / np.sqrt((h**2).mean(axis=1, keepdims=True))
    a, b, c, d = unit.reshape(4, PAIRS, -1)
    return float((a * b).mean()), float((c * d).mean())


def simulate(
    said: Prediction, *, width: int, seed: int, length: float = 1.0, mirrored: bool = False
) -> Run:
    """Draw the network that a prediction is about and run it both ways.

    Args:
        said: its activation (by name), depth, start, norm, skip and dropout are taken.
        width: units of each layer.
        seed: of everything.
        length: second moment of the first pre-activation.
        mirrored: whether the weights are [[O, −O], [−O, O]] times σ_w, and the input likewise ±.
    """
    random = np.random.default_rng(seed)
    phi = activation(said.activation)
    keep, s = 1 - said.dropout, said.skip
    h = inputs(width // 2 if mirrored else width, length, random)
    h = np.hstack([h, -h]) if mirrored else h
    seen = _normed(h, said.norm)[0] if s is not None else h
    tape, moments, found = [], [float((h**2).mean())], [correlations(seen)]
    for _ in range(said.depth - 1):
        u, scale = _normed(h, said.norm) if s is not None else (h, None)
        if mirrored:
            half = ortho_group.rvs(width // 2, random_state=random)
            weight = math.sqrt(said.sigma_w2) * np.kron([[1, -1], [-1, 1]], half)
        else:
            weight = random.normal(size=(width, width)) * math.sqrt(said.sigma_w2 / width)
        bias = random.normal(size=width) * math.sqrt(said.sigma_b2)
        mask = (random.random(u.shape) < keep) / keep if said.dropout else 1.0
        z = (phi.function(u) * mask) @ weight.T + bias
        slope = phi.derivative(u) * mask
        if s is None:
            h, scale = _normed(z, said.norm)
        else:
            h = h + s * z
        tape.append((weight, slope, u if s is not None else h, scale))
        moments.append(float((h**2).mean()))
        found.append(correlations(_normed(h, said.norm)[0] if s is not None else h))
    delta = end = random.normal(size=h.shape)
    if mirrored:  # what reaches a mirrored layer is ± too
        delta = end = np.hstack([delta[:, : width // 2], -delta[:, : width // 2]])
    for weight, slope, normal, scale in reversed(tape):
        if s is None:
            delta = (_back(delta, normal, scale, said.norm) @ weight) * slope
        else:
            through = (s * delta @ weight) * slope
            delta = delta + _back(through, normal, scale, said.norm)
    unrelated, alike = np.array(found).T
    return Run(
        second_moment=np.array(moments),
        unrelated=unrelated,
        alike=alike,
        delta_square_ratio=float((delta**2).sum() / (end**2).sum()),
    )


def _axis(norm: str) -> int:
    return 0 if norm == "batch" else 1


def _normed(h: np.ndarray, norm: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    if norm is None:
        return h, None
    centred = h - h.mean(axis=_axis(norm), keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=_axis(norm), keepdims=True))
    return centred / scale, scale


def _back(
    delta: np.ndarray, normal: np.ndarray, scale: np.ndarray | None, norm: str | None
) -> np.ndarray:
    """The gradient through a norm whose result is ``normal``."""
    if norm is None or scale is None:
        return delta
    axis = _axis(norm)
    mean = delta.mean(axis=axis, keepdims=True)
    along = (delta * normal).mean(axis=axis, keepdims=True)
    result: np.ndarray = (delta - mean - normal * along) / scale
    return result
