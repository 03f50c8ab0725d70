"""The pictures of exhibits: each form draws what can be drawn, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from firstlight.exhibits.pictures import picture
from firstlight.records.exhibit import Measurement
from firstlight.reporting.exhibit_charts import picture_chart
from firstlight.reporting.exhibit_page import exhibit_chapter
from firstlight.reporting.gallery_page import exhibit_page, navigation
from firstlight.reporting.series_styles import styles

from .gallery_samples import EXHIBITS, TITLES

SHARED = {"x_title": "depth", "y_title": "variance", "alt": "Variance falls with depth."}
FALLING = [1.0, 0.1, 0.0, math.nan]


def drawn(form, x, **options):
    """The rows of the data of each layer."""
    series = {"tanh": FALLING, "ReLU": [1.0, 1.0, 1.0, math.inf]}
    chart = picture_chart(picture(form, "Variance", x=x, y=series, **SHARED, **options))
    assert chart.svg.startswith("<svg")
    shared = chart.spec.get("data")
    names = [layer.get("data", shared)["name"] for layer in chart.spec["layer"]]
    return [chart.spec["datasets"][name] for name in names]


@pytest.mark.parametrize("form", ["lines", "points", "bars", "map"])
@pytest.mark.parametrize("log", [False, True])
def test_what_is_not_finite_is_left_out_and_zero_on_a_log_axis(form, log):
    x = list("abcd") if form in {"bars", "map"} else [1, 2, 3, 4]
    layers = drawn(form, x, y_log=log)
    assert len(layers) >= 2  # what is seen, and what tells under the pointer
    for rows in layers:
        values = [row["y"] for row in rows if row["series"] == "tanh"]
        assert values == ([1.0, 0.1] if log else [1.0, 0.1, 0.0])
        assert len([row for row in rows if row["series"] == "ReLU"]) == 3


@pytest.mark.parametrize("form", ["lines", "points", "bars"])
def test_bands_are_drawn_around_their_series(form):
    x = list("abcd") if form == "bars" else [1, 2, 3, 4]
    bands = {"tanh": ([0.5, 0.05, 0.0, 0.0], [2.0, 0.2, 0.1, 0.1])}
    layers = drawn(form, x, bands=bands, y_log=True)
    banded = [row for rows in layers for row in rows if "low" in row]
    assert {(row["low"], row["high"]) for row in banded} == {(0.5, 2.0), (0.05, 0.2)}


def test_a_picture_of_nothing_that_can_be_drawn_is_still_one():
    chart = picture_chart(
        picture("lines", "NaN", x=[1, 2], y={"lost": [math.nan, math.nan]}, **SHARED)
    )
    assert "<svg" in chart.svg


@pytest.mark.parametrize("form", ["lines", "points", "bars", "map"])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values", [[5e-324, 1.7e308], [5e-324, 5e-324], [-1.7e308, 1.7e308], [0.0, 0.0], [2e-9, 3e-9]]
)
def test_numbers_at_the_ends_of_the_range_are_drawn(values, log, form):
    x = list("ab") if form in {"bars", "map"} else [1e-300, 1e300]
    chart = picture_chart(picture(form, "Far", x=x, y={"a": values}, **SHARED, y_log=log))
    assert "<svg" in chart.svg and "undefined" not in chart.svg and "NaN" not in chart.svg


def test_a_series_on_another_is_dashed_and_a_gap_parts_a_line():
    lines = {"below": [1.0, 2.0, math.nan, 4.0], "above": [1.0, 2.0, 3.0, 4.0], "off": [4, 3, 2, 1]}
    looks = styles(picture("lines", "Lines", x=[1, 2, 3, 4], y=lines, **SHARED))
    assert {name: bool(look.dash) for name, look in looks.items()} == {
        "below": False,
        "above": True,
        "off": False,
    }
    assert len({look.color for look in looks.values()}) == 3
    chart = picture_chart(picture("lines", "Lines", x=[1, 2, 3, 4], y=lines, **SHARED))
    rows = chart.spec["datasets"][chart.spec["layer"][0]["data"]["name"]]
    assert [row["gaps"] for row in rows if row["series"] == "below"] == [0, 0, 1]


def test_a_log_axis_is_labelled_with_powers_of_ten():
    svg = picture_chart(
        picture("lines", "Fall", x=[1, 2], y={"a": [1.0, 1e-8]}, **SHARED, y_log=True)
    ).svg
    assert all(f">{label}</text>" in svg for label in ("1", "0.01", "10⁻⁴", "10⁻⁶", "10⁻⁸"))


@pytest.mark.parametrize(("noted", "shown"), [(3, 5), (4, 2)])
def test_many_numbers_that_decide_nothing_wait_behind_a_click(noted, shown):
    decided = [
        Measurement(name="steps", value=1.0, unit="steps", expected="at most 2 steps", met=True),
        Measurement(name="share", value=0.5, unit="%", expected="exactly 1 %", met=False),
    ]
    beside = [Measurement(name=f"beside {i}", value=float(i), unit="steps") for i in range(noted)]
    exhibit = replace(EXHIBITS["refuted"], measurements=(beside[0], *decided, *beside[1:]))
    chapter = exhibit_chapter(exhibit)
    assert len(chapter.measured.rows) == shown
    assert ("steps", "1 step", "at most 2 steps", "yes") in chapter.measured.rows
    folded = () if chapter.noted is None else chapter.noted.rows
    assert folded == (
        ()
        if noted == 3
        else tuple((f"beside {i}", f"{i} step{'' if i == 1 else 's'}") for i in range(4))
    )
    page = exhibit_page(exhibit, navigation("refuted", TITLES))
    assert ("4 more numbers" in page) is (noted == 4)
    assert all(f"beside {i}" in page for i in range(noted))


def test_names_of_series_are_typeset_on_the_page():
    curves = picture(
        "lines", "t", x=[0, 1], y={"noise 1e-9": [1, 2]}, x_title="x", y_title="y", alt=""
    )
    page = exhibit_page(
        replace(EXHIBITS["refuted"], pictures=(curves,)), navigation("refuted", TITLES)
    )
    assert 'data-series="noise' not in page  # one series, nothing to choose
    assert "noise 1\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10⁻⁹" in page
    assert "1e-9" not in page
