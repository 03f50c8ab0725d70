"""The pictures of a race: each start's score with every seed, and the learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.records.race import Race, Start
from firstlight.reporting import theme, wording
from firstlight.reporting.charts import Chart, data, finish, hover_strips
from firstlight.reporting.numbers import number

_ROW = 60
_BLOCKS = 100
"""Blocks of steps on a learning curve: enough for the eye, small in the file."""


def colors(race: Race) -> dict[str, str]:
    """The colour of each start, by label."""
    return theme.series_colors([race.label(start) for start in race.starts])


def race_chart(race: Race) -> Chart:
    """Each start's mean score with its interval, every seed as a point, the line of guessing."""
    import altair as alt

    percent, height = wording.in_percent(race), _ROW * len(race.starts)
    means, seeds, names = _means(race), _seeds(race), _names(race)
    edges = [row["x"] for row in seeds] + [row[k] for row in means for k in ("low", "high")]
    edges += [] if race.chance is None else [race.chance]
    x: dict[str, Any] = {
        "scale": alt.Scale(
            domain=[0.0, 1.0] if percent else _around(edges), nice=False, clamp=True
        ),
        "axis": alt.Axis(
            title=race.score_name,
            format=".0%" if percent else "",
            tickCount=5,
            domain=False,
            ticks=False,
            labelFlush=True,
        ),
    }
    at_x, y = alt.X("x:Q", **x), alt.Y("y:Q", scale=None, axis=None)
    color = alt.Color("color:N", scale=None)
    chance = [] if race.chance is None else [{"x": race.chance}]
    layers = [
        data(chance)
        .mark_rule(strokeDash=[4, 4], strokeWidth=1.5, color=theme.MUTED)
        .encode(x=at_x),
        data(means)
        .mark_rule(strokeWidth=8, strokeCap="round", opacity=0.35)
        .encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=color),
        data(means)
        .mark_point(filled=True, size=80, opacity=1, stroke=theme.PAPER, strokeWidth=1.5)
        .encode(x=at_x, y=y, color=color),
        data(seeds).mark_circle(size=40, opacity=0.5).encode(x=at_x, y=y, color=color),
        # A halo keeps names legible where they cross a line of the grid.
        data(names)
        .mark_text(align="left", baseline="middle", fontWeight=600, fontSize=13, limit=200)
        .encode(
            x=alt.value(0),
            y=y,
            text="start:N",
            stroke=alt.value(theme.PAPER),
            strokeWidth=alt.value(5),
        ),
        data(names)
        .mark_text(align="left", baseline="middle", fontWeight=600, fontSize=13, limit=200)
        .encode(x=alt.value(0), y=y, text="start:N"),
        data(names)
        .mark_text(align="right", baseline="middle", fontSize=13)
        .encode(x=alt.value("width"), y=y, text="words:N"),
    ]
    start = alt.Tooltip("start:N")
    score = alt.Tooltip("x:Q", title="score", format=".1%" if percent else ".4g")
    hover = [
        data(means)
        .mark_point(filled=True, size=500, opacity=0)
        .encode(x=at_x, y=y, tooltip=[start, alt.Tooltip("words:N", title="mean, 95 % interval")]),
        data(seeds)
        .mark_point(filled=True, size=90, opacity=0)
        .encode(x=at_x, y=y, tooltip=[start, alt.Tooltip("seed:N"), score]),
    ]
    told = "; ".join(f"{race.label(s)}: {wording.start_score(race, s)}" for s in race.starts)
    return finish(layers, hover, f"{race.score_name} of each start: {told}.", height)


def _names(race: Race) -> list[dict[str, Any]]:
    return [
        {"start": race.label(s), "words": wording.start_score(race, s), "y": _ROW * i + 16}
        for i, s in enumerate(race.starts)
    ]


def _means(race: Race) -> list[dict[str, Any]]:
    rows, chosen = [], colors(race)
    for i, start in enumerate(race.starts):
        if math.isfinite(start.mean):
            ends = start.interval if all(map(math.isfinite, start.interval)) else (start.mean,) * 2
            label = race.label(start)
            row: dict[str, Any] = {"start": label, "color": chosen[label]}
            row |= {"x": start.mean, "low": ends[0], "high": ends[1], "y": _ROW * i + 34}
            rows.append(row | {"words": wording.start_score(race, start)})
    return rows


