"""Reports of five very different models in a browser: room, contrast, names, no errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from firstlight.reporting.files import save

from .browser import needs_browser, show, violations

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from report_models import REPORTS, report

pytestmark = [pytest.mark.browser, needs_browser]

SIZES = ((390, "dark"), (768, "light"), (1280, "dark"), (1920, "light"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("five")


@pytest.mark.parametrize("name", REPORTS)
def test_reports_fit_and_can_be_read_by_everybody(name, folder, driver):
    path = folder / f"{name}.html"
    save(report(name), path)
    assert path.stat().st_size < 3_000_000
    for width, theme in SIZES:
        show(driver, path, width, theme)
        assert violations(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") == width
        assert driver.get_log("browser") == []
        assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_a_page_that_nobody_can_read_is_found_out(folder, driver):
    path = folder / "bad.html"
    words = '<p style="color:#bbb;background:#fff">pale</p><button></button>'
    path.write_text(f"<!DOCTYPE html><html><body><main>{words}</main></body></html>")
    driver.get(path.as_uri())
    assert {v[0] for v in violations(driver)} >= {"color-contrast", "button-name", "html-has-lang"}
