from __future__ import annotations

import dataclasses
import math

import pytest

from firstlight.records.checkup import Checkup, Estimate
from firstlight.records.network import Operation
from firstlight.reporting.signal import Scale, addresses, change, hidden, places, rms, signals

from . import samples

SICK = samples.checkup(healthy=False)


def at(checkup, *where):
    finding = dataclasses.replace(checkup.findings[0], where=where)
    return places(addresses(checkup), finding, signals(checkup))


def test_one_row_for_each_weighted_operation():
    shown = signals(SICK)
    assert [s.name for s in shown] == [f"net.{2 * i}" for i in range(30)]
    assert [s.position for s in shown] == list(range(1, 31))
    reading = SICK.observation.reading(shown[4].operation)
    assert shown[4].forward.value == pytest.approx(math.sqrt(reading.second_moment.value))


def test_without_weights_everything_measured_is_shown():
    plain = tuple(
        dataclasses.replace(o, kind="other") if o.kind == "weighted" else o
        for o in SICK.network.operations
    )
    network = dataclasses.replace(SICK.network, operations=plain)
    seen = dataclasses.replace(SICK.observation, network=network)
    assert len(signals(Checkup(observation=seen, findings=()))) == 59


def test_the_head_does_not_count_as_a_loss_of_signal():
    healthy = samples.checkup(healthy=True)
    assert change(s.forward for s in hidden(healthy)) == pytest.approx(1, abs=0.2)
    assert change(s.forward for s in signals(healthy)) < 0.5


def test_culprits_are_found_by_operation_parameter_module_and_call():
    assert at(SICK, "net.4", "net.0") == (3, 1)
    assert at(SICK, "net.58.weight", "net.58.bias") == (30,)
    assert at(SICK, "net.5") == (3,)  # an activation: at the weight before it
    assert at(SICK, "net") == (1,)
    assert at(SICK, "nowhere") == ()
    twice = Operation(index=60, name="body.fc#2", kind="weighted", function="linear")
    network = dataclasses.replace(SICK.network, operations=(*SICK.network.operations, twice))
    seen = dataclasses.replace(SICK.observation, network=network)
    checkup = Checkup(observation=seen, findings=SICK.findings)
    assert addresses(checkup)["body.fc"] == addresses(checkup)["body"] == 60


def test_tied_parameters_lead_to_their_operation():
    first = dataclasses.replace(SICK.network.parameters[0], ties=("head.tied",))
    network = dataclasses.replace(SICK.network, parameters=(first, *SICK.network.parameters[1:]))
    seen = dataclasses.replace(SICK.observation, network=network)
    assert at(Checkup(observation=seen, findings=SICK.findings), "head.tied") == (1,)


def test_roots_of_what_is_not_positive():
    assert rms(None).value is None
    assert rms(Estimate(value=0.0)).value == 0.0
    assert math.isnan(rms(Estimate(value=math.nan)).value)
    assert rms(Estimate(value=math.inf)).value == math.inf


def test_scales_hold_all_values_and_at_least_four_decades():
    scale = Scale.over([1e-9, 2.0, 0.0, math.nan, None])
    assert (scale.low, scale.high) == (-9, 1)
    assert [scale.place(v) for v in (0.0, 1e-9, 1e-4, 10.0, math.nan, math.inf)] == [
        0, 0, pytest.approx(0.5), 1, 1, 1,
    ]  # fmt: skip
    flat = Scale.over([1.0])
    assert flat.high - flat.low == 4 and flat.place(1.0) == 0.5