def _seeds(race: Race) -> list[dict[str, Any]]:
    """Every seed as a point just under its start's mean."""
    chosen = colors(race)
    return [
        {"start": race.label(start), "color": chosen[race.label(start)], "y": _ROW * i + 48}
        | {"x": run.score, "seed": run.seed}
        for i, start in enumerate(race.starts)
        for run in start.runs
        if math.isfinite(run.score)
    ]


def _around(values: Sequence[float]) -> list[float]:
    """A linear domain with some air around the data."""
    if not values:
        return [0.0, 1.0]
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or abs(high) or 1.0
    return [low - air, high + air]


def learning_chart(race: Race) -> Chart:
    """Training loss over steps: mean with its bootstrap interval.

    (Races saved before there was one: the median, and the band of the middle 80 %.)
    """
    import altair as alt

    rows: list[dict[str, Any]] = []
    tips: dict[int, dict[str, Any]] = {}
    chosen, ceiling = colors(race), _ceiling(race)
    keys = {race.label(s): f"s{i}" for i, s in enumerate(race.starts)}
    for start in race.starts:
        curve = _curve(start, race.steps, ceiling)
        for step, low, middle, high in zip(*(c.tolist() for c in curve), strict=True):
            at = {"x": step, "low": low, "y": middle, "high": high}
            label = race.label(start)
            rows.append(at | {"start": label, "color": chosen[label]})
            tips.setdefault(step, {"x": step})[keys[label]] = number(middle)
    lowest = min((row["low"] for row in rows), default=0.0)
    log = 0 < lowest < ceiling / 40
    axis = alt.Axis(title="training loss", tickCount=5, domain=False, ticks=False)
    y: dict[str, Any] = {
        "scale": alt.Scale(type="log" if log else "linear", zero=not log),
        "axis": axis,
    }
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[0, max(1, race.steps)], nice=False),
        "axis": alt.Axis(title="optimizer step", grid=False, tickCount=6, format="d"),
    }
    at_x = alt.X("x:Q", **x)
    color = alt.Color("color:N", scale=None)
    layers = [
        data(rows)
        .mark_area(opacity=0.18)
        .encode(x=at_x, y=alt.Y("low:Q", **y), y2="high:Q", color=color),
        data(rows).mark_line(strokeWidth=2).encode(x=at_x, y=alt.Y("y:Q", **y), color=color),
    ]
    titles = {"x": "step"} | {key: name for name, key in keys.items()}
    description = f"Training loss over {race.steps} steps for {', '.join(chosen)}."
    return finish(
        layers, [hover_strips([tips[step] for step in sorted(tips)], x, titles)], description, 220
    )


def _ceiling(race: Race) -> float:
    """Where a diverging loss is cut off: twice the highest loss that any start begins with."""
    first = [run.losses[0] for start in race.starts for run in start.runs if run.losses]
    finite = [loss for loss in first if math.isfinite(loss) and loss > 0]
    return 2 * max(finite) if finite else 1.0


def _curve(
    start: Start, steps: int, ceiling: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Blocks of steps: their middles, and the 10 %, 50 % and 90 % quantiles over the seeds.

    Each seed's loss is averaged within a block, which takes out the noise of single batches.
    A diverged run stays at the ceiling, so that it counts against its start.
    """
    if start.loss_curve is not None:
        own = start.loss_curve
        mean, low, high = (
            np.minimum(np.nan_to_num(np.asarray(part), nan=ceiling, posinf=ceiling), ceiling)
            for part in (own.mean, own.low, own.high)
        )
        # One seed has no interval.
        known = np.isfinite(np.asarray(own.low))
        return np.asarray(own.steps), np.where(known, low, mean), mean, np.where(known, high, mean)
    runs = [run.losses for run in start.runs if run.losses]
    if not runs:
        return (np.empty(0),) * 4
    diverged = any(run.diverged for run in start.runs)
    length = max(1, steps if diverged else min(steps, max(map(len, runs))))
    losses = np.full((len(runs), length), ceiling)
    for row, run in zip(losses, runs, strict=True):
        known = np.nan_to_num(np.asarray(run[:length], dtype=np.float64), nan=ceiling)
        row[: len(known)] = np.minimum(known, ceiling)
    blocks = np.array_split(np.arange(length), min(length, _BLOCKS))
    means = np.stack([losses[:, block].mean(axis=1) for block in blocks], axis=1)
    low, middle, high = np.quantile(means, [0.1, 0.5, 0.9], axis=0)
    return np.array([int(block[len(block) // 2]) for block in blocks]), low, middle, high
