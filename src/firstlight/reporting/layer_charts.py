"""Four small charts of one layer: distribution, units, cosines, singular values.

Each is drawn of a layer's rows and redrawn of another's, so that a page holds four charts and the
numbers of all layers, not four charts for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from firstlight.records.detail import BINS, COSINE_BINS, Detail
from firstlight.reporting.charts import Chart, data, finish

_HEIGHT, _STILL = 130, 400

Columns = dict[str, list[float]]

PLACES = ("x", "x2")
"""Columns that are the same for each layer, as far as its rows go."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of the four.

    Args:
        heading: above it.
        columns: the rows of a detail, by column.
        draw: layers of the chart over rows.
    """

    heading: str
    columns: Callable[[Detail], Columns]
    draw: Callable[[Sequence[Mapping[str, Any]]], list[Any]]


def _bins(shares: Sequence[float], low: float, high: float) -> Columns:
    width = (high - low) / max(1, len(shares))
    edges = [round(low + i * width, 4) for i in range(len(shares) + 1)]
    return {"x": edges[:-1], "x2": edges[1:], "y": list(shares)} if shares else {}


def _distribution(detail: Detail) -> Columns:
    return _bins(detail.histogram, -BINS / 8, BINS / 8)


def _cosines(detail: Detail) -> Columns:
    return _bins(detail.cosines, -1.0, 1.0) if len(detail.cosines) == COSINE_BINS else {}


def _units(detail: Detail) -> Columns:
    pairs = list(zip(detail.unit_means, detail.unit_stds, strict=True))
    return {
        "x": [float(i) for i in range(1, len(pairs) + 1)],
        "y": [mean for mean, _ in pairs],
        "low": [round(mean - std, 5) for mean, std in pairs],
        "high": [round(mean + std, 5) for mean, std in pairs],
    }


def _singular(detail: Detail) -> Columns:
    values = list(detail.singular_values)
    return {"x": [float(i) for i in range(1, len(values) + 1)], "y": values}


def _bars(
    low: float, high: float, title: str
) -> Callable[[Sequence[Mapping[str, Any]]], list[Any]]:
    def draw(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        import altair as alt

        x = alt.X("x:Q", scale=alt.Scale(domain=[low, high]), axis=_axis(title, tickCount=5))
        bars = data(rows).mark_bar(opacity=0.45, binSpacing=0.5)
        return [
            bars.encode(
                x=x,
                x2="x2:Q",
                y=alt.Y("y:Q", stack=None, axis=_axis(None, format="%", tickCount=3)),
                y2=alt.datum(0),
                color=alt.Color("color:N", scale=None),
                tooltip=[
                    alt.Tooltip("series:N", title=" "),
                    alt.Tooltip("x:Q", title="from"),
                    alt.Tooltip("x2:Q", title="to"),
                    alt.Tooltip("y:Q", title="share", format=".1%"),
                ],
            )
        ]

    return draw


def _points(title: str, y_title: str, *, spread: bool) -> Callable[..., list[Any]]:
    def draw(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        import altair as alt

        domain: dict[str, Any] = {} if spread else {"domain": [0, 1]}
        x = alt.X(
            "x:Q", scale=alt.Scale(nice=False, zero=False, padding=8), axis=_axis(title, grid=False)
        )
        y = alt.Y("y:Q", scale=alt.Scale(**domain), axis=_axis(None, tickCount=3))
        color = alt.Color("color:N", scale=None)
        tips = [alt.Tooltip("series:N", title=" "), alt.Tooltip("x:Q", title=title)]
        tips += [alt.Tooltip("y:Q", title=y_title, format=".3~g")]
        dots = data(rows).mark_circle(size=28, opacity=0.9)
        layers = [dots.encode(x=x, y=y, color=color, tooltip=tips)]
        if spread:
            rules = data(rows).mark_rule(strokeWidth=2, opacity=0.4)
            layers.insert(0, rules.encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=color))
        return layers

    return draw


def _axis(title: str | None, **more: Any) -> Any:
    import altair as alt

    return alt.Axis(title=title, labelFlush=False, **more)


PANELS = (
    Panel(
        heading="Distribution of its values",
        columns=_distribution,
        draw=_bars(-BINS / 8, BINS / 8, "value, in RMS"),
    ),
    Panel(
        heading="Units: mean ± standard deviation",
        columns=_units,
        draw=_points("unit", "mean, in RMS", spread=True),
    ),
    Panel(
        heading="Cosines between samples (or tokens)",
        columns=_cosines,
        draw=_bars(-1.0, 1.0, "cosine"),
    ),
    Panel(
        heading="Singular values",
        columns=_singular,
        draw=_points("singular value, by size", "share of the norm", spread=False),
    ),
)
"""In the order of the page."""


def rows_of(panel: Panel, shown: Mapping[str, Detail], colors: Mapping[str, str]) -> list[Any]:
    """The rows of a chart: each series' columns, side by side."""
    return list(
        chain.from_iterable(
            [
                {**dict(zip(columns, values, strict=True)), "series": name, "color": colors[name]}
                for values in zip(*columns.values(), strict=True)
            ]
            for name, columns in ((n, panel.columns(d)) for n, d in shown.items())
        )
    )


def panel_chart(
    panel: Panel, shown: Mapping[str, Detail], colors: Mapping[str, str], description: str
) -> Chart:
    """A panel as it stands before another layer is chosen."""
    layers = panel.draw(rows_of(panel, shown, colors))
    return finish(layers, (), description, _HEIGHT, _STILL)
