"""What every exhibit must keep, over all that are there; each runs once, in one process."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from markupsafe import escape

from firstlight.exhibits.claims import CLAIMS
from firstlight.exhibits.experiment import CONDITIONAL, FAILS, HOLDS, Pace, all_met
from firstlight.exhibits.gallery import exhibit, exhibit_names, experiment_of
from firstlight.exhibits.touring import in_order
from firstlight.records.codec import from_json, to_json
from firstlight.reporting.page import to_page

NAMES = exhibit_names()
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
DELIBERATE = re.compile(r"infinit|\binf\b|nan|overflow|diverge|never|not finite|no step", re.I)


@pytest.mark.parametrize("name", NAMES)
def test_an_exhibit_keeps_the_contract(name):
    """One test for each exhibit, so that it runs once whatever process takes it."""
    shown = exhibit(name, quick=True)
    checks = (verdict, sentence, finite, lesson, texts, json_trip, pictures, tables, page, absent)
    broken = []
    for check in checks:
        try:
            check(shown)
        except AssertionError as error:
            broken.append(f"{check.__name__}: {error}")
    assert not broken, "\n".join(broken)


def absent(shown):
    """Where the phenomenon is absent, the same judge says something else."""
    experiment = experiment_of(shown.name)
    assert experiment.absent
    other = experiment.judge(experiment.measure(Pace.QUICK, 0, **experiment.absent))
    assert other.verdict != shown.verdict, f"still '{other.verdict}': {other.conditions}"


def verdict(shown):
    assert shown.verdict in {HOLDS, CONDITIONAL, FAILS}
    decided = [m for m in shown.measurements if m.met is not None]
    assert decided
    assert all(m.expected for m in decided)
    if shown.verdict == HOLDS:
        assert all_met(shown.measurements)
    else:
        assert not all_met(shown.measurements) or shown.verdict == CONDITIONAL


def sentence(shown):
    """The sentence that goes with the verdict tells at least one number that was measured."""
    assert shown.conditions.endswith(".")
    tokens = NUMBER.findall(shown.conditions.replace("−", "-"))
    values = [m.value * (100 if m.unit == "%" else 1) for m in shown.measurements]
    assert any(rounds_to(v, t) for v in values for t in tokens), f"{tokens} of {values}"


def rounds_to(value, token):
    """Whether a value, or its size, rounds to the figure as it is printed."""
    figure, _, power = token.replace(",", "").partition("e")
    half = 0.5001 * 10.0 ** (int(power or 0) - len(figure.partition(".")[2]))
    return abs(abs(value) - abs(float(token.replace(",", "")))) <= half


@pytest.mark.parametrize(
    ("value", "token", "same"),
    [
        (0.0312, "0.031", True),
        (0.0318, "0.031", False),
        (-3.0, "3", True),
        (1437.0, "1,437", True),
        (5.2e-10, "5e-10", True),
        (6e-10, "5e-10", False),
        (math.nan, "0", False),
    ],
)
def test_a_printed_figure_is_told_from_others(value, token, same):
    assert NUMBER.findall(f"it was {token}, so.") == [token]
    assert rounds_to(value, token) is same


def finite(shown):
    """Measured numbers are finite, or their name or the sentence says that they are not."""
    for m in shown.measurements:
        assert isinstance(m.value, float), m.name
        told = DELIBERATE.search(f"{m.name} {m.expected} {m.unit} {shown.conditions}")
        assert math.isfinite(m.value) or told, f"{m.name} is {m.value}"


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
        assert len(picture.alt) > 30, f"alt '{picture.alt}'"
        assert picture.title and picture.x_title and picture.y_title
        assert picture.series
        names = [series.name for series in picture.series]
        assert len(set(names)) == len(names)
        assert len(names) <= 6 or picture.form == "map", f"{len(names)} series in {picture.title}"
        for series in picture.series:
            assert len(series.x) == len(series.y)
            assert {len(series.low), len(series.high)} <= {0, len(series.y)}
            assert len(series.y) <= 2000
        assert any(math.isfinite(v) for series in picture.series for v in series.y)


def tables(shown):
    for grid in shown.tables:
        assert grid.rows
        assert {len(row) for row in grid.rows} == {len(grid.heads)}


def page(shown):
    html = to_page(shown)
    assert html.count('class="fl-chart"') == len(shown.pictures)
    assert all(str(escape(picture.alt)) in html for picture in shown.pictures)
    assert str(escape(shown.title)) in html
    assert shown.verdict in str(shown)


def test_the_same_seed_gives_the_same_numbers():
    first, second = (exhibit("worked-by-hand", quick=True) for _ in range(2))
    assert dataclasses.replace(first, seconds=0.0) == dataclasses.replace(second, seconds=0.0)


def test_every_claim_has_an_exhibit_and_every_exhibit_a_claim():
    said = [claim for claims in CLAIMS.values() for claim in claims]
    answered = {name for claim in said for name in claim.exhibits}
    assert all(claim.exhibits for claim in said)
    assert len({claim.said for claim in said}) == len(said)
    assert answered == set(NAMES)


def test_exhibits_stand_in_the_order_of_the_claims():
    order = in_order(NAMES)
    assert sorted(order) == sorted(NAMES)
    assert order[0] == "training-loop"
    assert order.index("zero-weights") < order.index("worked-by-hand")
