"""A pytest plugin: models that start unhealthy fail their test; reports of all that was checked.

    def test_starts_healthy(assert_healthy):
        assert_healthy(build(), batch, target=labels)

``pytest --firstlight-report FOLDER`` writes a page and a JSON file for each check;
``-m firstlight`` runs only the tests that look at a start. Nothing of Firstlight is imported before
a test asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from firstlight.records.checkup import Checkup

MARKER = "firstlight(allow=…): looks at a network's start; allow= names kinds of finding to accept"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--firstlight-report FOLDER``."""
    group = parser.getgroup("firstlight", "healthy starts of neural networks")
    group.addoption(
        "--firstlight-report",
        metavar="FOLDER",
        default=None,
        help="write a page and a JSON file for each network that was checked",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line("markers", MARKER)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the fixture, so that ``-m firstlight`` finds them."""
    for item in items:
        if "assert_healthy" in getattr(item, "fixturenames", ()):
            item.add_marker("firstlight")


@pytest.fixture
def assert_healthy(request: pytest.FixtureRequest) -> Callable[..., Checkup]:
    """`firstlight.check` with the same arguments, and a failed test if there is an error.

    The marker ``@pytest.mark.firstlight(allow=["input-scale"])`` accepts kinds of finding.
    """
    allowed: set[str] = set()
    for marker in request.node.iter_markers("firstlight"):
        given = marker.kwargs.get("allow", ())
        allowed |= {given} if isinstance(given, str) else set(given)
    calls = 0

    def assert_healthy(model: Any, batch: Any = None, **options: Any) -> Checkup:
        nonlocal calls
        import firstlight
        from firstlight.records.checkup import FINDING_KINDS

        if unknown := allowed - set(FINDING_KINDS):
            pytest.fail(
                f"firstlight: allow= names unknown kinds {sorted(unknown)}; known: "
                f"{', '.join(FINDING_KINDS)}",
                pytrace=False,
            )
        checkup = firstlight.check(model, batch, **options)
        calls += 1
        _report(request, checkup, calls)
        errors = [f for f in checkup.findings if f.severity == "error" and f.kind not in allowed]
        if errors:
            lines = [f"{f.kind} at {', '.join(f.where[:3])}: {f.evidence}" for f in errors]
            cures = [f"cure: {f.cure}" for f in errors[:1]]
            name = checkup.network.name
            pytest.fail("\n".join((f"{name} starts unhealthy", *lines, *cures)), pytrace=False)
        return checkup

    return assert_healthy


def _report(request: pytest.FixtureRequest, checkup: Checkup, call: int) -> None:
    folder = request.config.getoption("--firstlight-report")
    if folder is None:
        return
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    test = request.node.nodeid
    stem = re.sub(r"[^\w.-]+", "-", test.rpartition("/")[2]).strip("-")[:150]
    stem += "" if call == 1 else f"-{call}"
    checkup.save(place / f"{stem}.html")
    checkup.save(place / f"{stem}.json")
    worst = {f.severity for f in checkup.findings}
    verdict = next((s for s in ("error", "warning", "note") if s in worst), "healthy")
    # Under xdist the tests run in other processes: what they tell travels with the test's report.
    request.node.user_properties.append(("firstlight", f"{verdict}: {place / f'{stem}.html'}"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the pages that were written."""
    lines = [
        f"{report.nodeid}  {value}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, value in getattr(report, "user_properties", ())
        if name == "firstlight"
    ]
    if lines:
        terminalreporter.section("firstlight")
        for line in lines:
            terminalreporter.line(line)
