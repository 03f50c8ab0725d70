"""The pictures of an exhibit: lines, points, bars and maps, with hover and series to choose."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from firstlight.records.exhibit import Form, Picture, Series
from firstlight.reporting import theme
from firstlight.reporting.axes import (
    MAP,
    MAP_SIGNS,
    X_SIGNS,
    Y_SIGNS,
    far_ticks,
    log_labels,
    log_ticks,
    row_axis,
    word_axis,
    wrapped,
)
from firstlight.reporting.charts import Chart, data, finish
from firstlight.reporting.numbers import counted, number, typeset
from firstlight.reporting.series_styles import drawable, styles

_HEIGHT = 260
_ROW = 30
_FEW = 30
"""Points of a series up to which a line shows them."""
_TINIEST, _LARGEST = math.ulp(0.0), sys.float_info.max
CHOSEN = "chosen"
"""The parameter that holds the name of the series which the reader chose; empty: all."""

Row = dict[str, Any]


def picture_chart(picture: Picture) -> Chart:
    """A picture of numbers as a chart."""
    return _FORMS[picture.form](picture)


def _rows(picture: Picture) -> list[Row]:
    """What can be drawn, one row for each number; a logarithmic axis has no zero."""
    looks = styles(picture)
    rows: list[Row] = []
    for series in picture.series:
        look, gaps = looks[series.name], 0
        dash = [int(n) for n in look.dash.split()] or [1, 0]
        places: tuple[float | str, ...] = series.x
        for i, (x, y) in enumerate(zip(places, series.y, strict=True)):
            placed = isinstance(x, str) or drawable(x, picture.x_log)
            if not (placed and drawable(y, picture.y_log)):
                gaps += 1  # what comes after it is a line of its own
                continue
            row: Row = {
                "x": x,
                "y": y,
                "series": series.name,
                "color": look.color,
                "i": i,
                "gaps": gaps,
            }
            row |= {"dash": dash, "above": look.above, "words": typeset(number(y))}
            row["at"] = x if isinstance(x, str) else typeset(counted(x))
            rows.append(row | _ends(series, i, picture.y_log))
    return rows


def _ends(series: Series, i: int, log: bool) -> Row:
    if not series.low or not (drawable(series.low[i], log) and drawable(series.high[i], log)):
        return {"span": "–"}
    low, high = series.low[i], series.high[i]
    return {"low": low, "high": high, "span": typeset(f"{number(low)} to {number(high)}")}


def _opacity(full: float) -> Any:
    """Series that were not chosen step back."""
    import altair as alt

    return alt.condition(
        f"{CHOSEN} === '' || datum.series === {CHOSEN}", alt.value(full), alt.value(full * 0.12)
    )


def _tips(picture: Picture) -> list[Any]:
    import altair as alt

    tips = [
        alt.Tooltip("series:N", title="series" if picture.form != "map" else "row"),
        alt.Tooltip("at:N", title=picture.x_title),
        alt.Tooltip("words:N", title=picture.y_title),
    ]
    if any(series.low for series in picture.series):
        tips.append(alt.Tooltip("span:N", title="from … to"))
    return tips


def _axis(title: str | list[str], values: list[float], log: bool, **more: Any) -> dict[str, Any]:
    """Scale and axis of numbers; a logarithmic one has powers of ten."""
    import altair as alt

    scale: dict[str, Any] = {"zero": False}
    options: dict[str, Any] = {"labelOverlap": True}
    if log and values:
        low, high = min(values), max(values)
        pad = max(10.0 ** (0.03 * (math.log10(high) - math.log10(low))), 1.02)
        low, high = max(low / pad, _TINIEST), min(high * pad, _LARGEST)
        scale = {"type": "log", "domain": [low, high], "nice": False}
        ticks = log_ticks(low, high)
        options |= {"values": [v for v, _ in ticks], "labelExpr": log_labels(ticks)}
    elif values and _far(max(map(abs, values))):
        far, labels = far_ticks(min(values), max(values))
        scale = {"domain": [far[0], far[-1]], "nice": False}
        options |= {"values": far, "labelExpr": labels}
    else:
        options["tickCount"] = 5  # beside values it would thin them out
    axis = alt.Axis(title=title, domain=False, ticks=False, **(options | more))
    return {"scale": alt.Scale(**scale), "axis": axis}


def _far(largest: float) -> bool:
    """Whether plain figures would be mostly noughts, at sizes for which ticks can be counted."""
    return 1e-300 < largest < 1e-3 or 1e5 <= largest < 1e300


def _y_axis(picture: Picture, rows: list[Row]) -> dict[str, Any]:
    heights = [row[key] for row in rows for key in ("y", "low", "high") if key in row]
    return _axis(wrapped(picture.y_title, Y_SIGNS), heights, picture.y_log)


def _finish(layers: list[Any], hover: list[Any], picture: Picture, height: int) -> Chart:
    import altair as alt

    layers = [layer for layer in layers if layer.data.values]  # Vega warns of empty ones
    if layers:
        layers[0] = layers[0].add_params(alt.param(name=CHOSEN, value=""))
    return finish(layers, hover, picture.alt, height)


def _curves(picture: Picture) -> Chart:
    """Lines with bands, or points with bars of error, over a number."""
    import altair as alt

    rows = _rows(picture)
    x = _axis(
        wrapped(picture.x_title, X_SIGNS),
        [row["x"] for row in rows],
        picture.x_log,
        grid=False,
        labelFlush=True,
    )
    y = _y_axis(picture, rows)
    at = {"x": alt.X("x:Q", **x), "color": alt.Color("color:N", scale=None)}
    on = {**at, "y": alt.Y("y:Q", **y)}
    around = {**at, "y": alt.Y("low:Q", **y), "y2": "high:Q", "detail": ["series:N", "gaps:N"]}
    ends = data([row for row in rows if "low" in row])
    few = max(Counter(row["series"] for row in rows).values(), default=0) <= _FEW
    if picture.form == "lines":
        line = data(rows).mark_line(strokeWidth=2, strokeJoin="round")
        dash = alt.StrokeDash("dash:N", scale=None)
        layers = [
            ends.mark_area().encode(**around, opacity=_opacity(0.18)),
            line.encode(
                **on, detail=["series:N", "gaps:N"], strokeDash=dash, opacity=_opacity(1.0)
            ),
            # A point between two gaps is no line.
            data(rows if few else _alone(rows))
            .mark_point(filled=True, size=22)
            .encode(**on, opacity=_opacity(1.0)),
        ]
    else:
        below, above = ([r for r in rows if bool(r["above"]) == up] for up in (False, True))
        layers = [
            ends.mark_rule(strokeWidth=1.5).encode(**around, opacity=_opacity(0.6)),
            data(below).mark_point(filled=True, size=50).encode(**on, opacity=_opacity(0.9)),
            data([{**row, "size": 50 + 90 * row["above"]} for row in above])
            .mark_point(filled=False, strokeWidth=1.75)
            .encode(**on, size=alt.Size("size:Q", scale=None), opacity=_opacity(0.9)),
        ]
    hover = _near(rows, on, _tips(picture), 400 if few else 160)
    return _finish(layers, [hover], picture, _HEIGHT)


def _alone(rows: list[Row]) -> list[Row]:
    """Points whose neighbours on both sides cannot be drawn."""
    size = Counter((row["series"], row["gaps"]) for row in rows)
    return [row for row in rows if size[row["series"], row["gaps"]] == 1]


def _near(rows: list[Row], on: dict[str, Any], tips: list[Any], size: int) -> Any:
    """Points that are seen, and tell their numbers, under the pointer."""
    import altair as alt

    over = alt.selection_point(
        name="over", on="pointerover", clear="pointerout", fields=["series", "i"], empty=False
    )
    return (
        data(rows)
        .mark_point(filled=True, size=size)
        .encode(
            **on,
            opacity=alt.when(over).then(alt.value(1)).otherwise(alt.value(0)),
            tooltip=tips,
        )
        .add_params(over)
    )


def _bars(picture: Picture) -> Chart:
    """Groups of bars, one group for each word."""
    import altair as alt

    rows = _rows(picture)
    order = list(dict.fromkeys(str(x) for series in picture.series for x in series.x))
    names = [series.name for series in picture.series]
    axis = alt.Axis(domain=False, ticks=False, **word_axis(picture.x_title, order))
    at = {
        "x": alt.X("x:N", sort=order, scale=alt.Scale(paddingInner=0.25), axis=axis),
        "xOffset": alt.XOffset("series:N", sort=names, scale=alt.Scale(domain=names)),
    }
    y = _y_axis(picture, rows)
    if not picture.y_log:
        y["scale"] = alt.Scale(zero=True)
    color = alt.Color("color:N", scale=None)
    if picture.y_log:  # bars need a foot, and a logarithm has no zero: points instead
        layer = data(rows).mark_point(filled=True, size=90)
    else:
        layer = data(rows).mark_bar(cornerRadius=1)
    layers: list[Any] = [
        layer.encode(**at, y=alt.Y("y:Q", **y), color=color, opacity=_opacity(0.95)),
        data([row for row in rows if "low" in row])
        .mark_rule(strokeWidth=1.5, color=theme.INK)
        .encode(**at, y=alt.Y("low:Q", **y), y2="high:Q", opacity=_opacity(0.8)),
    ]
    hover = layer.encode(
        **at, y=alt.Y("y:Q", **y), color=color, opacity=alt.value(0), tooltip=_tips(picture)
    )
    return _finish(layers, [hover], picture, _HEIGHT)


def _map(picture: Picture) -> Chart:
    """A heat map; light to dark as the number grows, and the number is told on hover."""
    import altair as alt

    rows = _rows(picture)
    for row in rows:
        row["x"] = row["at"]
    words = [
        x if isinstance(x, str) else typeset(counted(x))
        for series in picture.series
        for x in series.x
    ]
    order = list(dict.fromkeys(words))
    names = [series.name for series in picture.series]
    plain: dict[str, Any] = {"domain": False, "ticks": False}
    at = {
        "x": alt.X(
            "x:N", sort=order, axis=alt.Axis(**word_axis(picture.x_title, order, MAP), **plain)
        ),
        "y": alt.Y("series:N", sort=names, axis=alt.Axis(**row_axis(names), **plain)),
    }
    legend: dict[str, Any] = {"orient": "top", "gradientLength": 200}
    legend |= {"title": wrapped(picture.y_title, MAP_SIGNS), "titleLimit": 0}
    scale: dict[str, Any] = {"zero": False}
    if picture.y_log and rows:
        values = [row["y"] for row in rows]
        ticks = log_ticks(min(values), max(values), most=5)
        legend |= {"values": [v for v, _ in ticks], "labelExpr": log_labels(ticks)}
        scale = {"type": "log", "nice": False}
    else:
        legend["tickCount"] = 4
    color = alt.Color(
        "y:Q", scale=alt.Scale(scheme="viridis", **scale), legend=alt.Legend(**legend)
    )
    cells = data(rows).mark_rect().encode(**at, color=color)
    hover = (
        data(rows)
        .mark_rect()
        .encode(**at, opacity=alt.value(0), fill=alt.value(theme.PAPER), tooltip=_tips(picture))
    )
    return _finish([cells], [hover], picture, max(120, _ROW * len(names)))


_FORMS: dict[Form, Callable[[Picture], Chart]] = {
    "lines": _curves,
    "points": _curves,
    "bars": _bars,
    "map": _map,
}
