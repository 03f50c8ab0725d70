"""Moments and gains: closed forms to 1e-9, printed constants to their last digit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from closed_forms import MOMENTS
from theory_tables import CONSTANTS, printed

from firstlight.errors import BadInputError, InfeasibleError
from firstlight.records.network import ActivationRef
from firstlight.theory.activations import activation, activation_names
from firstlight.theory.gains import backward_gain, centered_gain, forward_gain, moments, sampled


def reference(name, parameter):
    return ActivationRef(name=name, parameter=None if parameter == "-" else float(parameter))


@pytest.mark.parametrize("q", [1e-3, 0.01, 0.25, 1.0, 3.0, 10.0, 400.0, 1e4])
@pytest.mark.parametrize("key", MOMENTS, ids=str)
def test_closed_forms(key, q):
    mean, second, slope = MOMENTS[key](q)
    got = moments(ActivationRef(name=key[0], parameter=key[1]), q)
    size = max(second, 1.0)
    assert got.mean == pytest.approx(mean, rel=1e-9, abs=1e-12)
    # Closed forms themselves lose digits by subtraction when q is small.
    assert got.second_moment == pytest.approx(second, rel=1e-9, abs=1e-15 * size)
    assert got.variance == pytest.approx(second - mean**2, rel=1e-9, abs=1e-15 * size)
    assert got.derivative_second_moment == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("row", CONSTANTS, ids=lambda row: " ".join(row[:2]))
def test_constants(row):
    act = reference(*row[:2])
    got = moments(act)
    values = (
        got.mean,
        got.second_moment,
        got.variance,
        got.derivative_second_moment,
        forward_gain(act),
        centered_gain(act),
        backward_gain(act),
        got.derivative_second_moment / got.second_moment,
        got.derivative_second_moment / got.variance,
    )
    for value, text in zip(values, row[2:], strict=True):
        expected, tolerance = printed(text)
        assert value == pytest.approx(expected, rel=0, abs=tolerance)


def test_tables_tell_the_gains_apart():
    # What the printed digits would let pass: forward for backward, GELU for its tanh form.
    table = {tuple(row[:2]): row for row in CONSTANTS}
    for name in ("gelu", "silu", "tanh", "elu"):
        expected, tolerance = printed(table[name, "-"][6])
        assert abs(backward_gain(name) - expected) > 1e4 * tolerance
    expected, tolerance = printed(table["gelu", "-"][6])
    assert abs(forward_gain("gelu_tanh") - expected) > 1e3 * tolerance


@pytest.mark.parametrize("name", activation_names())
@pytest.mark.parametrize("q", [0.1, 1.0, 5.0])
def test_hermite_series_agrees(name, q):
    # Parseval: Σ a_n² = E φ² and Σ n·a_n² = q·E φ′², from below and for smooth φ exactly.
    count = 120
    act = activation(name)
    z, weights, value, _ = sampled(act, q)
    before, now, energy, slope = np.zeros_like(z), np.ones_like(z), 0.0, 0.0
    for n in range(count):
        coefficient = float(weights @ (value * now))
        energy += coefficient**2
        slope += n * coefficient**2
        before, now = now, (z * now - math.sqrt(n) * before) / math.sqrt(n + 1)
    got = moments(name, q)
    # Kinked φ: coefficients fall like n^(−5/4), so Σ n·a_n² misses about 1/√n of it.
    rough = len(act.kinks) > 0
    assert energy == pytest.approx(got.second_moment, rel=2e-3 if rough else 1e-6)
    assert slope == pytest.approx(q * got.derivative_second_moment, rel=0.15 if rough else 1e-4)
    assert slope <= q * got.derivative_second_moment * (1 + 1e-9)


@pytest.mark.parametrize("q", [0.3, 1.0, 4.0])
def test_gains_keep_what_they_promise(q):
    for name in ("gelu", "tanh", "sigmoid"):
        got = moments(name, q)
        assert forward_gain(name, q) ** 2 * got.second_moment == pytest.approx(q, rel=1e-12)
        assert centered_gain(name, q) ** 2 * got.variance == pytest.approx(q, rel=1e-12)
        slope = backward_gain(name, q) ** 2 * got.derivative_second_moment
        assert slope == pytest.approx(1.0, rel=1e-12)


def test_homogeneous_gains_are_equal_and_do_not_depend_on_length():
    for q in (1e-3, 1.0, 100.0):
        for slope in (0.0, 0.01, 0.5):
            act = ActivationRef(name="leaky_relu", parameter=slope)
            exact = math.sqrt(2 / (1 + slope**2))
            assert forward_gain(act, q) == pytest.approx(exact, rel=1e-12)
            assert backward_gain(act, q) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("q", [1e4, 1e6, 1e8])
def test_limit_of_long_signals(q):
    # Only z near 0 matters: E f(√q·z) → ϕ(0)/√q·∫f, with ∫sech² = 2 and ∫sech⁴ = 4/3; the next
    # term is of relative size 1/q.
    got, density = moments("tanh", q), 1 / math.sqrt(2 * math.pi * q)
    assert 1 - got.second_moment == pytest.approx(2 * density, rel=2 / q + 1e-9)
    assert got.derivative_second_moment == pytest.approx(4 / 3 * density, rel=2 / q + 1e-9)


def test_limit_of_short_signals():
    assert moments("relu", 0.0).derivative_second_moment == pytest.approx(0.5, rel=1e-12)
    assert moments("gelu", 0.0).derivative_second_moment == pytest.approx(0.25, rel=1e-9)


def test_table_results_are_kept_and_user_functions_are_not():
    assert moments("mish", 1.25) is moments("Mish", 1.25)
    slope = [1.0]
    act = activation(lambda x: slope[0] * x)
    first = forward_gain(act)
    slope[0] = 2.0
    assert forward_gain(act) == pytest.approx(first / 2, rel=1e-9)


def test_refusals_say_why():
    with pytest.raises(InfeasibleError, match="E φ² is zero at q = 1"):
        forward_gain(lambda x: 0 * x)
    with pytest.raises(InfeasibleError, match="E φ′² is zero"):
        backward_gain(np.sign)
    with pytest.raises(BadInputError, match="q must be a finite second moment"):
        forward_gain("relu", -1.0)
    with pytest.raises(BadInputError, match="q must be a finite second moment"):
        forward_gain("relu", math.nan)
