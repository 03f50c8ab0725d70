"""Refusals: who is refused, why, and that what is proposed instead works."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

import firstlight as fl
from firstlight.planning.chains import operating
from firstlight.records.network import ActivationRef
from firstlight.theory.depth_limit import limit_of, substitute
from firstlight.theory.odd_part import odd_part
from firstlight.theory.propagation import DECADES_E

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from predictions import tried
from simulated import simulate


@pytest.mark.parametrize(
    ("name", "depth", "limit", "by"),
    # ln e⁶ over ln of the table's ratios E φ′²/E φ²: .31846, .15283, 1.24401, 1.03590, 1.07157
    [
        ("softplus", 20, 6, "gradient"),
        ("sigmoid", 20, 4, "gradient"),
        ("softsign", 1001, 28, "gradient"),
        ("elu", 1001, 171, "gradient"),
        ("selu", 1001, 87, "gradient"),
        ("relu", 100, 63, "correlation"),
    ],
)
def test_variance_scaling_is_refused_beyond_its_depth(name, depth, limit, by):
    found = limit_of(name, depth)
    assert found.limit_layers == limit and found.by == by
    assert limit_of(name, limit) is None
    assert found.smallest.kind == "start" and found.smallest.limit_layers >= depth
    assert f"theory allows {limit} plain layers of {name}" in found.sentence
    assert "\n" not in found.sentence and found.smallest.what in found.sentence


@pytest.mark.parametrize("name", ["relu", "softplus", "elu", "selu", "softsign", "tanh", "sigmoid"])
def test_the_planners_own_start_is_not_refused(name):
    reference = ActivationRef(name=name)
    run = operating(reference, 1000)
    found = limit_of(
        reference,
        1000,
        sigma_w2=run.gain**2,
        length=run.length,
        mirrored=run.mirrored,
    )
    assert found is None


@pytest.mark.parametrize("step", [np.sign, lambda x: (x > 0) * 1.0], ids=["sign", "step"])
def test_no_start_helps_a_step_function(step):
    found = limit_of(step, 20)
    assert found.by == "derivative" and found.limit_layers == 1
    assert "no start can train 20 layers" in found.sentence
    kinds = {change.kind: change.helps for change in found.changes}
    assert kinds == {"width": False, "activation": True, "norm": False, "skip": True}


def test_a_mirrored_start_that_fails_is_not_proposed_again():
    found = limit_of("selu", 1000, mirrored=True)
    assert found is not None and "start" not in {change.kind for change in found.changes}
    assert found.smallest.what == "silu instead of selu, from the mirrored start"
    assert odd_part(substitute("selu")).linear


def test_functions_never_seen_and_parameters_have_limits_too():
    assert limit_of(lambda x: np.logaddexp(0, x), 20).limit_layers == 6
    sharp = limit_of(ActivationRef(name="softplus", parameter=5.0), 1000)
    assert 6 < sharp.limit_layers < 1000 and "softplus(5)" in sharp.sentence


@pytest.mark.parametrize(("name", "depth"), [("softplus", 30), ("sigmoid", 30)])
def test_simulated_networks_fail_as_refused_and_live_with_each_change_that_helps(name, depth):
    width = 100
    found = limit_of(name, depth, width=width)
    run = simulate(fl.predict(name, depth=depth, width=width), width=width, seed=0)
    assert abs(math.log(run.delta_square_ratio)) > DECADES_E
    for change in found.changes:
        if change.kind == "width":
            continue  # four times the width is tried by the benchmark
        lost = abs(math.log(tried(name, change, depth, width)))
        assert (lost < DECADES_E) == change.helps, change.what
