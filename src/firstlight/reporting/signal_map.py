"""The signal map, the central picture: RMS over depth, with findings marked where they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from firstlight.records.checkup import Checkup, Finding
from firstlight.records.plan import Forecast
from firstlight.reporting import theme
from firstlight.reporting.charts import Chart, data, finish, hover_strips
from firstlight.reporting.forecast import foretold
from firstlight.reporting.numbers import number, power_of_ten, typeset, with_error
from firstlight.reporting.signal import Level, Scale, Signal, addresses, places, signals

Direction = Literal["forward", "backward"]

MOST_POINTS = 400
"""More points than a screen has columns only make the file larger."""

_LANE, _BODY, _MOST_LANES = 24, 180, 6
_BACKWARD = ("backward-vanishing", "backward-exploding", "no-gradient", "unreachable")
_SERIES = {
    "before": theme.BEFORE,
    "after": theme.AFTER,
    "RMS": theme.AFTER,
    "theory": theme.INK,
}
_DASHES = ([6, 3], [1, 0], [1, 0], [1, 3])


def signal_chart(
    before: Checkup,
    after: Checkup | None,
    direction: Direction,
    findings: Sequence[Finding],
    forecast: Sequence[Forecast] = (),
) -> Chart:
    """One half of the signal map, on log axes, with bands of two standard errors.

    What a log axis cannot show is drawn as a triangle at its edge: zero a decade below the data,
    NaN and infinity a decade above.

    Args:
        before: the checkup whose findings are marked.
        after: a second checkup of the same model to compare with.
        direction: ``forward`` (results) or ``backward`` (δ, the gradients of the results).
        findings: of ``before``, in the order in which the page numbers them, from 1.
        forecast: what the plan that made ``after`` expected of it.
    """
    import altair as alt

    shown = {"RMS": signals(before)}
    if after is not None:
        shown = {"before": signals(before), "after": signals(after)}
        expected = foretold(forecast, shown["after"])
        if any(_level(s, direction).value is not None for s in expected):
            shown["theory"] = expected
    scale, wide = _scales([_level(s, direction) for series in shown.values() for s in series])
    lanes = _lanes(before, findings, direction)
    keep = _thinned(shown, direction, lanes)
    rows = [
        _point(s, direction, name, scale)
        for name, series in shown.items()
        for s in series
        if s.position in keep and _level(s, direction).value is not None
    ]
    depth = max(len(series) for series in shown.values())
    top, height = _LANE * len(lanes), _BODY + _LANE * len(lanes)
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[1, max(2, depth)], nice=False, padding=14),
        "axis": alt.Axis(
            title="weighted operation, from input to output",
            grid=False,
            values=_whole(depth),
            format="d",
        ),
    }
    y: dict[str, Any] = {
        "scale": alt.Scale(
            type="log", domain=[10.0**wide.low, 10.0**wide.high], range=[height, top], nice=False
        ),
        "axis": decades(wide),
    }
    color = alt.Color("color:N", scale=None)
    # Dashes tell the lines apart where colours do not (print, colour blindness).
    dash = alt.StrokeDash(
        "series:N",
        scale=alt.Scale(domain=list(_SERIES), range=list(_DASHES)),
        legend=None,
    )
    edge = alt.Shape(
        "edge:N",
        scale=alt.Scale(domain=["low", "high"], range=["triangle-down", "triangle-up"]),
        legend=None,
    )
    at_x, at_y = alt.X("x:Q", **x), alt.Y("y:Q", **y)
    outside = [row for row in rows if row["edge"]]
    lone = _lone(rows, keep)
    layers = [
        data(rows)
        .mark_area(opacity=0.18)
        .encode(x=at_x, y=alt.Y("low:Q", **y), y2="high:Q", color=color),
        data(rows)
        .mark_line(strokeWidth=2.25, strokeJoin="round")
        .encode(x=at_x, y=at_y, color=color, strokeDash=dash),
    ]
    # No empty layers: a reader is told of a picture there that has no name.
    if outside:
        layers.append(
            data(outside)
            .mark_point(filled=True, size=70, opacity=1)
            .encode(x=at_x, y=at_y, color=color, shape=edge)
        )
    if lone:
        layers.append(data(lone).mark_circle(size=70).encode(x=at_x, y=at_y, color=color))
    layers += _marks(lanes, x, height)
    words = {"forward": "Forward RMS", "backward": "‖δ‖ per sample, going backward,"}[direction]
    description = f"{words} at {depth} weighted operations on a log axis. " + " ".join(
        _in_words(name, series, direction) for name, series in shown.items()
    )
    titles = {"name": "operation"} | {name: name for name in shown}
    hover = [hover_strips(_tips(shown, direction, keep), x, titles)]
    return finish(layers, hover, description, height)


def _level(signal: Signal, direction: Direction) -> Level:
    return signal.forward if direction == "forward" else signal.backward


def _scales(levels: Sequence[Level]) -> tuple[Scale, Scale]:
    """The decades of the data, and the same with room for what a log axis cannot show."""
    values = [level.value for level in levels if level.value is not None]
    scale = Scale.over(values)
    low = scale.low - any(v <= 0 for v in values)
    return scale, Scale(low, scale.high + any(not math.isfinite(v) for v in values))


def _whole(depth: int) -> list[int]:
    """Ticks from the first to the last operation, at most eight, at round distances."""
    step = max(1, math.ceil(depth / 7))
    unit = 10 ** int(math.log10(step))
    step = next(k * unit for k in (1, 2, 5, 10) if k * unit >= step)
    return [1, *[k for k in range(step, depth, step) if k > 1 and depth - k > step / 2], depth]


def decades(scale: Scale) -> Any:
    """A y axis with few ticks, labelled as powers of ten."""
    import altair as alt

    ticks = list(range(scale.low, scale.high + 1, max(1, math.ceil((scale.high - scale.low) / 5))))
    labels = ", ".join(f"'{k}': '{power_of_ten(k)}'" for k in ticks)
    return alt.Axis(
        title=None,
        values=[10.0**k for k in ticks],
        labelExpr=f"{{{labels}}}[toString(round(log(datum.value) / LN10))]",
        minExtent=46,  # both halves of the map share their left edge
        maxExtent=46,
        domain=False,
        ticks=False,
    )


def _point(signal: Signal, direction: Direction, series: str, scale: Scale) -> dict[str, Any]:
    """One point of a line, with its band of two standard errors."""
    level, floor, ceiling = _level(signal, direction), 10.0**scale.low, 10.0**scale.high
    value = math.nan if level.value is None else level.value
    error = level.error if level.error is not None and math.isfinite(level.error) else 0.0
    edge, low, high = "", value - 2 * error, value + 2 * error
    if value <= 0:
        edge, value, low, high = "low", floor / 10, floor / 10, floor / 10
    elif not math.isfinite(value):
        edge, value, low, high = "high", ceiling * 10, ceiling * 10, ceiling * 10
    else:
        low, high = max(low, floor), min(high, ceiling)
    at = {"x": signal.position, "y": value, "low": low, "high": high}
    return at | {"series": series, "color": _SERIES[series], "edge": edge}


@dataclass(frozen=True, kw_only=True)
class _Lane:
    """A finding above the map: its number, where it leads, and what it spans."""

    label: str
    severity: str
    lead: int
    first: int
    last: int


def _lanes(
    checkup: Checkup, findings: Sequence[Finding], direction: Direction
) -> tuple[_Lane, ...]:
    shown, found, lanes = signals(checkup), addresses(checkup), []
    for label, finding in enumerate(findings, 1):
        at = places(found, finding, shown)
        if at and (finding.kind in _BACKWARD) == (direction == "backward"):
            span = {"lead": at[0], "first": min(at), "last": max(at)}
            lanes.append(_Lane(label=str(label), severity=finding.severity, **span))
    return tuple(lanes[:_MOST_LANES])


def _marks(lanes: Sequence[_Lane], x: Mapping[str, Any], height: int) -> list[Any]:
    """A bar over the culprits of each finding, its number at the leading one."""
    import altair as alt

    if not lanes:
        return []
    rows = [
        {"x": lane.lead, "first": lane.first, "last": lane.last, "label": lane.label}
        | {"color": theme.SEVERITY[lane.severity], "top": _LANE * i + _LANE / 2 - 3}
        for i, lane in enumerate(lanes)
    ]
    color = alt.Color("color:N", scale=None)
    at_x, top = alt.X("x:Q", **x), alt.Y("top:Q", scale=None, axis=None)
    return [
        data(rows)
        .mark_rule(strokeWidth=1, strokeDash=[2, 3], opacity=0.5)
        .encode(x=at_x, y=top, y2=alt.value(height), color=color),
        data(rows)
        .mark_rule(strokeWidth=4, strokeCap="round", opacity=0.3)
        .encode(x=alt.X("first:Q", **x), x2="last:Q", y=top, color=color),
        data(rows).mark_circle(size=300, opacity=1).encode(x=at_x, y=top, color=color),
        data(rows)
        .mark_text(color=theme.ON_SEVERITY, fontWeight="bold", fontSize=11, dy=0.5)
        .encode(x=at_x, y=top, text="label:N"),
    ]


def _thinned(
    shown: Mapping[str, tuple[Signal, ...]], direction: Direction, lanes: Sequence[_Lane]
) -> set[int]:
    """Positions to draw: all of them, or an even choice with everything remarkable.

    Remarkable are the extremes, the first value that a log axis cannot show, and the findings.
    """
    longest = max(len(series) for series in shown.values())
    if longest <= MOST_POINTS:
        return set(range(1, longest + 1))
    keep = {int(p) for p in np.linspace(1, longest, MOST_POINTS)} | {lane.lead for lane in lanes}
    for series in shown.values():
        values = [(_level(s, direction).value, s.position) for s in series]
        known = [(v, p) for v, p in values if v is not None and math.isfinite(v) and v > 0]
        odd = [p for v, p in values if v is not None and not (math.isfinite(v) and v > 0)]
        keep |= {p for _, p in (min(known), max(known))} if known else set()
        keep |= set(odd[:1])
    return keep


def _lone(rows: Sequence[Mapping[str, Any]], keep: set[int]) -> list[Mapping[str, Any]]:
    """Points without a neighbour among the positions drawn: a line alone would not show them."""
    order = {position: index for index, position in enumerate(sorted(keep))}
    known = {(row["series"], order[row["x"]]) for row in rows}
    return [
        row
        for row in rows
        if not known & {(row["series"], order[row["x"]] + step) for step in (-1, 1)}
    ]


def _in_words(name: str, series: tuple[Signal, ...], direction: Direction) -> str:
    known = [_level(s, direction) for s in series if _level(s, direction).value is not None]
    if not known:
        return f"{name}: not measured."
    first, last = (number(level.value, level.error) for level in (known[0], known[-1]))
    return f"{name}: {first} at the first, {last} at the last."


def _tips(
    shown: Mapping[str, tuple[Signal, ...]], direction: Direction, keep: set[int]
) -> list[dict[str, Any]]:
    """What hovering tells: the operation's name and each run's value with its error."""
    rows: dict[int, dict[str, Any]] = {}
    for name, series in shown.items():
        for s in series:
            level = _level(s, direction)
            if s.position in keep:
                row = rows.setdefault(s.position, {"x": s.position, "name": s.name})
                value = None if level.value is None else with_error(level.value, level.error)
                row[name] = "–" if value is None else typeset(value)
    return [rows[position] for position in sorted(rows)]
