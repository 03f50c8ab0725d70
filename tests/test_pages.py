"""Every finding, technique and public name has its page, and the page its parts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import firstlight as fl
from firstlight.records.checkup import FINDING_KINDS
from firstlight.records.transfer import TRANSFER_KINDS

DOCS = Path(__file__).parents[1] / "docs"
JUDGES = Path(fl.__file__).parent / "verdicts"


def read(path):
    return (DOCS / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [*FINDING_KINDS, *TRANSFER_KINDS])
def test_a_finding_has_a_page_that_produces_and_heals_it(kind):
    page = read(f"findings/{kind}.md")
    assert page.startswith(f"# `{kind}`: ")
    for part in ("How it is measured", "Why it matters", "Cure", "Example"):
        assert f"\n## {part}\n" in page
    example = page.partition("## Example")[2]
    # `test_documentation.py` runs it: found first, and gone when its cure has been run.
    found, cured = example.index(f"if f.kind == '{kind}')"), example.index("exec(finding.cure)")
    # A coordinate check trains models of its own: ``base=`` is its cure at every width.
    assert kind in FINDING_KINDS or ", base=32)\n>>> [f.kind for f in followed" in example
    assert found < cured < example.index("[]\n\n```")
    index = read("findings/index.md")
    assert f"]({kind}.md)" in index
    assert f"\n{kind}\n" in index


def test_there_are_no_pages_of_findings_that_are_gone():
    there = {path.stem for path in (DOCS / "findings").glob("*.md")} - {"index"}
    assert there == {*FINDING_KINDS, *TRANSFER_KINDS}


def kinds_in(source):
    """The kinds of the findings that a file of judges makes, as far as they are written out."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding":
            for keyword in call.keywords:
                if keyword.arg == "kind":
                    kind = keyword.value
                    chosen = [kind.body, kind.orelse] if isinstance(kind, ast.IfExp) else [kind]
                    yield from (k.value for k in chosen if isinstance(k, ast.Constant))


def test_judges_find_only_kinds_that_are_registered():
    """A kind that is not in the registry would need no page."""
    found = {
        kind for path in JUDGES.glob("*.py") for kind in kinds_in(path.read_text(encoding="utf-8"))
    }
    assert len(found) > len(FINDING_KINDS) / 2
    assert found <= {*FINDING_KINDS, *TRANSFER_KINDS}


@pytest.mark.parametrize("technique", fl.techniques(), ids=lambda technique: technique.name)
def test_a_technique_has_a_page_with_its_measurements(technique):
    page = read(f"techniques/{technique.name}.md")
    assert page.startswith(f"# `{technique.name}`")
    for part in ("Formula", "When", "Measured"):
        assert f"\n## {part}" in page
    assert technique.formula in page
    assert re.search(r"\n\|.*\|\n", page.partition("## Measured")[2])
    assert f"\n{technique.name}\n" in read("techniques/index.md")


def test_there_are_no_pages_of_techniques_that_are_gone():
    there = {path.stem for path in (DOCS / "techniques").glob("*.md")} - {"index"}
    assert there == {technique.name for technique in fl.techniques()}


@pytest.mark.parametrize("name", [name for name in fl.__all__ if not name.startswith("__")])
def test_a_public_name_is_on_the_api_page(name):
    assert re.search(rf"auto(function|class|exception):: {name}\n", read("api.md"))
