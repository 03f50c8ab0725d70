"""The pictures of exhibits: each form draws what can be drawn, and nothing else."""

from __future__ import annotations

import math

import pytest

from firstlight.exhibits.pictures import picture
from firstlight.reporting.exhibit_charts import picture_chart

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
