"""The report in a real browser: what only a browser can tell."""

from __future__ import annotations

import pytest

from firstlight.reporting.files import save

from . import samples
from .browser import hover, needs_browser, show

pytestmark = [pytest.mark.browser, needs_browser]

NAMES = ("story", "hostile", "sick", "audit")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    records = {**samples.everything(), "hostile": samples.hostile()}
    for name in NAMES:
        save(records[name], folder / f"{name}.html")
    return folder


@pytest.fixture
def look(driver, pages):
    """Open a page at a width and in a theme, and wait until its charts are drawn."""

    def open_page(name, width=1280, theme="light", media="screen", scripts=True):
        return show(driver, pages / f"{name}.html", width, theme, media, scripts)

    yield open_page
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", NAMES)
def test_pages_fit_without_errors_or_requests(name, width, theme, look):
    driver = look(name, width, theme)
    driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert driver.get_log("browser") == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    inside = """
        const out = [];
        for (const svg of document.querySelectorAll('.fl-live svg')) {
            const box = svg.getBoundingClientRect();
            if (box.left < 0 || box.right > innerWidth + 1) out.push(box.right);
            for (const text of svg.querySelectorAll('text')) {
                const t = text.getBoundingClientRect();
                if (t.width && (t.left < 0 || t.right > innerWidth)) out.push(text.textContent);
            }
        }
        return out;"""
    if name != "hostile":  # a title of sixty letters may be cut off
        assert driver.execute_script(inside) == []


def test_charts_are_drawn_with_their_marks(look):
    driver = look("story")
    counts = driver.execute_script(
        "return [...document.querySelectorAll('.fl-live')].map(c => ["
        "c.querySelectorAll('.mark-line path').length,"
        "c.querySelectorAll('.mark-area path').length,"
        "c.querySelectorAll('.mark-symbol path').length, c.clientWidth])"
    )
    assert [c[0] for c in counts] == [2, 2, 0, 3]  # before and after, twice; the starts
    assert [c[1] for c in counts] == [2, 2, 0, 3]
    assert counts[0][2] == 3 and counts[1][2] == 1  # findings
    assert counts[2][2] >= 3 * (1 + 5)  # each start's mean and its five seeds
    assert all(width > 700 for *_, width in counts)
    static = "return [...document.querySelectorAll('.fl-still')].map(s => s.offsetHeight)"
    assert driver.execute_script(static) == [0, 0, 0, 0]


def test_themes_change_page_and_charts(look):
    colours = """
        const line = document.querySelector('.fl-live .mark-line path');
        return [getComputedStyle(document.body).backgroundColor,
                getComputedStyle(document.body).color, getComputedStyle(line).stroke]"""
    light = look("story", theme="light").execute_script(colours)
    dark = look("story", theme="dark").execute_script(colours)
    assert light[0] == "rgb(255, 255, 255)" and dark[0] == "rgb(18, 22, 28)"
    assert light[2] == "rgb(200, 82, 0)" and dark[2] == "rgb(245, 154, 87)"
    printed = look("story", theme="dark", media="print").execute_script(colours)
    assert printed[:2] == light[:2]


def test_print_and_readers_without_scripts_get_static_pictures(look):
    shown = (
        "[...document.querySelectorAll('.fl-still svg')].map(s => s.getBoundingClientRect().height)"
    )
    heights = look("story", media="print").execute_script(f"return {shown}")
    assert len(heights) == 4 and min(heights) > 100
    driver = look("story", scripts=False)
    result = driver.execute_cdp_cmd("DOM.getDocument", {"depth": 1})
    nodes = driver.execute_cdp_cmd(
        "DOM.querySelectorAll", {"nodeId": result["root"]["nodeId"], "selector": ".fl-still svg"}
    )["nodeIds"]
    boxes = [driver.execute_cdp_cmd("DOM.getBoxModel", {"nodeId": n})["model"] for n in nodes]
    assert len(boxes) == 4 and min(box["height"] for box in boxes) > 100


@pytest.mark.parametrize("name", ["story", "hostile"])
def test_hovering_tells_the_numbers_as_text(name, look):
    driver = look(name)
    text = hover(driver, 0, 0.5, 0.6)
    assert "operation" in text and "before" in text and "±" in text
    assert ("net." if name == "story" else "onerror=alert(1)") in text
    assert driver.execute_script("return document.images.length") == 0
    assert driver.get_log("browser") == []


def test_the_policy_stops_what_escaping_might_miss(look):
    driver = look("audit")
    driver.execute_script(
        "const s = document.createElement('div');"
        "s.innerHTML = '<img src=x onerror=\"window.broken = 1\">'; document.body.append(s)"
    )
    driver.execute_async_script("setTimeout(arguments[0], 200)")
    assert driver.execute_script("return window.broken") is None
    assert "Content Security Policy" in str(driver.get_log("browser"))
