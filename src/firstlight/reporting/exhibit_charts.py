"""The pictures of an exhibit: lines, points, bars and maps, with hover and series to choose."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from firstlight.records.exhibit import Form, Picture, Series
from firstlight.reporting import theme
from firstlight.reporting.charts import Chart, data, finish
from firstlight.reporting.numbers import counted, number

_HEIGHT = 260
_ROW = 30
CHOSEN = "chosen"
"""The parameter that holds the name of the series which the reader chose; empty: all."""


def colors(picture: Picture) -> dict[str, str]:
    """The colour of each series; beyond the sixth they come again, dashed."""
    return {
        series.name: theme.SERIES[i % len(theme.SERIES)] for i, series in enumerate(picture.series)
    }


def dashed(picture: Picture) -> dict[str, bool]:
    """Whether a series is drawn dashed, having the colour of an earlier one."""
    return {series.name: i >= len(theme.SERIES) for i, series in enumerate(picture.series)}


def picture_chart(picture: Picture) -> Chart:
    """A picture of numbers as a chart."""
    return _FORMS[picture.form](picture)


def _rows(picture: Picture) -> list[dict[str, Any]]:
    """What can be drawn, one row for each number; a logarithmic axis has no zero."""
    chosen, dashes = colors(picture), dashed(picture)
    rows: list[dict[str, Any]] = []
    for series in picture.series:
        for i, (x, y) in enumerate(zip(_places(series), series.y, strict=True)):
            if not _drawable(y, picture.y_log):
                continue
            if not isinstance(x, str) and not _drawable(x, picture.x_log):
                continue
            row = {"x": x, "y": y, "series": series.name, "color": chosen[series.name]}
            row |= {"dash": dashes[series.name], "words": number(y), "i": i}
            row["at"] = x if isinstance(x, str) else counted(x)
            rows.append(row | _ends(series, i, picture.y_log))
    return rows


def _places(series: Series) -> tuple[float | str, ...]:
    return series.x


def _ends(series: Series, i: int, log: bool) -> dict[str, Any]:
    if not series.low or not (_drawable(series.low[i], log) and _drawable(series.high[i], log)):
        return {}
    low, high = series.low[i], series.high[i]
    return {"low": low, "high": high, "span": f"{number(low)} to {number(high)}"}


def _drawable(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)


def _opacity(full: float) -> Any:
    """Series that were not chosen step back."""
    import altair as alt

    return alt.condition(
        f"{CHOSEN} === '' || datum.series === {CHOSEN}", alt.value(full), alt.value(full * 0.12)
    )


def _tips(picture: Picture) -> list[Any]:
    import altair as alt

    tips = [
        alt.Tooltip("series:N", title="series"),
        alt.Tooltip("at:N", title=picture.x_title),
        alt.Tooltip("words:N", title=picture.y_title),
    ]
    if any(series.low for series in picture.series):
        tips.append(alt.Tooltip("span:N", title="from … to"))
    return tips


def _axis(title: str, log: bool, **more: Any) -> dict[str, Any]:
    import altair as alt

    kind = {"type": "log"} if log else {"zero": False}
    return {
        "scale": alt.Scale(**kind),
        "axis": alt.Axis(
            title=title, tickCount=5, domain=False, ticks=False, labelOverlap=True, **more
        ),
    }


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
    at_x = alt.X("x:Q", **_axis(picture.x_title, picture.x_log, grid=False, labelFlush=True))
    y = _axis(picture.y_title, picture.y_log)
    color, at_y = alt.Color("color:N", scale=None), alt.Y("y:Q", **y)
    ends = data([row for row in rows if "low" in row])
    layers: list[Any] = []
    if picture.form == "lines":
        layers += [
            ends.mark_area().encode(
                x=at_x, y=alt.Y("low:Q", **y), y2="high:Q", color=color, opacity=_opacity(0.18)
            ),
            data(rows)
            .mark_line(strokeWidth=2)
            .encode(
                x=at_x,
                y=at_y,
                color=color,
                detail="series:N",
                strokeDash=alt.condition("datum.dash", alt.value([6, 3]), alt.value([1, 0])),
                opacity=_opacity(1.0),
            ),
        ]
    else:
        layers += [
            ends.mark_rule(strokeWidth=1.5).encode(
                x=at_x, y=alt.Y("low:Q", **y), y2="high:Q", color=color, opacity=_opacity(0.6)
            ),
            data(rows)
            .mark_point(filled=True, size=50)
            .encode(x=at_x, y=at_y, color=color, opacity=_opacity(0.9)),
        ]
    return _finish(layers, [_near(rows, at_x, at_y, _tips(picture))], picture, _HEIGHT)


def _near(rows: list[dict[str, Any]], x: Any, y: Any, tips: list[Any]) -> Any:
    """Points that are seen, and tell their numbers, under the pointer."""
    import altair as alt

    over = alt.selection_point(
        name="over", on="pointerover", clear="pointerout", fields=["series", "i"], empty=False
    )
    return (
        data(rows)
        .mark_point(filled=True, size=160)
        .encode(
            x=x,
            y=y,
            color=alt.Color("color:N", scale=None),
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
    at = {
        "x": alt.X(
            "x:N",
            sort=order,
            scale=alt.Scale(paddingInner=0.25),
            axis=alt.Axis(
                title=picture.x_title, domain=False, ticks=False, labelAngle=0, labelOverlap=True
            ),
        ),
        "xOffset": alt.XOffset("series:N", sort=names, scale=alt.Scale(domain=names)),
    }
    y = _axis(picture.y_title, picture.y_log)
    if not picture.y_log:
        y["scale"] = alt.Scale(zero=True)
    color = alt.Color("color:N", scale=None)
    mark: dict[str, Any] = {"cornerRadius": 1}
    if picture.y_log:  # bars need a foot, and a logarithm has no zero: points instead
        layer = data(rows).mark_point(filled=True, size=90)
    else:
        layer = data(rows).mark_bar(**mark)
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
    order = list(dict.fromkeys(row["at"] for row in rows))
    names = [series.name for series in picture.series]
    plain: dict[str, Any] = {"domain": False, "ticks": False}
    at = {
        "x": alt.X(
            "x:N",
            sort=order,
            axis=alt.Axis(title=picture.x_title, labelAngle=0, labelOverlap=True, **plain),
        ),
        "y": alt.Y("series:N", sort=names, axis=alt.Axis(title=None, labelLimit=140, **plain)),
    }
    scale = alt.Scale(scheme="viridis", **({"type": "log"} if picture.y_log else {"zero": False}))
    legend = alt.Legend(title=picture.y_title, orient="top", gradientLength=180, tickCount=4)
    cells = data(rows).mark_rect().encode(**at, color=alt.Color("y:Q", scale=scale, legend=legend))
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
