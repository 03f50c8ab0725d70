"""What a plan says it will do: its forecast as a signal, without the head."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firstlight.records.plan import Forecast, Plan
from firstlight.reporting.numbers import number
from firstlight.reporting.signal import Level, Signal
from firstlight.reporting.wording import count


def foreseen(plan: Plan) -> tuple[Forecast, ...]:
    """The forecast at weighted operations; the head's small start is meant and left out."""
    weighted = {operation.index for operation in plan.network.weighted()}
    shown = tuple(f for f in plan.forecast if f.operation in weighted)
    if len(shown) > 2 and shown[-1].operation in plan.network.outputs:
        return shown[:-1]
    return shown


def foretold(forecast: Sequence[Forecast], measured: Sequence[Signal]) -> tuple[Signal, ...]:
    """What theory expects at measured operations; what a measurement corrected is left out.

    A forecast gives ‖δ‖ relative to the last operation that has one. There it is set equal to the
    measurement, so that both stand on one axis.

    Args:
        forecast: of the plan.
        measured: the signal after it was drawn.
    """
    expected = {f.operation: f for f in forecast if f.how == "theory"}
    anchor = next(
        (
            signal.backward.value / math.sqrt(f.delta_square_per_sample)
            for signal in reversed(measured)
            if (f := expected.get(signal.operation)) is not None
            and f.delta_square_per_sample
            and signal.backward.value is not None
        ),
        None,
    )
    return tuple(
        Signal(
            position=signal.position,
            operation=signal.operation,
            name=signal.name,
            forward=_level(f.second_moment, 1.0),
            backward=_level(f.delta_square_per_sample, anchor),
        )
        for signal in measured
        if (f := expected.get(signal.operation)) is not None
    )


def _level(square: float | None, unit: float | None) -> Level:
    known = square is not None and square >= 0 and unit is not None
    return Level(value=math.sqrt(square) * unit if known else None)  # type: ignore[arg-type,operator]


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
