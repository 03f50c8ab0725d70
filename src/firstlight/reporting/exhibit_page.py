"""An exhibit as a chapter of a page, and as rows for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from firstlight.records.exhibit import Exhibit, Grid, Measurement, Picture
from firstlight.reporting.chapter import Chapter, Figure, Table, version_line
from firstlight.reporting.exhibit_charts import picture_chart
from firstlight.reporting.numbers import counted, number, typeset
from firstlight.reporting.series_styles import styles

_SHORT = 28
"""Signs of a cell up to which a table stays a table on a phone, where sentences are stacked."""

HEADS = ("measured", "value", "the claim needs", "so")

_PLURALS = frozenset(("decades", "layers", "points", "seeds", "starts", "steps", "units"))
"""Units that are one step, and two steps."""

_FEW_NOTED = 3
"""Measurements that decide nothing up to which they stand with the others."""


def exhibit_chapter(shown: Exhibit) -> Chapter:
    """All that an exhibit has to say."""
    decided, noted = _split(shown)
    return Chapter(
        title=shown.title,
        lead=shown.claim,
        verdict=f"The claim {shown.verdict}. {typeset(shown.conditions)}",
        badge=shown.verdict,
        measured=_measured("What was measured, and what the claim needs", decided, HEADS),
        noted=_measured("Measured, but nothing hangs on it", noted, HEADS[:2]) if noted else None,
        exhibit=tuple(figure_of(picture) for picture in shown.pictures),
        grids=tuple(_table(grid) for grid in shown.tables),
        lesson=shown.lesson,
        sources=shown.sources,
        made=(
            f"firstlight exhibit {shown.name}{' --quick' if shown.pace == 'quick' else ''}"
            f" --seed {shown.seed}; it took {number(shown.seconds, digits=2)} s",
            version_line(),
        ),
    )


def measurement_rows(measurements: Iterable[Measurement]) -> list[tuple[str, ...]]:
    """Each measurement in words: name, value, what the claim needs, and whether it is so."""
    met = {True: "yes", False: "no", None: "–"}
    return [(m.name, _value(m), m.expected or "–", met[m.met]) for m in measurements]


def _split(shown: Exhibit) -> tuple[list[Measurement], list[Measurement]]:
    """What is shown at once, and what waits behind a click: many numbers that decide nothing."""
    noted = [m for m in shown.measurements if m.met is None]
    if len(noted) <= _FEW_NOTED:
        return list(shown.measurements), []
    return [m for m in shown.measurements if m.met is not None], noted


def _measured(caption: str, rows: Iterable[Measurement], heads: tuple[str, ...]) -> Table:
    return Table(
        caption=caption,
        heads=heads,
        rows=tuple(tuple(map(typeset, row[: len(heads)])) for row in measurement_rows(rows)),
        numeric=(1,),
        code=(),
    )


def _value(m: Measurement) -> str:
    scale = 100.0 if m.unit == "%" else 1.0
    one = abs(m.value) == 1 and m.unit in _PLURALS
    unit = m.unit[:-1] if one else m.unit
    words = f"{counted(m.value * scale)} {unit}".rstrip()
    if m.interval is None:
        return words
    low, high = (number(end * scale) for end in m.interval)
    return f"{words} ({low} to {high})"


def grid_rows(grid: Grid) -> list[tuple[str, ...]]:
    """A table's cells in words."""
    return [tuple(c if isinstance(c, str) else counted(c) for c in row) for row in grid.rows]


def _table(grid: Grid) -> Table:
    columns = range(len(grid.heads))
    numeric = (c for c in columns if any(not isinstance(row[c], str) for row in grid.rows))
    rows = tuple(tuple(map(typeset, row)) for row in grid_rows(grid))
    return Table(
        caption=grid.caption,
        heads=grid.heads,
        rows=rows,
        numeric=tuple(numeric),
        code=(),
        wordy=any(len(cell) > _SHORT for row in rows for cell in row),
    )


def figure_of(picture: Picture) -> Figure:
    """A picture with its heading and key."""
    named = (replace(series, name=typeset(series.name)) for series in picture.series)
    picture = replace(picture, series=tuple(named))
    key = tuple((name, look.color, look.dash) for name, look in styles(picture).items())
    return Figure(
        heading=picture.title,
        chart=picture_chart(picture),
        key=key if picture.form != "map" else (),
        caption=picture.caption,
        choose=len(key) > 1 and picture.form != "map",
    )
