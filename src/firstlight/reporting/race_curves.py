"""More pictures of a race: the held-out score along the steps, and the paired differences."""

from __future__ import annotations

import math
from typing import Any

from firstlight.records.race import Race
from firstlight.reporting import theme, wording
from firstlight.reporting.charts import Chart, data, finish, hover_strips
from firstlight.reporting.numbers import number
from firstlight.reporting.race_charts import colors
from firstlight.reporting.race_words import difference_words, pair_words, shown_pairs

_ROW = 46


def has_curves(race: Race) -> bool:
    """Whether the score was taken on the way."""
    return any(start.curve and len(start.curve.steps) > 1 for start in race.starts)


def score_chart(race: Race) -> Chart:
    """Mean held-out score at the looks with its bootstrap interval, and the target's line."""
    import altair as alt

    percent, chosen = wording.in_percent(race), colors(race)
    rows: list[dict[str, Any]] = []
    tips: dict[int, dict[str, Any]] = {}
    titles = {"x": "step"}
    for place, start in enumerate(race.starts):
        if start.curve is None:
            continue
        label = race.label(start)
        titles[f"s{place}"] = label
        curve = start.curve
        for step, mean, low, high in zip(
            curve.steps, curve.mean, curve.low, curve.high, strict=True
        ):
            if not math.isfinite(mean):
                continue
            known = math.isfinite(low) and math.isfinite(high)
            ends = {"low": low, "high": high} if known else {"low": mean, "high": mean}
            rows.append({"x": step, "y": mean, "start": label, "color": chosen[label], **ends})
            told = f"{100 * mean:.1f} %" if percent else number(mean)
            tips.setdefault(step, {"x": step})[f"s{place}"] = told
    y: dict[str, Any] = {
        "scale": alt.Scale(domain=[0.0, 1.0]) if percent else alt.Scale(zero=False),
        "axis": alt.Axis(
            title=race.score_name,
            format=".0%" if percent else "",
            tickCount=5,
            domain=False,
            ticks=False,
        ),
    }
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[0, max(1, race.steps)], nice=False),
        "axis": alt.Axis(title="optimizer step", grid=False, tickCount=6, format="d"),
    }
    at_x, at_y, color = alt.X("x:Q", **x), alt.Y("y:Q", **y), alt.Color("color:N", scale=None)
    lines = [start.reach.target for start in race.starts if start.reach][:1]
    lines += [] if race.chance is None else [race.chance]
    detail = alt.Detail("start:N")
    layers = [
        data([{"y": line} for line in lines])
        .mark_rule(strokeDash=[4, 4], strokeWidth=1.5, color=theme.MUTED)
        .encode(y=at_y),
        data(rows)
        .mark_area(opacity=0.18)
        .encode(x=at_x, y=alt.Y("low:Q", **y), y2="high:Q", color=color, detail=detail),
        data(rows).mark_line(strokeWidth=2).encode(x=at_x, y=at_y, color=color, detail=detail),
        data(rows).mark_circle(size=24, opacity=1).encode(x=at_x, y=at_y, color=color),
    ]
    description = f"{race.score_name} over {race.steps} steps for {', '.join(chosen)}."
    return finish(
        layers, [hover_strips([tips[step] for step in sorted(tips)], x, titles)], description, 220
    )


def difference_chart(race: Race) -> Chart:
    """Every pair's mean difference with its 95 % interval; filled where a difference is seen."""
    import altair as alt

    percent, pairs = wording.in_percent(race), shown_pairs(race)
    rows = []
    for place, pair in enumerate(pairs):
        row: dict[str, Any] = {
            "pair": pair_words(race, pair),
            "words": difference_words(race, pair),
            "seen": "yes" if pair.different else "no",
            "p": f"{pair.p_holm:.2g}",
            "color": theme.AFTER if pair.different else theme.MUTED,
            "y": _ROW * place + 34,
            "top": _ROW * place + 14,
        }
        if math.isfinite(pair.difference):
            ends = pair.interval if all(map(math.isfinite, pair.interval)) else None
            low, high = ends or (pair.difference, pair.difference)
            row |= {"x": pair.difference, "low": low, "high": high}
        rows.append(row)
    drawn = [row for row in rows if "x" in row]
    furthest = max((abs(row[end]) for row in drawn for end in ("low", "high")), default=0.0)
    domain = [-1.1 * (furthest or 1.0), 1.1 * (furthest or 1.0)]
    unit = 100 if percent else 1
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[end * unit for end in domain], nice=False),
        "axis": alt.Axis(
            title=f"difference of {race.score_name}" + (" in points" if percent else ""),
            tickCount=5,
            domain=False,
            ticks=False,
        ),
    }
    for row in drawn:
        row |= {key: row[key] * unit for key in ("x", "low", "high")}
    at_x, y = alt.X("x:Q", **x), alt.Y("y:Q", scale=None, axis=None)
    top, color = alt.Y("top:Q", scale=None, axis=None), alt.Color("color:N", scale=None)
    halo = {"stroke": alt.value(theme.PAPER), "strokeWidth": alt.value(5)}
    left = data(rows).mark_text(align="left", baseline="middle", limit=260)
    right = data(rows).mark_text(align="right", baseline="middle")
    layers = [
        data([{"x": 0}]).mark_rule(strokeWidth=1.5, color=theme.MUTED).encode(x=at_x),
        data(drawn)
        .mark_rule(strokeWidth=6, strokeCap="round", opacity=0.4)
        .encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=color),
        data(drawn).mark_point(filled=True, size=70, opacity=1).encode(x=at_x, y=y, color=color),
        left.encode(x=alt.value(0), y=top, text="pair:N", **halo),
        left.encode(x=alt.value(0), y=top, text="pair:N"),
        right.encode(x=alt.value("width"), y=top, text="words:N", **halo),
        right.encode(x=alt.value("width"), y=top, text="words:N"),
    ]
    hover = [
        data(drawn)
        .mark_point(filled=True, size=500, opacity=0)
        .encode(
            x=at_x,
            y=y,
            tooltip=[
                alt.Tooltip("pair:N"),
                alt.Tooltip("words:N", title="difference, 95 %"),
                alt.Tooltip("p:N", title="p (Holm)"),
                alt.Tooltip("seen:N", title="difference seen"),
            ],
        )
    ]
    told = "; ".join(f"{row['pair']}: {row['words']}" for row in rows)
    return finish(layers, hover, f"Paired differences: {told}.", max(_ROW * len(rows), _ROW))
