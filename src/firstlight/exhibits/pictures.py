"""Pictures and tables in one call each, from whatever numbers an experiment has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from firstlight.records.exhibit import Form, Grid, Picture, Series

Lines = Mapping[str, Iterable[float]]


def _numbers(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _places(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(v if isinstance(v, str) else float(v) for v in values)


def picture(
    form: Form,
    title: str,
    *,
    x: Sequence[Any],
    y: Lines,
    x_title: str,
    y_title: str,
    alt: str,
    bands: Mapping[str, tuple[Iterable[float], Iterable[float]]] | None = None,
    caption: str = "",
    x_log: bool = False,
    y_log: bool = False,
) -> Picture:
    """A picture whose series share their x.

    Args:
        form: ``lines``, ``points``, ``bars`` (x in words) or ``map`` (x in words or numbers, one
            series for each row).
        title: a few words.
        x: shared by all series; a series that ends early (a diverged run) is cut where it ends.
        y: name of each series and its numbers.
        x_title: axis with unit.
        y_title: axis with unit; of a map, what the colour means.
        alt: what it shows, with the numbers that matter.
        bands: name of a series and the lower and upper ends around it.
        caption: a sentence or two under it.
        x_log: logarithmic axis.
        y_log: logarithmic axis, or colours of a map.
    """
    places = _places(x)
    series = []
    for name, values in y.items():
        numbers = _numbers(values)
        low, high = (_numbers(ends) for ends in (bands or {}).get(name, ((), ())))
        at = places[: len(numbers)]
        series.append(Series(name=name, x=at, y=numbers, low=low, high=high))
    return Picture(
        title=title,
        alt=alt,
        form=form,
        series=tuple(series),
        x_title=x_title,
        y_title=y_title,
        x_log=x_log,
        y_log=y_log,
        caption=caption,
    )


def thinned(
    values: Sequence[float], points: int = 200, of: int | None = None
) -> tuple[tuple[int, ...], Any]:
    """Every so-manyth step and its value, so that long curves stay small; the last is kept.

    Args:
        values: one for each step.
        points: how many to keep.
        of: steps that there were to be, if the curve may have ended early; its places are then
            those of the curves that did not.

    >>> thinned([5.0, 4.0, 3.0, 2.0, 1.0], points=3)
    ((0, 2, 4), (5.0, 3.0, 1.0))
    >>> thinned([5.0, 4.0, 3.0, 2.0], points=3, of=5)
    ((0, 2), (5.0, 3.0))
    """
    n = len(values) if of is None else of
    many = min(points, n)
    places = {round(i * (n - 1) / max(1, many - 1)) for i in range(many)}
    at = sorted(step for step in places if step < len(values))
    return tuple(at), tuple(float(values[i]) for i in at)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Grid:
    """A table: strings stay, None and NaN become a dash, everything else a number.

    >>> table("Two", ("what", "how much"), [("a", 1), ("b", None)]).rows
    (('a', 1.0), ('b', '–'))
    """
    return Grid(
        caption=caption, heads=tuple(heads), rows=tuple(tuple(map(_cell, row)) for row in rows)
    )


def _cell(value: Any) -> str | float:
    if value is None or value != value:
        return "–"
    return value if isinstance(value, str) else float(value)
