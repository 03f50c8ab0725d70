"""How large reports are, and how long a browser takes to open them.

    python benchmarks/report_size.py [--repeats 3] [--keep FOLDER]

Six models: five as unlike as possible, and one of 200 layers. A page is one offline file.
"Readable" is when the browser first shows text and static pictures, "interactive" when every chart
has been drawn anew by the page's script; both from the start of navigation, in headless Chromium,
the least of the repeats. The bars: 3 MB, and one second until the page can be read.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from report_models import REPORTS, report
from rich.console import Console
from rich.table import Table

BYTES, SECONDS = 3_000_000, 1.0

_READABLE = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
_DRAWN = """
    const done = arguments[0];
    const charts = [...document.querySelectorAll('.fl-chart[data-spec]')];
    const look = () => charts.every(c => c.querySelector('.fl-live svg'))
        ? done(performance.now()) : requestAnimationFrame(look);
    look();"""


def browser() -> Any:
    """A headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        raise SystemExit("needs chromium and chromedriver (apt-get install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.page_load_strategy = "none"  # else the clock runs on while the driver waits
    return webdriver.Chrome(options=options, service=Service(driver))


def opened(driver: Any, path: Path, repeats: int) -> tuple[float, float]:
    """Seconds until the page can be read, and until its charts answer."""
    readable, drawn = [], []
    for _ in range(repeats):
        driver.get("about:blank")
        driver.get(path.as_uri())
        deadline = time.monotonic() + 60
        while not driver.execute_script(
            "return location.protocol === 'file:' && document.readyState === 'complete'"
        ):
            if time.monotonic() > deadline:
                raise SystemExit(f"{path}: did not open within a minute")
        drawn.append(driver.execute_async_script(_DRAWN) / 1e3)
        readable.append(driver.execute_script(_READABLE) / 1e3)
    return min(readable), min(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a folder for the pages")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    table = Table("report", "MB", "written, s", "readable, s", "interactive, s", "kept")
    driver = browser()
    try:
        for name in REPORTS:
            record, path = report(name), folder / f"{name}.html".replace(" ", "-")
            start = time.perf_counter()
            record.save(path)
            written, size = time.perf_counter() - start, path.stat().st_size
            readable, drawn = opened(driver, path.resolve(), options.repeats)
            kept = "yes" if size < BYTES and readable < SECONDS else "no"
            figures = (f"{size / 1e6:.2f}", *(f"{t:.2f}" for t in (written, readable, drawn)))
            table.add_row(name, *figures, kept)
    finally:
        driver.quit()
        if options.keep is None:
            shutil.rmtree(folder)
    Console().print(table)


if __name__ == "__main__":
    main()
