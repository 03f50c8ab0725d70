"""What a plan says it will do: its forecast as a signal, without the head."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firstlight.records.plan import Forecast, Plan
from firstlight.reporting.numbers import number
from firstlight.reporting.wording import count


def foreseen(plan: Plan) -> tuple[Forecast, ...]:
    """The forecast at weighted operations; the head's small start is meant and left out."""
    weighted = {operation.index for operation in plan.network.weighted()}
    shown = tuple(f for f in plan.forecast if f.operation in weighted)
    if len(shown) > 2 and shown[-1].operation in plan.network.outputs:
        return shown[:-1]
    return shown


def roots(squares: Sequence[float | None]) -> list[float]:
    """Roots of the mean squares that are known."""
    return [math.sqrt(square) for square in squares if square is not None and square >= 0]


def forecast_facts(plan: Plan) -> tuple[tuple[str, str, list[float]], ...]:
    """What is expected, in words, and the numbers behind it.

    Args:
        plan: any; one without a forecast has no facts.

    Returns:
        Label, range, and values in order of depth: forward RMS, then ‖δ‖ relative to the last
        operation.
    """
    shown = foreseen(plan)
    forward = roots([f.second_moment for f in shown])
    backward = roots([f.delta_square_per_sample for f in shown])
    facts = []
    if forward:
        facts.append(("expected forward RMS", _range(forward), forward))
    if backward:
        facts.append(("expected ‖δ‖", f"{_range(backward)} of the last", backward))
    return tuple(facts)


def forecast_remark(plan: Plan) -> str:
    """How far theory reached, in one sentence; empty if there is no forecast."""
    shown = foreseen(plan)
    if not shown:
        return ""
    silent = sum(f.second_moment is None for f in shown)
    measured = sum(f.how == "measured" for f in shown) - silent
    words = [f"Forecast at {count(len(shown), 'weighted operation')}"]
    words += [f"{measured:,} measured, where theory was off by more than 10 %"] if measured else []
    words += [f"{silent:,} to be measured, where theory does not reach"] if silent else []
    return "; ".join(words) + "."


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} … {high}"
