"""An exhibit: one claim of the field, what was measured on it, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firstlight.records.late import Shown

Verdict = Literal["holds", "holds under these conditions", "does not hold"]
Form = Literal["lines", "points", "bars", "map"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number that a verdict rests on.

    Args:
        name: what was measured, with its place: ``largest output after 50 steps``.
        value: the number.
        unit: ``""`` for none, ``%`` for a share (0.25 is shown as 25 %), ``steps``, ``times`` …
        expected: what it had to be for the claim to hold, in words; empty if it is only noted.
        met: whether it was so; None if it is only noted.
        interval: of ``value``, 95 % unless the name says otherwise.
    """

    name: str
    value: float
    unit: str = ""
    expected: str = ""
    met: bool | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, cloud, group of bars, or row of a map.

    Args:
        name: as the key tells it; of a map, the row.
        x: numbers, or words for bars and maps.
        y: one number for each x; those that are not finite leave a gap.
        low: lower end of a band or error bar for each x, or empty.
        high: its upper end, or empty.
    """

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What to draw, as data; `reporting` gives it the page's look in light, dark and print.

    Args:
        title: a few words.
        alt: what the picture shows, for those who do not see it, with the numbers that matter.
        form: ``lines``, ``points``, ``bars`` or ``map`` (a heat map: rows are the series).
        series: what is drawn, in the order of the key.
        x_title: axis with unit.
        y_title: axis with unit; of a map, what the colour means.
        x_log: logarithmic axis, for positive numbers.
        y_log: the same (of a map: the colour); what is not positive is left out.
        caption: one or two sentences under the picture.
    """

    title: str
    alt: str
    form: Form
    series: tuple[Series, ...]
    x_title: str
    y_title: str
    x_log: bool = False
    y_log: bool = False
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table: numbers stay numbers, and are shown with the digits that fit."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Exhibit(Shown):
    """A claim put to the test.

    Args:
        name: ``zero-weights``.
        title: as a student would ask it.
        claim: what is taught, in our own words.
        sources: papers and texts that teach it.
        verdict: what the measurements say of the claim.
        conditions: one sentence with the numbers that decided.
        measurements: all that the verdict rests on.
        lesson: three sentences to take home.
        pictures: drawn from what was measured.
        tables: the same.
        pace: ``quick`` or ``full``.
        seed: of all that is drawn.
        seconds: that the experiment took.
    """

    name: str
    title: str
    claim: str
    sources: tuple[str, ...]
    verdict: Verdict
    conditions: str
    measurements: tuple[Measurement, ...]
    lesson: str
    pictures: tuple[Picture, ...]
    tables: tuple[Grid, ...]
    pace: str
    seed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement that is taught, in our own words, and the exhibits that answer it."""

    said: str
    exhibits: tuple[str, ...]
