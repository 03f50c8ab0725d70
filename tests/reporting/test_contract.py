"""Every public record has text, JSON, HTML and a notebook's display: gone over by the registry."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import subprocess
import sys

import pytest
from rich.console import Console

import firstlight.records
from firstlight.errors import BadInputError
from firstlight.records.late import Shown
from firstlight.reporting.code import is_code
from firstlight.reporting.files import load, save
from firstlight.reporting.page import to_page
from firstlight.reporting.text import print_record, to_text

from . import gallery_samples, samples
from .browser import needs_browser, show, violations


def registry():
    """Every record that people look at, whichever module it stands in."""
    for module in pkgutil.iter_modules(firstlight.records.__path__, "firstlight.records."):
        importlib.import_module(module.name)
    found, left = {}, [Shown]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            if kind.__module__.startswith("firstlight."):
                found[kind.__name__] = kind
    return found


def a_sample_of_each():
    made = [*samples.everything().values(), *gallery_samples.EXHIBITS.values()]
    return {type(record).__name__: record for record in reversed(made)}


KINDS = registry()
SAMPLES = a_sample_of_each()
each = pytest.mark.parametrize("name", sorted(KINDS))


def sample(name):
    assert name in SAMPLES, f"no sample of {name}: add one to samples.everything()"
    return SAMPLES[name]


def test_the_registry_is_not_empty():
    assert {"Checkup", "Plan", "Race", "Streamed", "Compared", "Exhibit", "Story"} <= set(KINDS)


@each
def test_json_comes_back_as_it_was(name, tmp_path):
    record = sample(name)
    save(record, tmp_path / "record.json")
    again = load(tmp_path / "record.json")
    assert type(again) is type(record) is KINDS[name]
    save(again, tmp_path / "again.json")
    # NaN equals nothing, itself included; the files can be compared all the same.
    assert (tmp_path / "again.json").read_text() == (tmp_path / "record.json").read_text()
    assert to_text(again, 200, full=True) == to_text(record, 200, full=True)


@each
def test_every_form_is_there_and_says_the_same_thing_first(name, tmp_path):
    record = sample(name)
    assert str(record) == to_text(record)
    for suffix in (".html", ".txt"):
        record.save(tmp_path / f"record{suffix}")
        assert (tmp_path / f"record{suffix}").stat().st_size > 50
    text = to_page(record)
    assert text.count("<h1>") == 1 and "</main>" in text
    # The verdict stands before every other heading.
    assert 0 < text.index('<p class="fl-verdict') < text.index("<h2>")


@each
def test_a_notebook_gets_text_and_html_without_scripts(name):
    record = sample(name)
    bundle = record._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == str(record)
    assert bundle["text/html"] == record._repr_html_()
    assert "<script" not in bundle["text/html"] and " onclick" not in bundle["text/html"]
    assert set(record._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(record._repr_mimebundle_(exclude={"text/plain"})) == {"text/html"}


@each
def test_interactive_is_a_frame_that_holds_the_page(name):
    from html import unescape

    record = sample(name)
    frame = record.interactive(height=500)
    html = frame._repr_html_()
    start = html.index('srcdoc="') + len('srcdoc="')
    inside = html[start : html.index('"', start)]
    assert unescape(inside) == to_page(record)
    assert 'sandbox="allow-scripts"' in html and "height:500px" in html
    assert frame._repr_mimebundle_()["text/plain"] == str(record)


def test_a_frame_has_a_height():
    with pytest.raises(BadInputError, match="height: expected pixels, 1 or more, got 0"):
        SAMPLES["Plan"].interactive(height=0)


@pytest.mark.browser
@needs_browser
def test_both_displays_in_a_browser(driver, tmp_path):
    plan, checkup = SAMPLES["Plan"], SAMPLES["Checkup"]
    cells = (plan._repr_html_(), checkup._repr_html_(), checkup.interactive()._repr_html_())
    body = "".join(f"<div class=cell>{cell}</div>" for cell in cells)
    page = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>n</title>{body}</html>'
    (tmp_path / "notebook.html").write_text(page, encoding="utf-8")
    show(driver, tmp_path / "notebook.html", 1000)
    assert [v[0] for v in violations(driver) if v[0] != "heading-order"] == []
    driver.switch_to.frame(0)
    from selenium.webdriver.support.ui import WebDriverWait

    drawn = "return document.querySelectorAll('.fl-live .mark-line path').length"
    assert WebDriverWait(driver, 20).until(lambda d: d.execute_script(drawn)) >= 2
    driver.switch_to.default_content()
    assert driver.get_log("browser") == []


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@each
def test_every_page_can_be_read_by_everybody(name, theme, driver, tmp_path):
    save(sample(name), tmp_path / "page.html")
    show(driver, tmp_path / "page.html", 390 if theme == "dark" else 1280, theme)
    assert violations(driver) == []
    width = "return [document.documentElement.scrollWidth, innerWidth]"
    assert len(set(driver.execute_script(width))) == 1
    assert driver.get_log("browser") == []


# Terminals ---------------------------------------------------------------------------------------


def printed(record, width, encoding="utf-8", **environ):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(
        file=file, width=width, force_terminal=True, legacy_windows=False, _environ=environ
    )
    print_record(record, console)
    file.flush()
    return raw.getvalue().decode(encoding)


def pasted(record):
    """Lines of cures, which are never wrapped."""
    runs = [record, *(getattr(record, part, None) for part in ("before", "after"))]
    found = [f for run in runs for f in getattr(run, "findings", ())]
    return {line.strip() for f in found if is_code(f.cure) for line in f.cure.splitlines()}


@pytest.mark.parametrize("width", [40, 80, 200])
@each
def test_text_fits_narrow_and_wide_terminals(name, width):
    record = sample(name)
    lines = to_text(record, width).split("\n")
    code = pasted(record)
    assert [line for line in lines if len(line) > width and line.strip() not in code] == []
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [40, 200])
@each
def test_ascii_terminals_get_ascii(name, width):
    text = printed(sample(name), width, "ascii", TERM="xterm")  # strict: others would raise
    assert text.strip() and "?" not in text


@each
def test_no_color_leaves_no_colour(name):
    import re

    record = sample(name)
    plain = printed(record, 80, NO_COLOR="1", TERM="xterm-256color")
    colours = r"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7]|38|48)[;m]"
    assert not re.search(colours, plain)
    if name in ("Checkup", "Streamed"):
        assert re.search(colours, printed(record, 80, TERM="xterm-256color", COLORTERM="truecolor"))


def test_a_pipe_gets_plain_text(tmp_path):
    paths = []
    for name in sorted(KINDS):
        paths.append(tmp_path / f"{name}.json")
        save(sample(name), paths[-1])
    code = (
        "import sys, firstlight as fl\n"
        "from firstlight.reporting.text import print_record\n"
        "for path in sys.argv[1:]: print_record(fl.load(path))"
    )
    environ = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS")}
    environ |= {"PYTHONIOENCODING": "ascii:strict", "TERM": "xterm-256color"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        env=environ,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"\x1b" not in done.stdout and done.stdout.decode("ascii").strip()
    assert max(map(len, done.stdout.decode("ascii").splitlines())) <= 80 + 20
