"""The gallery in a real browser: opened from files, without errors, by mouse and by keyboard."""

from __future__ import annotations

import pytest

from . import gallery_samples
from .browser import hover_at, needs_browser, show

pytestmark = [pytest.mark.browser, needs_browser]

PAGES = ("index", *gallery_samples.TITLES)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    gallery_samples.write(folder)
    return folder


@pytest.fixture
def look(driver, gallery):
    return lambda name, **how: show(driver, gallery / f"{name}.html", **how)


CUT_OFF = """
    const out = [];
    for (const text of document.querySelectorAll('.fl-live svg text')) {
        const t = text.getBoundingClientRect();
        if (t.width && (t.left < 0 || t.right > innerWidth)) out.push(text.textContent);
        const svg = text.closest('svg').getBoundingClientRect();
        if (t.height && (t.top < svg.top - 1 || t.bottom > svg.bottom + 1)) {
            out.push(text.textContent);
        }
    }
    return out;"""

# Text against the page, by the formula of WCAG 2; the texts of charts are filled, not coloured.
CONTRAST = """
    const light = (color) => {
        const parts = color.match(/[\\d.]+/g).slice(0, 3).map((v) => {
            const c = v / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    const out = [];
    for (const e of document.querySelectorAll('main *, nav *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !e.getClientRects().length) continue;
        const style = getComputedStyle(e);
        const ink = light(e.closest('svg') ? style.fill : style.color);
        const [a, b] = [ink, paper].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) out.push([e.textContent.trim().slice(0, 40), ratio]);
    }
    return out;"""


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_and_can_be_read(name, width, theme, look):
    driver = look(name, width=width, theme=theme)
    assert driver.get_log("browser") == []
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    assert driver.execute_script("return document.images.length") == 0
    fetched = driver.execute_script("return performance.getEntriesByType('resource').length")
    assert fetched <= 1  # the charts' library beside the page
    assert driver.execute_script(CONTRAST) == []
    if name != "refuted":  # names of sixty letters may be cut off
        cut = driver.execute_script(CUT_OFF)
        assert [text for text in cut if "onerror" not in text] == []


MARK = """
    const mark = document.querySelectorAll('.fl-live svg')[arguments[0]]
        .querySelectorAll(arguments[1])[arguments[2]];
    mark.scrollIntoView({block: 'center'});
    const b = mark.getBoundingClientRect();
    return [b.left + b.width / 2, b.top + b.height / 2];"""


@pytest.mark.parametrize(
    ("chart", "mark", "which", "words"),
    [
        (
            0,
            ".mark-symbol path",
            20,
            ("layer 21", "variance of the pre-activations", "1.00 × 10⁻⁷"),
        ),
        (1, ".mark-symbol path", 0, ("relative noise", "ReLU", "0.500 to 1.50")),
        (2, ".mark-rect path", 1, ("start", "before", "a share")),
        (3, ".mark-rect path", 0, ("layer, counted", "sigmoid from glorot", "0.464")),
    ],
)
def test_hovering_tells_the_numbers(chart, mark, which, words, look):
    driver = look("all-forms")
    text = hover_at(driver, *driver.execute_script(MARK, chart, mark, which))
    text = " ".join(text.split())
    assert all(word in text for word in words), text
    assert driver.get_log("browser") == []


OPACITIES = """
    return [...document.querySelectorAll('.fl-live svg')[arguments[0]]
        .querySelectorAll('.mark-line path')].map(p => Number(getComputedStyle(p).opacity));"""


def test_a_label_of_the_key_brings_its_series_out_and_back(look):
    from selenium.webdriver.support.ui import WebDriverWait

    driver = look("all-forms")
    buttons = driver.find_elements("css selector", ".fl-figure:first-of-type .fl-choose")
    first = next(b for b in buttons if b.get_attribute("data-series") == "sigmoid")
    assert driver.execute_script(OPACITIES, 0) == [1, 1, 1]
    first.send_keys("\ue007")  # Enter: the key works without a mouse
    wait = WebDriverWait(driver, 10)
    wait.until(lambda d: d.execute_script(OPACITIES, 0) == [0.12, 0.12, 1])
    assert first.get_attribute("aria-pressed") == "true"
    first.click()
    wait.until(lambda d: d.execute_script(OPACITIES, 0) == [1, 1, 1])
    assert first.get_attribute("aria-pressed") == "false"


