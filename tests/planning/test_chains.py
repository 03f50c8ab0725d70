"""A hundred plain layers: signal and gradient arrive, measured with torch alone, and they train."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.planning.chains import GROWTH, operating
from firstlight.records.law import Mirrored, Orthogonal
from firstlight.records.network import ActivationRef

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import chains as benchmark

EXACT = ("relu", "leaky_relu", "gelu", "silu", "softplus", "hardswish")
BENT = ("elu", "selu", "mish", "tanh", "erf", "sin")
LIMITS = {
    **dict.fromkeys(EXACT, (0.5, 2.0)),
    **dict.fromkeys(BENT, (0.1, 10.0)),
    "sigmoid": (0.01, 100.0),
}
ODD = ("tanh", "erf", "sin")


@pytest.fixture(scope="module")
def digits():
    return benchmark.digits()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", LIMITS)
def test_signal_and_gradient_cross_100_layers(name, seed, digits):
    model = benchmark.chain(name, 100)
    plan = fl.plan(model, digits[0][:256])
    plan.apply(model, seed=seed)
    forward, delta = benchmark.ratios(model, digits[0][:256], seed=seed)
    low, high = LIMITS[name]
    assert low <= forward <= high
    assert low <= delta <= high
    expected = Orthogonal if name in ODD else Mirrored
    assert isinstance(plan["2.weight"].law, expected)


def test_he_and_glorot_fail_where_the_plan_holds(digits):
    """Counter-test: the same measurement tells the techniques apart."""
    for name, technique in (("sigmoid", "glorot_normal"), ("tanh", "he_normal")):
        model = benchmark.chain(name, 100)
        fl.plan(model, digits[0][:256], technique=technique).apply(model, seed=0)
        _, delta = benchmark.ratios(model, digits[0][:256])
        assert not 0.01 <= delta <= 100, name


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_100_layers_learn_the_digits_in_60_steps(name, digits):
    race = fl.race(
        lambda: benchmark.chain(name, 100),
        digits,
        techniques=("plan",),
        seeds=3,
        steps=60,
        learning_rates=(0.01, 0.03),
        search_seeds=1,
    )
    assert race["plan"].mean >= (0.8 if name == "sigmoid" else 0.9)


@pytest.mark.parametrize("depth", [10, 100, 1000])
@pytest.mark.parametrize("name", [*BENT, "sigmoid", "softsign"])
def test_the_length_is_the_largest_that_depth_can_bear(name, depth):
    """χ(q)^L is at its limit, unless q = 1 already stays below it."""
    from firstlight.theory.gains import backward_gain, forward_gain
    from firstlight.theory.odd_part import odd_activation

    run = operating(ActivationRef(name=name), depth)
    psi = odd_activation(name)
    growth = (forward_gain(psi, run.length) / backward_gain(psi, run.length)) ** (2 * depth)
    assert run.length <= 1
    if run.length < 1:
        assert growth == pytest.approx(GROWTH, rel=1e-2)
    else:
        assert growth <= GROWTH


def test_a_shallow_relu_network_is_left_to_he():
    model = benchmark.chain("relu", 3)
    plan = fl.plan(model, torch.randn(64, 64))
    assert plan["2.weight"].rule == "variance scaling"
    assert "He" in plan["2.weight"].reason


def test_a_shallow_sigmoid_chain_is_deep_already():
    plan = fl.plan(benchmark.chain("sigmoid", 3), torch.randn(64, 64))
    assert plan["2.weight"].rule == "mirrored chain"


def test_an_unknown_start_is_refused_by_the_race(digits):
    with pytest.raises(BadInputError, match="did you mean 'he_normal'"):
        fl.race(lambda: benchmark.chain("relu", 2), digits, techniques=("he_norml",), seeds=1)
