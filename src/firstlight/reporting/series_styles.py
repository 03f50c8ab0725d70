"""How the series of a picture are told apart, also where one lies on another."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.records.exhibit import Picture, Series
from firstlight.reporting import theme

_DASHES = ("", "8 6", "2 5", "10 4 2 4")
"""Solid; then dashes through whose gaps the line below is seen."""

_WIDEST = 1e300

_NEAR = 0.015
"""Of the height of the picture: closer than this, two lines look like one."""


@dataclass(frozen=True)
class Style:
    """Colour, dashes (none: solid), and on how many earlier series it lies."""

    color: str
    dash: str
    above: int


def styles(picture: Picture) -> dict[str, Style]:
    """The style of each series, by name.

    A series that lies on an earlier one for more than half of its points is dashed (a line) or
    drawn as a ring (a point), and so is one that has the colour of an earlier one.
    """
    found: dict[str, Style] = {}
    bottom, top = _range(picture)
    near = _NEAR * (top - bottom)
    for i, series in enumerate(picture.series):
        below = [
            found[earlier.name].above
            for earlier in picture.series[:i]
            if picture.form in {"lines", "points"}
            and _lies_on(series, earlier, near, picture.y_log)
        ]
        above = max(below, default=-1) + 1
        again = i // len(theme.SERIES)
        found[series.name] = Style(
            color=theme.SERIES[i % len(theme.SERIES)],
            dash=_DASHES[(above + again) % len(_DASHES)],
            above=above,
        )
    return found


def drawable(value: float, log: bool) -> bool:
    """Whether a number has a place on an axis (a plain one must hold twice as much)."""
    return 0 < value < math.inf if log else abs(value) < _WIDEST


def _range(picture: Picture) -> tuple[float, float]:
    log = picture.y_log
    heights = [_height(y, log) for s in picture.series for y in s.y if drawable(y, log)]
    return (min(heights), max(heights)) if heights else (0.0, 0.0)


def _height(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def _lies_on(series: Series, earlier: Series, near: float, log: bool) -> bool:
    heights = {
        x: _height(y, log) for x, y in zip(earlier.x, earlier.y, strict=True) if drawable(y, log)
    }
    shared = [
        abs(_height(y, log) - heights[x]) <= near
        for x, y in zip(series.x, series.y, strict=True)
        if x in heights and drawable(y, log)
    ]
    return sum(shared) > len(shared) / 2
