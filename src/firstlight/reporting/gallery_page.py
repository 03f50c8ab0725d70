"""The pages of a gallery: one for each exhibit, and the index that lists claim by claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firstlight.records.exhibit import Claim, Exhibit, Verdict
from firstlight.reporting.chapter import Chapter, version_line
from firstlight.reporting.exhibit_page import exhibit_chapter
from firstlight.reporting.numbers import number, typeset
from firstlight.reporting.page import read_template, render

GENERATOR = "Firstlight gallery"
"""Told in the head of each page, so that a gallery knows its own files."""

LIBRARY = "vega.js"
"""The charts' libraries, which all pages of a gallery share."""

INDEX = "index.html"
_STYLES = ("style.css", "gallery.css")

BADGES: dict[Verdict, str] = {
    "holds": "good",
    "holds under these conditions": "part",
    "does not hold": "bad",
}
NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A page of the gallery."""

    page: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Nav:
    """Where an exhibit's page leads to."""

    previous: Link | None
    next: Link | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What an exhibit has to say to a claim; without a page if it did not run."""

    title: str
    page: str
    verdict: str
    badge: str
    sentence: str


def page_name(name: str) -> str:
    """The file of an exhibit."""
    return f"{name}.html"


def navigation(name: str, titles: Mapping[str, str]) -> Nav:
    """The neighbours of an exhibit in the order of ``titles``."""
    names = list(titles)
    at = names.index(name)
    links = [Link(page=page_name(n), title=titles[n]) for n in names]
    return Nav(
        previous=links[at - 1] if at else None, next=links[at + 1] if at + 1 < len(links) else None
    )


def exhibit_page(shown: Exhibit, nav: Nav) -> str:
    """An exhibit with links to its neighbours; its charts need `LIBRARY` beside it."""
    return render(
        [exhibit_chapter(shown)], source=LIBRARY, styles=_STYLES, generator=GENERATOR, nav=nav
    )


def missing_page(title: str, reason: str, nav: Nav) -> str:
    """A page in the place of an exhibit that did not run, so that no link leads nowhere."""
    part = Chapter(title=title, verdict=f"Not run: {reason}", badge=NOT_RUN, made=(version_line(),))
    return render([part], styles=_STYLES, generator=GENERATOR, nav=nav)


def index_page(
    claims: Mapping[str, Sequence[Claim]],
    titles: Mapping[str, str],
    shown: Mapping[str, Exhibit],
    failed: Mapping[str, str],
    command: str,
) -> str:
    """Claim by claim: what is claimed, which exhibit answers, its verdict and its numbers.

    Args:
        claims: by section.
        titles: of all exhibits that belong to the gallery, by name.
        shown: those that ran.
        failed: why others did not; those in neither were not reached.
        command: that makes this gallery.
    """
    entries = {name: _entry(name, titles[name], shown, failed) for name in titles}
    sections = {
        section: [
            (claim.said, [entries[n] for n in claim.exhibits if n in entries]) for claim in said
        ]
        for section, said in claims.items()
    }
    kept = {
        section: answered
        for section, said in sections.items()
        if (answered := [pair for pair in said if pair[1]])
    }
    counts = Counter(entry.verdict for entry in entries.values())
    verdicts: list[tuple[str, int, str]] = [(v, counts[v], b) for v, b in BADGES.items()]
    if counts[NOT_RUN]:
        verdicts.append((NOT_RUN, counts[NOT_RUN], "none"))
    part = Chapter(title="What is taught about initialization, and what was measured")
    return render(
        [part],
        "gallery.html",
        code=read_template("gallery.js"),
        styles=_STYLES,
        generator=GENERATOR,
        sections=kept,
        verdicts=verdicts,
        claims=sum(map(len, kept.values())),
        exhibits=len(entries),
        made=(*_how(shown, command), version_line()),
    )


def _entry(name: str, title: str, shown: Mapping[str, Exhibit], failed: Mapping[str, str]) -> Entry:
    if name not in shown:
        reason = f"It did not run: {failed[name]}" if name in failed else "It was not reached."
        return Entry(title=title, page="", verdict=NOT_RUN, badge="none", sentence=reason)
    exhibit = shown[name]
    return Entry(
        title=title,
        page=page_name(name),
        verdict=exhibit.verdict,
        badge=BADGES[exhibit.verdict],
        sentence=typeset(exhibit.conditions),
    )


def _how(shown: Mapping[str, Exhibit], command: str) -> tuple[str, ...]:
    seconds = sum(exhibit.seconds for exhibit in shown.values())
    return (f"{command}; the experiments took {number(seconds)} s of computing",)
