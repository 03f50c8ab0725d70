"""The pictures of a prediction: the phase diagram, and what travels through the depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from firstlight.records.prediction import PhaseDiagram, Prediction
from firstlight.reporting import theme
from firstlight.reporting.charts import Chart, data, finish, hover_strips
from firstlight.reporting.numbers import number, typeset
from firstlight.reporting.signal import Scale
from firstlight.reporting.signal_map import decades

ORDERED, CHAOTIC = theme.AFTER, theme.BEFORE
FORWARD, BACKWARD = theme.AFTER, theme.BEFORE
UNRELATED, ALIKE = theme.AFTER, theme.SERIES[2]

_HEIGHT, _LINES = 300, 200
_STRONGEST = 0.5
"""Opacity of a cell whose χ₁ is e or more away from one."""


def phase_chart(said: Prediction) -> Chart:
    """χ₁ over (σ_w², σ_b²): ordered and chaotic, the edge between them, and where this start is."""
    import altair as alt

    phase = said.phase
    widths, heights = _bounds(phase.sigma_w2), _bounds(phase.sigma_b2)
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[widths[0], widths[-1]], nice=False),
        "axis": alt.Axis(title="σ_w² (fan_in × variance of the weights)", grid=False, tickCount=6),
    }
    y: dict[str, Any] = {
        "scale": alt.Scale(domain=[heights[0], heights[-1]], nice=False),
        "axis": alt.Axis(title="σ_b² (variance of the biases)", grid=False, tickCount=5),
    }
    cells = [
        {"left": left, "right": right, "low": low, "high": high}
        | {"color": CHAOTIC if chi > 1 else ORDERED, "opacity": _opacity(chi)}
        | {"chi": typeset(number(chi)), "q": _length(q), "w": number(w), "b": number(b)}
        for (low, high), b, row, lengths in zip(
            pairwise(heights), phase.sigma_b2, phase.chi, phase.fixed_length, strict=True
        )
        for (left, right), w, chi, q in zip(
            pairwise(widths), phase.sigma_w2, row, lengths, strict=True
        )
    ]
    edge = [{"x": w, "y": b, "order": i} for i, (w, b, _) in enumerate(phase.edge)]
    here = [{"x": said.sigma_w2, "y": said.sigma_b2, "words": "this start"}]
    at_x, at_y = alt.X("x:Q", **x), alt.Y("y:Q", **y)
    area = {
        "x": alt.X("left:Q", **x),
        "x2": "right:Q",
        "y": alt.Y("low:Q", **y),
        "y2": "high:Q",
    }
    layers = [
        data(cells)
        .mark_rect(strokeWidth=0)
        .encode(
            **area,
            fill=alt.Fill("color:N", scale=None),
            opacity=alt.Opacity("opacity:Q", scale=None),
        ),
        data(edge)
        .mark_line(strokeWidth=2.5, color=theme.INK, strokeJoin="round")
        .encode(x=at_x, y=at_y, order="order:Q"),
        data(here)
        .mark_point(filled=True, size=110, opacity=1, stroke=theme.PAPER, strokeWidth=2)
        .encode(x=at_x, y=at_y, color=alt.value(theme.INK)),
        data(here)
        .mark_text(align="left", dx=10, dy=-10, fontWeight=600, fontSize=13)
        .encode(
            x=at_x,
            y=at_y,
            text="words:N",
            stroke=alt.value(theme.PAPER),
            strokeWidth=alt.value(4),
        ),
        data(here)
        .mark_text(align="left", dx=10, dy=-10, fontWeight=600, fontSize=13)
        .encode(x=at_x, y=at_y, text="words:N"),
    ]
    titles = {"w": "σ_w²", "b": "σ_b²", "chi": "χ₁", "q": "fixed length q*"}
    hover = [
        data(cells)
        .mark_rect(opacity=0)
        .encode(**area, tooltip=[alt.Tooltip(f"{k}:N", title=t) for k, t in titles.items()])
    ]
    told = (
        f"Phase diagram of {said.activation}: χ₁ over σ_w² and σ_b². This start lies at"
        f" {number(said.sigma_w2)}, {number(said.sigma_b2)}, where χ is {number(said.chi)}."
    )
    return finish(layers, hover, told, _HEIGHT)


def _bounds(middles: Sequence[float]) -> list[float]:
    """Edges of cells around evenly spaced middles; none below zero."""
    half = (middles[1] - middles[0]) / 2
    return [max(0.0, m - half) for m in middles] + [middles[-1] + half]


def _opacity(chi: float) -> float:
    away = 1.0 if chi <= 0 else min(1.0, abs(math.log(chi)))
    return round(_STRONGEST * away, 3)


def _length(q: float) -> str:
    if math.isinf(q):
        return "grows without bound"
    return "0, the signal dies" if q == 0 else typeset(number(q))


def key_of_phases(phase: PhaseDiagram) -> tuple[tuple[str, str, bool], ...]:
    """The key to the diagram."""
    found = (
        ("ordered: gradients vanish", ORDERED, False),
        ("chaotic: gradients explode", CHAOTIC, False),
    )
    return (*found, ("edge of chaos", theme.INK, False)) if phase.edge else found


def travel_chart(said: Prediction) -> Chart:
    """Second moment and ‖δ‖² over depth, on a log axis."""
    path = said.profile
    return _lines(
        path.layers,
        {"second moment": (path.second_moment, FORWARD), "‖δ‖²": (path.delta_square, BACKWARD)},
        log=True,
        description="Second moment of the signal, and ‖δ‖² over that of the last layer",
    )


def correlation_chart(said: Prediction) -> Chart:
    """The correlation of two inputs over depth, from 0 and from 0.9."""
    path = said.profile
    return _lines(
        path.layers,
        {"from 0": (path.unrelated, UNRELATED), "from 0.9": (path.alike, ALIKE)},
        log=False,
        description="Correlation of two inputs",
    )


def _lines(
    layers: Sequence[int],
    series: dict[str, tuple[tuple[float, ...], str]],
    *,
    log: bool,
    description: str,
) -> Chart:
    import altair as alt

    scale = Scale.over([v for values, _ in series.values() for v in values])
    floor, ceiling = 10.0**scale.low, 10.0**scale.high
    rows = [
        {"x": layer, "y": min(max(value, floor), ceiling) if log else value}
        | {"series": name, "color": color}
        for name, (values, color) in series.items()
        for layer, value in zip(layers, values, strict=True)
        if math.isfinite(value) or log
    ]
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[1, max(2, layers[-1])], nice=False, padding=14),
        "axis": alt.Axis(title="layer", grid=False, tickCount=7, format="d"),
    }
    y: dict[str, Any] = {
        "scale": alt.Scale(type="log", domain=[floor, ceiling], nice=False)
        if log
        else alt.Scale(domain=[0, 1], nice=False),
        "axis": decades(scale) if log else alt.Axis(title=None, tickCount=5, domain=False),
    }
    drawn = data(rows).encode(
        x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y), color=alt.Color("color:N", scale=None)
    )
    marks = [drawn.mark_line(strokeWidth=2.25) if len(layers) > 1 else drawn.mark_circle(size=70)]
    keys = {name: f"s{i}" for i, name in enumerate(series)}
    tips = [
        {"x": layer, "layer": f"{layer:,}"}
        | {keys[name]: typeset(number(values[i])) for name, (values, _) in series.items()}
        for i, layer in enumerate(layers)
    ]
    titles = {"layer": "layer"} | {key: name for name, key in keys.items()}
    ends = "; ".join(
        f"{name}: {number(values[0])} at the first layer, {number(values[-1])} at the last"
        for name, (values, _) in series.items()
    )
    return finish(marks, [hover_strips(tips, x, titles)], f"{description}. {ends}.", _LINES)
