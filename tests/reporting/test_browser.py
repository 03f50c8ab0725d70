"""The report in a real browser: what only a browser can tell."""

from __future__ import annotations

import shutil

import pytest

from firstlight.reporting.files import save

from . import samples

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="needs chromium and chromedriver (apt-get install chromium chromium-driver)",
    ),
]

NAMES = ("story", "hostile", "sick", "audit")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    records = {**samples.everything(), "hostile": samples.hostile()}
    for name in NAMES:
        save(records[name], folder / f"{name}.html")
    return folder


@pytest.fixture(scope="module")
def driver():
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",  # as on a phone; otherwise they take 15 columns
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def look(driver, pages):
    """Open a page at a width and in a theme, and wait until its charts are drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    def open_page(name, width=1280, theme="light", media="screen", scripts=True):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        features = [{"name": "prefers-color-scheme", "value": theme}]
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        driver.get((pages / f"{name}.html").as_uri())
        if scripts:
            drawn = (
                "return [...document.querySelectorAll('.fl-chart[data-spec]')]"
                ".every(c => c.querySelector('.fl-live svg .role-mark path, .fl-live svg line'))"
            )
            WebDriverWait(driver, 30).until(lambda d: d.execute_script(drawn))
        return driver

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


def hover(driver, chart, x_share, y_share):
    """Move the mouse over a chart by way of the browser itself."""
    box = driver.execute_script(
        "const svg = document.querySelectorAll('.fl-live svg')[arguments[0]];"
        "svg.scrollIntoView({block: 'center'});"
        "const b = svg.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]",
        chart,
    )
    for nudge in (0, 1, 2):
        at = {"x": box[0] + box[2] * x_share + nudge, "y": box[1] + box[3] * y_share}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **at})


@pytest.mark.parametrize("name", ["story", "hostile"])
def test_hovering_tells_the_numbers_as_text(name, look):
    from selenium.webdriver.support.ui import WebDriverWait

    driver = look(name)
    hover(driver, 0, 0.5, 0.6)
    tip = "const t = document.querySelector('#vg-tooltip-element.visible'); return t && t.innerText"
    text = WebDriverWait(driver, 10).until(lambda d: d.execute_script(tip))
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
