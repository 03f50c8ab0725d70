"""The code on the README and in the documentation runs and prints what the page shows."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```(?:python|\{doctest\})\n(.*?)```", re.DOTALL)
WITH_EXAMPLES = [page for page in PAGES if ">>>" in page.read_text(encoding="utf-8")]


def test_there_are_pages_with_examples():
    assert {page.name for page in WITH_EXAMPLES} >= {"README.md", "start.md"}


# Keras's own way from torch to NumPy warns.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
def test_examples_on_the_page(page):
    text = page.read_text(encoding="utf-8")
    code = "\n".join(block for block in BLOCK.findall(text) if ">>>" in block)
    parser = doctest.DocTestParser()
    test = parser.get_doctest(code, {}, page.name, str(page), 0)
    assert test.examples
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=output.append)
    assert result.failed == 0, "".join(output)


def test_nothing_speaks_of_where_it_was_written():
    """No private paths in what is published."""
    for path in ROOT.rglob("*"):
        if path.suffix not in (".md", ".py", ".toml", ".txt", ".sh") or ".venv" in path.parts:
            continue
        if path == Path(__file__) or "_build" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        assert "/work/" not in text and "/tmp/" not in text, path
