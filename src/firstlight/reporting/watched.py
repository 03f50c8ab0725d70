"""A watched training in words, rows and a chapter of the page."""

from __future__ import annotations

from firstlight.records.exhibit import Picture, Series
from firstlight.records.watched import Watched
from firstlight.reporting.chapter import Chapter, Item, Table, version_line
from firstlight.reporting.exhibit_page import figure_of
from firstlight.reporting.numbers import number, typeset

HEADS = ("step", "loss", "E[z²]", "‖δ‖²", "dead", "alarms")


def verdict(watched: Watched) -> str:
    """One sentence: whether an alarm was raised, and the first one."""
    last = watched.glances[-1].step if watched.glances else 0
    if watched.healthy:
        return f"{watched.model}: no alarm in {last:,} steps."
    step, first = watched.alarms[0]
    more = len(watched.alarms) - 1
    others = f", and {more} more" if more else ""
    return f"{watched.model}: {first.kind} at step {step:,} in {first.where[0]}{others}."


def rows(watched: Watched) -> list[tuple[str, ...]]:
    """One row for each glance."""
    return [
        (
            f"{glance.step:,}",
            "–" if glance.loss is None else number(glance.loss),
            _span(glance.forward),
            _span(glance.backward),
            f"{glance.dead:.0%}",
            ", ".join(dict.fromkeys(f.kind for f in glance.alarms)) or "–",
        )
        for glance in watched
    ]


def _span(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{number(ends[0], digits=2)}…{number(ends[1], digits=2)}"


def _picture(watched: Watched) -> Picture:
    seen = [glance for glance in watched if glance.forward and glance.backward]
    steps = tuple(float(glance.step) for glance in seen)
    lines = (
        ("E[z²], highest", [g.forward[1] for g in seen if g.forward]),
        ("E[z²], lowest", [g.forward[0] for g in seen if g.forward]),
        ("‖δ‖², highest", [g.backward[1] for g in seen if g.backward]),
        ("‖δ‖², lowest", [g.backward[0] for g in seen if g.backward]),
    )
    return Picture(
        title="Signal and gradient while training",
        alt="Highest and lowest second moment and squared gradient over the operations, by step.",
        form="lines",
        series=tuple(Series(name=name, x=steps, y=tuple(values)) for name, values in lines),
        x_title="step",
        y_title="over the operations",
        y_log=True,
    )


def watched_chapter(watched: Watched, findings: tuple[Item, ...]) -> Chapter:
    """The verdict, the alarms, the picture and the table."""
    drawn = len(watched.glances) > 1 and all(
        ends and min(ends) > 0 for g in watched for ends in (g.forward, g.backward)
    )
    return Chapter(
        title=f"{watched.model}: its first steps",
        verdict=verdict(watched),
        healthy=watched.healthy,
        findings=findings,
        exhibit=(figure_of(_picture(watched)),) if drawn else (),
        measured=Table(
            caption=f"Every {watched.every:,} steps",
            heads=HEADS,
            rows=tuple(tuple(map(typeset, row)) for row in rows(watched)),
            numeric=(1, 2, 3, 4),
            code=(),
        ),
        made=(version_line(),),
    )
