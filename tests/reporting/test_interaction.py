"""What the page does when it is used: layers to choose, cures to copy, a plan to filter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from firstlight.reporting.files import save
from firstlight.reporting.page import to_fragment

from . import samples
from .browser import hover_at, needs_browser, show, violations

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from report_models import report

pytestmark = [pytest.mark.browser, needs_browser]

BARS = """
    return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(
        [...document.querySelectorAll('.fl-four .fl-live')].map(
            c => c.querySelector('.mark-group').innerHTML)))))
"""
TOLD = "return document.querySelector('.fl-facts').innerText"
NAMED = "return document.querySelector('.fl-layer-name').textContent"


@pytest.fixture(scope="module")
def record():
    return report("broken")


@pytest.fixture
def page(record, driver, tmp_path):
    save(record, tmp_path / "page.html")
    show(driver, tmp_path / "page.html")
    return driver


def press(driver, selector, keys):
    from selenium.webdriver.common.by import By

    driver.find_element(By.CSS_SELECTOR, selector).send_keys(keys)


def test_a_layer_is_chosen_by_keyboard_and_all_follows(page):
    from selenium.webdriver.common.keys import Keys

    assert page.execute_script(NAMED) == "hidden.3"  # where the first finding leads
    first, told = page.execute_script(BARS), page.execute_script(TOLD)
    assert "mean cosine 1.0" in told and "32 units constant" in told
    press(page, ".fl-choice [data-step='1']", Keys.ENTER)
    assert page.execute_script(NAMED) == "hidden.4"
    second = page.execute_script(BARS)
    assert all(a != b for a, b in zip(first[:2], second[:2], strict=True))
    assert page.execute_script(TOLD) != told
    labels = "return [...document.querySelectorAll('.fl-four .fl-chart')].map(c => c.ariaLabel)"
    assert all("hidden.4" in label for label in page.execute_script(labels))
    press(page, ".fl-choice select", Keys.HOME)
    assert page.execute_script(NAMED) == "first"
    press(page, ".fl-choice [data-step='-1']", Keys.ENTER)  # there is none before the first
    assert page.execute_script(NAMED) == "first"
    assert violations(page) == [] and page.get_log("browser") == []


def test_hovering_over_a_panel_tells_its_numbers(page):
    box = page.execute_script(
        "const bar = [...document.querySelectorAll('.fl-four .fl-live')[2].querySelectorAll("
        "'.mark-rect path')].at(-1); bar.scrollIntoView({block: 'center'});"
        "const b = bar.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    )
    text = hover_at(page, box[0] + box[2] / 2, box[1] + box[3] / 2)
    assert "100.0%" in text and "from" in text and "0.9" in text


def test_a_click_on_the_map_chooses_the_layer_there(page):
    box = page.execute_script(
        "const svg = document.querySelector('.fl-live svg'); svg.scrollIntoView({block: 'center'});"
        "const b = svg.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    )
    at = {"x": box[0] + 0.985 * box[2], "y": box[1] + 0.5 * box[3], "button": "left"}
    for kind in ("mousePressed", "mouseReleased"):
        page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "clickCount": 1, **at})
    assert page.execute_script(NAMED) == "head"


def test_cures_are_copied_and_can_still_be_selected(page, record):
    from selenium.webdriver.common.keys import Keys

    copied = """
        window.copied = [];
        Object.defineProperty(navigator, 'clipboard', {configurable: true, value: {
            writeText: text => arguments[0]
                ? Promise.reject(new Error('not allowed'))
                : Promise.resolve(window.copied.push(text))}});"""
    page.execute_script(copied, False)
    press(page, ".fl-copy", Keys.ENTER)
    assert page.execute_script("return window.copied") == [record.findings[0].cure]
    word = "return document.querySelector('.fl-copy').innerText"
    assert page.execute_script(word).startswith("Copied")
    page.execute_script(copied, True)
    press(page, ".fl-copy", Keys.ENTER)
    selected = page.execute_script("return getSelection().toString()")
    assert selected.split() == record.findings[0].cure.split()
    assert page.get_log("browser") == []


def test_a_plan_is_filtered_by_words_in_any_column(driver, tmp_path):
    save(samples.plan(), tmp_path / "plan.html")
    show(driver, tmp_path / "plan.html")
    seen = (
        "return [...document.querySelectorAll('#fl-plan-1 tbody tr')].filter(r => r.offsetHeight)"
    )
    every = len(driver.execute_script(seen))
    press(driver, ".fl-find input", "BIAS zeros")
    rows = [row.text for row in driver.execute_script(seen)]
    assert 0 < len(rows) < every and all("bias" in row and "zeros" in row for row in rows)
    told = "return document.querySelector('.fl-find [role=status]').innerText"
    assert driver.execute_script(told) == f"{len(rows)} of {every} rows"
    assert violations(driver) == [] and driver.get_log("browser") == []
    clear = "const i = document.querySelector('.fl-find input'); i.value = ''; return i.value"
    driver.execute_script(clear)
    press(driver, ".fl-find input", "net.14.weight")  # it stands in a row as net.{2,4…56}.weight
    assert len(driver.execute_script(seen)) == 1
    show(driver, tmp_path / "plan.html", media="print")
    assert len(driver.execute_script(seen)) == every


def test_without_scripts_the_first_layer_stands_there(record):
    text = to_fragment(record)
    assert "<button" not in text and "<select" not in text and "<input" not in text
    assert "A layer up close" in text and "32 units constant" in text
    assert text.count("<svg") >= 6
