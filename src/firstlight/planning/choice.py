"""How even signal and gradient would be under a start, and which start is the most even.

Both are compared where depth is told from width: at the residual additions of each stream, without
streams at the hidden weights that the signal passes. A start is the better, the nearer the ratios
of largest to smallest second moment, and of largest to smallest ‖δ‖², are to one. Theory ranks the
usual starts; a start that was measured takes the place of its forecast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from firstlight.errors import BadInputError
from firstlight.initializers.registry import technique
from firstlight.network.graph import Graph
from firstlight.records.checkup import Observation
from firstlight.records.network import Network
from firstlight.records.plan import Forecast, Ranked

COMPARED = ("he_normal", "glorot_normal", "lecun_normal", "orthogonal")
"""What a plan is ranked against by prediction, without being asked to."""

USUAL = "usual"
"""The word for all of these."""

PLAN, OWN = "plan", "own start"
"""Names of what is no technique: the plan itself, and the model as it came."""

MOST_WEIGHTS = 400
"""Beyond so many weights four further forecasts would take longer than the plan."""

MARGIN = 2.0
"""By how much less uneven a start must be than the plan before the plan says so.

The plan's own residual rule lets a stream grow e times in each direction, at any number of branches
(Ln e + Ln e = 2): what lies below is a choice of its rules and no fault.
"""

FURTHER_DRAWS = 4
"""How many draws must confirm it, besides the one that raised the question.

Two starts that are equally even come out so five times out of five with probability 2⁻⁵ = 3 %, and
that without any margin.
"""

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


def contenders(compare: Sequence[str] | str) -> tuple[str, ...]:
    """The techniques that are asked for, each once and by its first name.

    Args:
        compare: names of the registry, or ``"usual"`` for `COMPARED`. The plan and the model's own
            start may be named too; they are measured in any case.

    Raises:
        BadInputError: a name that is no technique.
    """
    if isinstance(compare, str):
        compare = COMPARED if compare == USUAL else (compare,)
    if not isinstance(compare, Sequence):
        raise BadInputError(
            f"compare: expected names of techniques or '{USUAL}', got {compare!r}; see"
            " firstlight.techniques()"
        )
    try:
        found = [technique(name).name for name in compare if name not in (PLAN, OWN)]
    except BadInputError as error:
        raise BadInputError(f"compare: {str(error).removeprefix('technique: ')}") from error
    return tuple(dict.fromkeys(found))


def renewed(ranking: Iterable[Ranked], seen: Iterable[Ranked]) -> tuple[Ranked, ...]:
    """A ranking in which what was seen takes the places of the same names."""
    return in_order({place.technique: place for place in (*ranking, *seen)}.values())


def lost(technique: str) -> Ranked:
    """The place of a start under which the model cannot run."""
    return Ranked(technique=technique, forward_ratio=_LOST, delta_ratio=_LOST, how="measured")


def beats(other: Ranked, plan: Ranked) -> bool:
    """Whether a start is more even than the plan by more than `MARGIN`."""
    return plan.unevenness - other.unevenness > MARGIN


def better_start(other: Ranked, plan: Ranked) -> str:
    """What a plan says of a start that is more even than itself in every draw."""
    return (
        f"{other.technique} is more even than the plan: second moment"
        f" {_against(other.forward_ratio, plan.forward_ratio)}, ‖δ‖²"
        f" {_against(other.delta_ratio, plan.delta_ratio)} along the depth, and by more than a"
        f" factor of {math.exp(MARGIN):.2g} in both together in each of {1 + FURTHER_DRAWS} draws;"
        f' take it with technique="{other.technique}"'
    )


def _against(ratio: float, other: float) -> str:
    return " against ".join("lost" if r >= _LOST else f"× {r:.3g}" for r in (ratio, other))
