"""How even signal and gradient would be under a start, and which start is the most even.

Both are compared where depth is told from width: at the residual additions of each stream, without
streams at the hidden weights that the signal passes. A start is the better, the nearer the ratios
of largest to smallest second moment, and of largest to smallest ‖δ‖², are to one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from firstlight.network.graph import Graph
from firstlight.records.checkup import Observation
from firstlight.records.network import Network
from firstlight.records.plan import Forecast, Ranked

COMPARED = ("he_normal", "glorot_normal", "lecun_normal", "orthogonal")
"""What a plan is ranked against by prediction, without being asked to."""

MOST_WEIGHTS = 400
"""Beyond so many weights four further forecasts would take longer than the plan."""

_LOST = 1e30


def rows(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """The operations along which depth is judged: one row for each stream, or one of weights."""
    streams = [stream for stream in graph.streams if len(stream) > 1]
    if streams:
        return tuple(tuple(branch.addition.index for branch in stream) for stream in streams)
    hidden = [
        op.index
        for op in graph.network.weighted()
        if op.index not in graph.steering and not graph.is_head(op)
    ]
    return (tuple(hidden),) if len(hidden) > 1 else ()


def _ratio(values: Iterable[float | None]) -> float:
    """Largest over smallest; huge where a number is zero or not finite, or nearly all unknown."""
    given = list(values)
    known = [value for value in given if value is not None]
    if len(given) < 2:
        return 1.0
    if len(known) < 2 or min(known) <= 0 or not all(map(math.isfinite, known)):
        return _LOST
    return min(max(known) / min(known), _LOST)


def _spreads(
    network: Network, forward: Mapping[int, float | None], delta: Mapping[int, float | None]
) -> tuple[float, float]:
    """The worst ratios over all rows, forward and of ‖δ‖²."""
    each = rows(Graph(network))
    return (
        max((_ratio(forward.get(i) for i in row) for row in each), default=1.0),
        max((_ratio(delta.get(i) for i in row) for row in each), default=1.0),
    )


def predicted(technique: str, network: Network, forecasts: Iterable[Forecast]) -> Ranked:
    """The place of a start by its forecast."""
    found = {forecast.operation: forecast for forecast in forecasts}
    forward, delta = _spreads(
        network,
        {i: f.second_moment for i, f in found.items()},
        {i: f.delta_square_per_sample for i, f in found.items()},
    )
    return Ranked(technique=technique, forward_ratio=forward, delta_ratio=delta, how="theory")


def measured(technique: str, observation: Observation) -> Ranked:
    """The place of a start by what was seen of it."""
    readings = {reading.operation: reading for reading in observation.readings}
    forward, delta = _spreads(
        observation.network,
        {i: r.second_moment.value if r.second_moment else None for i, r in readings.items()},
        {
            i: r.delta_square_per_sample.value if r.delta_square_per_sample else None
            for i, r in readings.items()
        },
    )
    return Ranked(technique=technique, forward_ratio=forward, delta_ratio=delta, how="measured")


def in_order(ranked: Iterable[Ranked]) -> tuple[Ranked, ...]:
    """The most even start first."""
    return tuple(sorted(ranked, key=lambda place: place.unevenness))
