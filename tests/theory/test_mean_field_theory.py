"""Length and correlation maps, edge of chaos, depth scales, operating points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from theory_tables import (
    CURVATURES,
    EDGE,
    EDGE_AT_LENGTHS,
    EDGE_CURVES,
    OFF_THE_EDGE,
    printed,
)

from firstlight.errors import BadInputError, InfeasibleError
from firstlight.records.network import ActivationRef
from firstlight.theory.activations import activation
from firstlight.theory.gains import sampled
from firstlight.theory.mean_field import (
    chi,
    correlation_map,
    depth_scales,
    edge_of_chaos,
    fixed_correlation,
    fixed_length,
    length_map,
    length_slope,
    operating_point,
)


def close(value: float, text: str) -> None:
    expected, tolerance = printed(text)
    assert value == pytest.approx(expected, rel=0, abs=tolerance)


@pytest.mark.parametrize("row", EDGE, ids=lambda row: " ".join(row[:2]))
def test_edge_and_operating_point(row):
    act = ActivationRef(name=row[0], parameter=None if row[1] == "-" else float(row[1]))
    sigma_w2, sigma_b2 = edge_of_chaos(act)
    # Whole numbers in the table are exact.
    digits = [text if "." in text or text == "-" else f"{text}.00000000" for text in row[2:]]
    close(sigma_w2, digits[0])
    close(sigma_b2, digits[1])
    close(length_slope(act, 1.0, sigma_w2), digits[2])
    assert chi(act, 1.0, sigma_w2) == pytest.approx(1.0, rel=1e-12)
    assert length_map(act, 1.0, sigma_w2, sigma_b2) == pytest.approx(1.0, rel=1e-12)
    if digits[3] == "-":
        with pytest.raises(InfeasibleError, match="stays below 1"):
            operating_point(act)
        return
    sigma = operating_point(act)
    close(sigma, digits[3])
    close(chi(act, sigma**2, sigma**2), digits[4])
    close(length_slope(act, sigma**2, sigma**2), digits[5])


def test_further_operating_points():
    close(operating_point("softplus"), "1.08312188")
    close(operating_point("relu6"), "1.41424343")
    sigma = operating_point("softplus")
    close(chi("softplus", sigma**2, sigma**2), ".35024754")
    close(length_slope("softplus", sigma**2, sigma**2), ".53528975")


@pytest.mark.parametrize("row", EDGE_AT_LENGTHS, ids=lambda row: " ".join(row[:2]))
def test_edge_at_other_lengths(row):
    sigma_w2, sigma_b2 = edge_of_chaos(row[0], float(row[1]))
    close(sigma_w2, row[2])
    close(sigma_b2, row[3])


@pytest.mark.parametrize("row", EDGE_CURVES, ids=lambda row: " ".join(row[:2]))
def test_edge_curves(row):
    # The printed q* has six digits, which shift σ_w² and σ_b² by up to about 2e-6.
    sigma_w2, sigma_b2 = edge_of_chaos(row[0], float(row[2]))
    assert sigma_w2 == pytest.approx(float(row[3]), abs=3e-6)
    assert sigma_b2 == pytest.approx(float(row[1]), abs=1e-6)
    close(fixed_length(row[0], sigma_w2, sigma_b2), row[2])


@pytest.mark.parametrize("row", OFF_THE_EDGE, ids=lambda row: " ".join(row[:2]))
def test_tanh_off_the_edge(row):
    sigma_w2, sigma_b2 = float(row[0]), float(row[1])
    q = fixed_length("tanh", sigma_w2, sigma_b2)
    close(q, row[2])
    close(chi("tanh", q, sigma_w2), row[3])
    close(length_slope("tanh", q, sigma_w2), row[4])
    scales = depth_scales("tanh", sigma_w2, sigma_b2)
    close(scales.length, row[5])
    c = fixed_correlation("tanh", sigma_w2, sigma_b2)
    close(c, row[6] if "." in row[6] else f"{row[6]}.00000000")
    close(scales.correlation, row[7])
    close(scales.gradient, row[8])
    assert correlation_map("tanh", c, sigma_w2, sigma_b2) == pytest.approx(c, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "q", "sigma_b2"),
    [("softplus", 1.0, "-2.14"), ("sigmoid", 1.0, "-5.543"), ("softplus", 0.01, "-1.9"),
     ("softplus", 400.0, "-16.6"), ("sigmoid", 45.6, "-0.0")],
)  # fmt: skip
def test_infeasible_edges_say_why(name, q, sigma_b2):
    with pytest.raises(InfeasibleError, match=f"no edge of chaos for {name} .* {sigma_b2}"):
        edge_of_chaos(name, q)


def test_sigmoid_has_an_edge_from_45_62():
    assert edge_of_chaos("sigmoid", 45.63)[1] > 0


@pytest.mark.parametrize("name", CURVATURES)
def test_both_forms_of_the_length_slope(name):
    # Stein: E[zφφ′] = E[φ′² + φφ″] at q = 1, with φ″ from a spectral fit of φ′.
    act = activation(name)
    z, weights, value, slope = sampled(act, 1.0)
    panels = z.reshape(-1, 24)
    second = np.empty_like(z).reshape(panels.shape)
    for row, x in enumerate(panels):
        fit = np.polynomial.Legendre.fit(x, act.derivative(x), 23)
        second[row] = fit.deriv()(x)
    second = second.ravel()
    close(float(weights @ second**2), CURVATURES[name])
    stein = float(weights @ (slope**2 + value * second))
    assert length_slope(act, 1.0, 1.0) == pytest.approx(stein, rel=1e-10)


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu", "selu", "hardtanh"])
def test_slopes_are_the_derivatives_of_the_maps(name):
    q, h = 0.9, 1e-4
    rise = length_map(name, q + h, 1.4, 0.1) - length_map(name, q - h, 1.4, 0.1)
    assert length_slope(name, q, 1.4) == pytest.approx(rise / (2 * h), rel=1e-7)
    near = correlation_map(name, 1 - 1e-6, 1.4, 0.0, q) * length_map(name, q, 1.4, 0.0) / q
    there = length_map(name, q, 1.4, 0.0) / q
    # A kinked φ bends as (1 − c)^(3/2), that is by 1e-3 of the slope here.
    kinked = name in ("relu", "selu", "hardtanh")
    assert (there - near) / 1e-6 == pytest.approx(chi(name, q, 1.4), rel=2e-3 if kinked else 1e-5)


def test_lengths_that_do_not_move_die_or_diverge():
    assert fixed_length("relu", 2.0, 0.0) == 1.0
    assert fixed_length("tanh", 0.5, 0.0) == 0.0
    assert fixed_length("relu", 1.0, 0.3) == pytest.approx(0.6, rel=1e-12)
    assert fixed_length("relu", 0.0, 1e-6) == pytest.approx(1e-6, rel=1e-9)
    with pytest.raises(InfeasibleError, match="the length grows beyond"):
        fixed_length("relu", 2.1, 0.0)


def test_relu_on_its_edge_never_settles():
    scales = depth_scales("relu", 2.0, 0.0)
    assert (scales.length, scales.correlation, scales.gradient) == (math.inf,) * 3


@pytest.mark.parametrize(
    ("name", "curvature"),
    [("tanh", ".646430"), ("gelu", ".604725"), ("silu", ".379026"), ("mish", ".410958"),
     ("erf", ".800000")],
)  # fmt: skip
def test_approach_to_full_correlation(name, curvature):
    # On the edge ε ← ε − ½C″(1)·ε² + O(ε³); combining ε and 2ε cancels the cubic term.
    sigma_w2, sigma_b2 = edge_of_chaos(name)

    def bend(e: float) -> float:
        return 2 * (e - 1 + correlation_map(name, 1 - e, sigma_w2, sigma_b2, 1.0)) / e**2

    # The next term is of relative size ε² = 1e-6, rounding 1e-15/ε² = 1e-9.
    assert 2 * bend(1e-3) - bend(2e-3) == pytest.approx(float(curvature), abs=1e-5)


def test_relu_approaches_full_correlation_as_a_power_of_three_halves():
    # ε ← ε − (2√2/3π)·ε^(3/2), leaving 9π²/(2l²); the relative error of one step is O(ε).
    for e in (1e-3, 1e-4):
        step = e - 1 + correlation_map("relu", 1 - e, 2.0, 0.0, 1.0)
        assert step / e**1.5 == pytest.approx(2 * math.sqrt(2) / (3 * math.pi), rel=e)


def test_odd_functions_without_bias_decorrelate():
    assert fixed_correlation("tanh", 2.0, 0.0) == 0.0


def test_refusals_say_why():
    with pytest.raises(BadInputError, match="sigma_w2 is a variance"):
        length_map("relu", 1.0, -1.0, 0.0)
    with pytest.raises(BadInputError, match="must be positive, got 0"):
        edge_of_chaos("relu", 0.0)
    with pytest.raises(InfeasibleError, match="stays above 1"):
        operating_point(lambda x: x**2 + 2)
    with pytest.raises(InfeasibleError, match="the signal dies"):
        correlation_map("tanh", 0.5, 0.0, 0.0)


def test_a_dying_signal_becomes_linear():
    # Without bias and below σ_w² = 1, tanh shrinks every length to zero, where it is linear.
    assert correlation_map("tanh", 0.4, 0.5, 0.0) == pytest.approx(0.4, rel=1e-9)


def test_simulated_length_and_gradient():
    # One wide layer: 100 draws of (mean of z², mean of squared gradient), width 500.
    rng = np.random.default_rng(0)
    sigma_w2, sigma_b2 = edge_of_chaos("silu")
    act, width = activation("silu"), 500
    lengths, slopes = [], []
    for _ in range(100):
        z, delta = rng.standard_normal((2, width))
        weight = rng.standard_normal((width, width)) * math.sqrt(sigma_w2 / width)
        bias = rng.standard_normal(width) * math.sqrt(sigma_b2)
        lengths.append(np.mean((weight @ act.function(z) + bias) ** 2))
        slopes.append(np.mean((act.derivative(z) * (weight.T @ delta)) ** 2))
    for name, values in (("length", lengths), ("gradient", slopes)):
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        assert abs(np.mean(values) - 1) < 4 * error, name
        assert 4 * error < 0.06  # below σ_b² = 0.0625, which a forgotten bias would cost