def test_a_line_on_another_is_dashed_so_that_both_are_seen(look):
    dashes = look("all-forms").execute_script(
        "return [...document.querySelectorAll('.fl-live svg')[0]"
        ".querySelectorAll('.mark-line path')].map(p => p.getAttribute('stroke-dasharray'))"
    )
    assert dashes == ["1,0", "8,6", "1,0"]


SEEN = """
    return [...document.querySelectorAll('.fl-answer')].filter(a => a.getClientRects().length)
        .map(a => a.querySelector('.fl-stamp').textContent)"""


def test_the_index_is_filtered_by_verdict_and_by_words(look):
    driver = look("index")
    status = lambda: driver.find_element("css selector", ".fl-found").text  # noqa: E731
    part, bad = "holds under these conditions", "does not hold"
    assert driver.execute_script(SEEN) == ["holds", part, bad, part, "not run"]
    assert status() == "All 3 claims"
    radio = driver.find_element("css selector", f"input[value='{bad}']")
    radio.send_keys(" ")  # by keyboard
    assert driver.execute_script(SEEN) == [bad]
    assert status() == "1 of 3 claims"
    assert not driver.find_element("css selector", "#section-2").is_displayed()
    driver.find_element("css selector", "input[value='']").click()
    search = driver.find_element("css selector", "input[type=search]")
    search.send_keys("GRÖßE  start")
    assert driver.execute_script(SEEN) == [part, "not run"]
    search.clear()
    search.send_keys("no such words")
    assert driver.execute_script(SEEN) == []
    assert status() == "0 of 3 claims"


def test_readers_without_scripts_see_all_claims_and_no_filter(look):
    driver = look("index", scripts=False)
    root = driver.execute_cdp_cmd("DOM.getDocument", {"depth": 1})["root"]["nodeId"]

    def boxes(selector):
        query = {"nodeId": root, "selector": selector}
        return driver.execute_cdp_cmd("DOM.querySelectorAll", query)["nodeIds"]

    for node in boxes(".fl-answer"):
        assert driver.execute_cdp_cmd("DOM.getBoxModel", {"nodeId": node})["model"]["height"] > 20
    with pytest.raises(Exception, match="compute box model"):
        driver.execute_cdp_cmd("DOM.getBoxModel", {"nodeId": boxes(".fl-filter")[0]})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_links_lead_from_page_to_page_and_back(look):
    driver = look("index")
    driver.find_element("link text", "All forms").click()
    assert driver.title.startswith("All forms")
    titles = []
    while links := driver.find_elements("css selector", "nav a[rel=next]"):
        driver.execute_script("arguments[0].click()", links[0])
        titles.append(driver.find_element("css selector", "h1").text)
    assert titles == [gallery_samples.HARM, "Never so", "It fell over"]
    driver.find_element("css selector", "nav a[rel=prev]").click()
    assert driver.find_element("css selector", "h1").text == "Never so"
    driver.find_element("css selector", "nav a[rel=up]").click()
    assert driver.current_url.endswith("index.html")


def test_a_page_that_left_its_gallery_shows_static_pictures(look, gallery, driver, tmp_path):
    page = tmp_path / "all-forms.html"
    page.write_bytes((gallery / "all-forms.html").read_bytes())
    driver.get(page.as_uri())
    heights = driver.execute_script(
        "return [...document.querySelectorAll('.fl-still svg')].map(s => s.clientHeight)"
    )
    assert len(heights) == 4
    assert min(heights) > 100
    driver.get_log("browser")  # the missing library is told, and nothing else matters here


def test_the_policy_lets_no_inline_handler_run(look):
    driver = look("harm")
    driver.execute_script(
        "const s = document.createElement('div');"
        "s.innerHTML = '<img src=x onerror=\"window.broken = 1\">'; document.body.append(s)"
    )
    driver.execute_async_script("setTimeout(arguments[0], 200)")
    assert driver.execute_script("return window.broken") is None
    assert "Content Security Policy" in str(driver.get_log("browser"))
