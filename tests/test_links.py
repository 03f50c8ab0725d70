"""What the pages point to is there: files, scripts and exhibits, on the README too.

Sphinx checks links between the pages that it builds; it never sees the README and the changelog,
nor what stands in code spans.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import firstlight as fl

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FILE = re.compile(
    r"\b(?:benchmarks|docs|examples|src|tests)/[\w/.-]*\.(?:json|md|py|sh|svg|txt)\b"
)
_EXHIBITS = re.compile(r"\bexhibits?\s+((?:`[a-z0-9-]+`(?:,\s+|\s+and\s+)?)+)")
_COMMAND = re.compile(r"\bfirstlight exhibit ([a-z][a-z0-9-]*)")


def missing(page: Path, text: str) -> list[str]:
    """What ``text``, standing on ``page``, points to and is not there."""
    links = [link for link in _LINK.findall(_FENCE.sub("", text)) if "://" not in link]
    gone = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    gone += [link for link in links if "#" in link and not _has_heading(page, link)]
    gone += [path for path in _FILE.findall(text) if not _is_file(page, path)]
    exhibits = [name for group in _EXHIBITS.findall(text) for name in re.findall(r"`(.+?)`", group)]
    exhibits += _COMMAND.findall(text)
    return gone + [name for name in exhibits if name not in fl.exhibit_names()]


def _is_file(page: Path, path: str) -> bool:
    return any((folder / path).exists() for folder in (ROOT, page.parent))


def _has_heading(page: Path, link: str) -> bool:
    """Whether a link's anchor is a heading's, as GitHub and MyST spell it."""
    path, _, anchor = link.partition("#")
    there = page.parent / path if path else page
    if not there.is_file():
        return False
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", there.read_text("utf-8")), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_points_to_is_there(page):
    assert missing(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("[a](docs/start.md), [b](docs/gone.md)", ["docs/gone.md"]),
        ("[a](README.md#limits), [b](README.md#no-such-part)", ["README.md#no-such-part"]),
        ("`python benchmarks/starts.py` and `benchmarks/gone.py`", ["benchmarks/gone.py"]),
        ("the exhibits `saddle` and `gone-one`", ["gone-one"]),
        ("`firstlight exhibit gone-two`; `firstlight exhibit --all`", ["gone-two"]),
        ("[a](https://example.org/gone.md)", []),
        ("```python\nf[0](gone)\n```\n", []),
    ],
)
def test_what_is_gone_is_told(text, gone):
    found = missing(ROOT / "README.md", text)
    assert list(dict.fromkeys(found)) == gone
