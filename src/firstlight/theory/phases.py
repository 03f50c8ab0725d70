"""The phase diagram of the plain chain: χ₁ at the fixed length over (σ_w², σ_b²)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from firstlight.records.prediction import PhaseDiagram
from firstlight.theory.formulas import Array
from firstlight.theory.propagation import Medium

_LENGTHS: Array = np.geomspace(1e-6, 1e4, 161)  # sixteen a decade; q = 1 is one of them
Point = tuple[float, float, float]
"""σ_w², σ_b² and q*."""

_COLUMNS, _ROWS = 33, 21
_EDGE_POINTS = 40
_LEAST_BIAS = 0.3  # height of the diagram where the start and the edge ask for no more
_ROUNDING = 1e-9
_ONE = len(_LENGTHS) * 6 // 10  # where q = 1


def phase_diagram(
    medium: Medium, sigma_w2: float, sigma_b2: float, *, dropout: float = 0.0
) -> PhaseDiagram:
    """A grid of χ₁ and q*, wide enough to hold a start and the edge of chaos.

    Fixed lengths are those reached from q = 1, as in `mean_field.fixed_length`, on a table of E φ²
    and E φ′² that is interpolated in ln q (q* to half a per cent).

    Args:
        medium: the activation.
        sigma_w2: of a start that the grid should hold.
        sigma_b2: likewise.
        dropout: rate; it acts as σ_w²/(1 − rate).

    Returns:
        Plain data: 32 columns, 21 rows.

    >>> relu = phase_diagram(Medium("relu"), 2.0, 0.0)
    >>> round(max(map(max, relu.chi)) / max(relu.sigma_w2), 12)  # χ₁ = σ_w²/2 for ReLU
    0.5
    """
    tables = [medium.statistics(float(q)) for q in _LENGTHS]
    second = np.array([t.second for t in tables]) / (1 - dropout)
    derivative = np.array([t.derivative for t in tables]) / (1 - dropout)
    edge = _edge(second, derivative)
    at_one = next((point for point in edge if math.isclose(point[2], 1.0)), None)
    wanted_w = [sigma_w2, *([at_one[0]] if at_one else [])]
    wanted_b = [sigma_b2, *([at_one[1]] if at_one else [])]
    columns = np.linspace(0.0, 2 * max(wanted_w), _COLUMNS)[1:]
    rows = np.linspace(0.0, max(2 * max(wanted_b), _LEAST_BIAS), _ROWS)
    lengths = [[_fixed(second, w, b) for w in columns] for b in rows]
    logs = np.log(_LENGTHS)
    chi = [
        [
            float(w * np.interp(math.log(min(max(q, _LENGTHS[0]), _LENGTHS[-1])), logs, derivative))
            for w, q in zip(columns, row, strict=True)
        ]
        for row in lengths
    ]
    shown = _within(edge, float(columns[-1]), float(rows[-1]))
    thinned = [*shown[:-1:2], shown[-1]] if len(shown) > _EDGE_POINTS else shown
    return PhaseDiagram(
        sigma_w2=tuple(float(w) for w in columns),
        sigma_b2=tuple(float(b) for b in rows),
        chi=tuple(map(tuple, chi)),
        fixed_length=tuple(map(tuple, lengths)),
        edge=tuple(thinned),
    )


def _edge(second: Array, derivative: Array) -> list[Point]:
    points: list[Point] = []
    for q, m, d in zip(_LENGTHS, second, derivative, strict=True):
        if d <= 0:
            continue
        bias = q - m / d
        if bias >= -_ROUNDING * q:
            points.append((float(1 / d), max(0.0, float(bias)), float(q)))
    return points


def _within(edge: Sequence[Point], widest: float, highest: float) -> list[Point]:
    """The part of the curve inside the diagram, cut off at its border."""
    inside = [w <= widest and b <= highest for w, b, _ in edge]
    points: list[Point] = []
    for i, point in enumerate(edge):
        if inside[i]:
            points.append(point)
        if i + 1 < len(edge) and inside[i] != inside[i + 1]:
            near, far = (point, edge[i + 1]) if inside[i] else (edge[i + 1], point)
            room = ((widest, near[0], far[0]), (highest, near[1], far[1]))
            share = min((end - n) / (f - n) for end, n, f in room if f > end)
            w, b, log_q = (
                n + share * (f - n)
                for n, f in zip(
                    (*near[:2], math.log(near[2])), (*far[:2], math.log(far[2])), strict=True
                )
            )
            points.append((w, b, math.exp(log_q)))
    return points


def _fixed(second: Array, sigma_w2: float, sigma_b2: float) -> float:
    growth = sigma_w2 * second + sigma_b2 - _LENGTHS
    if abs(growth[_ONE]) <= _ROUNDING:
        return 1.0
    step = 1 if growth[_ONE] > 0 else -1
    at = _ONE
    while 0 <= at + step < len(_LENGTHS):
        before, after = growth[at], growth[at + step]
        if (after > 0) != (before > 0) or after == 0:
            share = before / (before - after)
            low, high = math.log(_LENGTHS[at]), math.log(_LENGTHS[at + step])
            return math.exp(low + share * (high - low))
        at += step
    return math.inf if step > 0 else 0.0
