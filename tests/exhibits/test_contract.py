"""What every exhibit must keep, over all that are there; each runs once."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from markupsafe import escape

from firstlight.exhibits.claims import CLAIMS, PLANNED
from firstlight.exhibits.experiment import CONDITIONAL, FAILS, HOLDS, Pace, all_met
from firstlight.exhibits.gallery import exhibit, exhibit_names, experiment_of
from firstlight.records.codec import from_json, to_json
from firstlight.reporting.page import to_page

NAMES = exhibit_names()


@pytest.mark.parametrize("name", NAMES)
def test_an_exhibit_keeps_the_contract(name):
    """One test for each, so that an exhibit runs once, whatever process takes it."""
    shown = exhibit(name, quick=True)
    for check in (verdict, lesson, texts, json_trip, pictures, tables, page):
        check(shown)
    experiment = experiment_of(name)
    assert experiment.absent
    absent = experiment.judge(experiment.measure(Pace.QUICK, 0, **experiment.absent))
    assert absent.verdict != shown.verdict, "the same verdict where there is nothing to see"


def verdict(shown):
    assert shown.verdict in {HOLDS, CONDITIONAL, FAILS}
    decided = [m for m in shown.measurements if m.met is not None]
    assert decided
    assert all(m.expected for m in decided)
    assert all(isinstance(m.value, float) for m in shown.measurements)
    assert re.search(r"\d", shown.conditions)
    assert shown.conditions.endswith(".")
    if shown.verdict == HOLDS:
        assert all_met(shown.measurements)
    else:
        assert not all_met(shown.measurements) or shown.verdict == CONDITIONAL


def lesson(shown):
    assert len(sentences(shown.lesson)) == 3


def sentences(text):
    return [s for s in re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", text.strip()) if s]


def texts(shown):
    assert shown.title and shown.claim.endswith((".", "?"))
    assert shown.sources
    assert len(shown.title) <= 60


def json_trip(shown):
    text = to_json(shown)
    assert to_json(from_json(text)) == text
    assert type(from_json(text)) is type(shown)


def pictures(shown):
    assert shown.pictures
    for picture in shown.pictures:
        assert len(picture.alt) > 30
        assert picture.title and picture.x_title and picture.y_title
        assert picture.series
        names = [series.name for series in picture.series]
        assert len(set(names)) == len(names)
        for series in picture.series:
            assert len(series.x) == len(series.y)
            assert {len(series.low), len(series.high)} <= {0, len(series.y)}
            if picture.form in {"lines", "points"}:
                assert len(series.y) <= 2000
        assert any(math.isfinite(v) for series in picture.series for v in series.y)


def tables(shown):
    for grid in shown.tables:
        assert grid.rows
        assert {len(row) for row in grid.rows} == {len(grid.heads)}


def page(shown):
    html = to_page(shown)
    assert html.count('class="fl-chart"') == len(shown.pictures)
    assert str(escape(shown.title)) in html
    assert shown.verdict in str(shown)


def test_the_same_seed_gives_the_same_numbers():
    first, second = (exhibit("worked-by-hand", quick=True) for _ in range(2))
    assert dataclasses.replace(first, seconds=0.0) == dataclasses.replace(second, seconds=0.0)


def test_every_claim_has_an_exhibit_and_every_exhibit_a_claim():
    answered = {name for claims in CLAIMS.values() for c in claims for name in c.exhibits}
    assert all(claim.exhibits for claims in CLAIMS.values() for claim in claims)
    assert set(NAMES) <= answered
    assert answered - set(NAMES) <= PLANNED
