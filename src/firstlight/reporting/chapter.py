"""What a page is made of: chapters with tables, figures and findings."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from firstlight.records.checkup import Finding
from firstlight.reporting.charts import Chart


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a page; ``numeric`` columns are right-aligned, a ``wordy`` one may be stacked.

    ``also`` has words for each row by which a filter finds it, though they do not stand there.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    code: tuple[int, ...] = (0,)
    wordy: bool = True
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with its heading and the key to its lines: (label, colour, dashes or whether dashed).

    With ``choose`` each label of the key brings its series out.
    """

    heading: str
    chart: Chart
    key: tuple[tuple[str, str, bool | str], ...] = ()
    caption: str = ""
    choose: bool = False


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of a page that can be looked at closely.

    Args:
        names: of the operations, in order.
        chosen: index of the one that is shown first.
        facts: of that one, in sentences.
        figures: four charts of it.
        key: to the colours, where there are two runs.
        payload: what the page's script needs to show another one.
    """

    names: tuple[str, ...]
    chosen: int
    facts: tuple[str, ...]
    figures: tuple[Figure, ...]
    key: tuple[tuple[str, str, bool | str], ...]
    payload: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Section:
    """Tables and figures under one heading, of records that need nothing else."""

    heading: str
    lead: str = ""
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Item:
    """A finding with the number that marks it on the map, None where it is not marked."""

    number: int | None
    finding: Finding
    title: str
    names: tuple[str, ...]
    more: int
    code: bool
    brings: str = ""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """What a record has to say; empty parts are left out of the page."""

    title: str
    lead: str = ""
    verdict: str = ""
    healthy: bool | None = None
    compared: bool = False
    glance: Table | None = None
    findings: tuple[Item, ...] = ()
    maps: tuple[Figure, ...] = ()
    layers: Layers | None = None
    operations: Table | None = None
    remaining: tuple[Item, ...] = ()
    plan_summary: str = ""
    plan: Table | None = None
    rejected: Table | None = None
    ranking: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    receipt_summary: str = ""
    receipt: Table | None = None
    audit: Table | None = None
    audit_remarks: Table | None = None
    proof: str = ""
    scores: Figure | None = None
    race: Table | None = None
    curves: tuple[Figure, ...] = ()
    way: Table | None = None
    differences: Figure | None = None
    pairs: Table | None = None
    race_remarks: tuple[str, ...] = ()
    conditions: str = ""
    theory: tuple[Table | Figure | str, ...] = ()
    sections: tuple[Section, ...] = ()
    badge: str = ""
    measured: Table | None = None
    noted: Table | None = None
    exhibit: tuple[Figure, ...] = ()
    grids: tuple[Table, ...] = ()
    lesson: str = ""
    sources: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


def version_line() -> str:
    """Which Firstlight and Python wrote the page."""
    try:
        ours = metadata.version("firstlight")
    except metadata.PackageNotFoundError:
        ours = "from source"
    return f"Page written by firstlight {ours} on Python {platform.python_version()}"
