"""What the signal map draws beside the two measurements: theory, and points that stand alone."""

from __future__ import annotations

import dataclasses
import math

import pytest

from firstlight.records.checkup import Checkup
from firstlight.records.plan import Forecast
from firstlight.reporting.forecast import foretold
from firstlight.reporting.signal import signals
from firstlight.reporting.signal_map import signal_chart

from . import samples

HEALTHY = samples.checkup(healthy=True, depth=6)


def forecast(how="theory"):
    shown = signals(HEALTHY)
    return tuple(
        Forecast(
            operation=signal.operation,
            name=signal.name,
            second_moment=4.0,
            delta_square_per_sample=0.25 ** (len(shown) - signal.position),
            how=how,
        )
        for signal in shown
    )


def drawn(chart, mark):
    return [
        row
        for layer in chart.spec["layer"]
        if layer["mark"]["type"] == mark
        for row in chart.spec["datasets"][layer["data"]["name"]]
    ]


def test_theory_is_anchored_at_the_last_measured_gradient():
    shown = signals(HEALTHY)
    expected = foretold(forecast(), shown)
    assert [s.forward.value for s in expected] == [2.0] * 6
    last = shown[-1].backward.value
    assert [s.backward.value for s in expected] == pytest.approx(
        [last * 0.5 ** (5 - i) for i in range(6)]
    )
    assert foretold(forecast("measured"), shown) == ()


def test_theory_is_a_line_of_the_map_beside_before_and_after():
    sick = samples.checkup(healthy=False, depth=6)
    chart = signal_chart(sick, HEALTHY, "forward", (), forecast())
    lines = drawn(chart, "line")
    assert {row["series"] for row in lines} == {"before", "after", "theory"}
    assert {row["y"] for row in lines if row["series"] == "theory"} == {2.0}
    assert "theory: 2.00 at the first, 2.00 at the last." in chart.description
    without = drawn(signal_chart(sick, HEALTHY, "forward", ()), "line")
    assert {row["series"] for row in without} == {"before", "after"}


def test_points_without_neighbours_are_dots_and_nothing_empty_is_drawn():
    readings = tuple(
        dataclasses.replace(r, delta_square_per_sample=None) if i not in (2, 6, 8) else r
        for i, r in enumerate(HEALTHY.layers)
    )
    seen = dataclasses.replace(HEALTHY.observation, readings=readings)
    chart = signal_chart(Checkup(observation=seen, findings=()), None, "backward", ())
    assert [row["x"] for row in drawn(chart, "circle")] == [2]  # 4 and 5 make a line
    assert all(chart.spec["datasets"].values())
    assert all(math.isfinite(row["y"]) for row in drawn(chart, "line"))
