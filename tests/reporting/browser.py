"""A headless browser for tests: open a page at a width and in a theme, hover over a chart."""

from __future__ import annotations

import shutil

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="needs chromium and chromedriver (apt-get install chromium chromium-driver)",
)

DRAWN = """
    return [...document.querySelectorAll('.fl-chart[data-spec]')].every(
        c => c.querySelector('.fl-live svg .role-mark path, .fl-live svg line'))"""


def show(driver, path, width=1280, theme="light", media="screen", scripts=True):
    """Open a file and wait until its charts are drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    features = [{"name": "prefers-color-scheme", "value": theme}]
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    driver.get(path.as_uri())
    if scripts:
        WebDriverWait(driver, 30).until(lambda d: d.execute_script(DRAWN))
    return driver


def hover(driver, chart, x_share, y_share):
    """Move the mouse over a chart by way of the browser itself; the tooltip's text."""
    box = driver.execute_script(
        "const svg = document.querySelectorAll('.fl-live svg')[arguments[0]];"
        "svg.scrollIntoView({block: 'center'});"
        "const b = svg.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]",
        chart,
    )
    return hover_at(driver, box[0] + box[2] * x_share, box[1] + box[3] * y_share)


def hover_at(driver, x, y):
    """Move the mouse to a place in the window; the text of the tooltip that appears."""
    from selenium.webdriver.support.ui import WebDriverWait

    for nudge in (0, 1, 2):
        at = {"x": x + nudge, "y": y}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **at})
    tip = "const t = document.querySelector('#vg-tooltip-element.visible'); return t && t.innerText"
    return WebDriverWait(driver, 10).until(lambda d: d.execute_script(tip))


AXE = """
    const done = arguments[0];
    axe.run(document, {resultTypes: ["violations"], iframes: false}).then(
        result => done(result.violations.map(
            v => [v.id, v.impact, v.nodes.map(n => n.html.slice(0, 200))])))"""


def violations(driver):
    """What axe-core calls serious or critical in the page as it is, its details opened."""
    from pathlib import Path

    shipped = pytest.importorskip("axe_core_python")
    code = Path(shipped.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    driver.execute_script(code)
    found = driver.execute_async_script(AXE)
    return [violation for violation in found if violation[1] in ("serious", "critical")]
