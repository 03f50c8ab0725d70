"""Signal, gradient and correlation through the depth: closed forms, tables, simulated networks."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from theory_tables import KERNEL_POINTS, KERNELS

import firstlight as fl
from firstlight.theory.activations import activation
from firstlight.theory.mean_field import correlation_map, kernel
from firstlight.theory.propagation import (
    HORIZON,
    Medium,
    Setting,
    delta_square_ratio,
    profile,
    trainable_depth,
    travel,
)
from firstlight.theory.spectrum import EXPONENTS, distance, spectrum

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from simulated import simulate


@pytest.mark.parametrize("row", KERNELS, ids=lambda row: row[0])
def test_the_spectrum_gives_the_kernels_of_the_table(row):
    act = activation(row[0], None if row[1] == "-" else float(row[1]))
    assert KERNEL_POINTS[0] == (1.0, 1.0, 0.3)
    assert float(spectrum(act, 1.0) @ 0.3**EXPONENTS) == pytest.approx(float(row[2]), abs=1e-11)


@pytest.mark.parametrize("name", ["relu", "selu", "hardtanh", "softsign", "gelu", "relu6"])
@pytest.mark.parametrize("epsilon", [0.1, 1e-2, 1e-4])
def test_the_spectrum_holds_close_to_the_diagonal_though_kinks_have_long_tails(name, epsilon):
    weights = spectrum(activation(name), 2.0)
    exact = 1 - kernel(name, 2, 2, 1 - epsilon) / kernel(name, 2, 2, 1.0)
    found = distance(weights / weights.sum(), epsilon)
    # Without the tail, ReLU would be off by several per cent.
    assert found == pytest.approx(exact, rel=6e-5)


def test_a_step_function_has_its_arcsine_kernel():
    weights = spectrum(activation(np.sign), 1.0)
    for epsilon in (0.5, 0.01):
        exact = 1 - 2 / math.pi * math.asin(1 - epsilon)
        assert distance(weights, epsilon) == pytest.approx(exact, rel=5e-3)


def test_correlation_follows_the_map_of_mean_field_theory():
    journey = travel(Medium("gelu"), Setting(sigma_w2=2.2, sigma_b2=0.1), 8)
    q, c = 1.0, 0.0
    for layer in range(8):
        assert 1 - journey.epsilon_unrelated[layer] == pytest.approx(c, abs=1e-6)
        assert journey.second_moment[layer] == pytest.approx(q, rel=1e-12)
        c = correlation_map("gelu", c, 2.2, 0.1, q)
        q = 2.2 * kernel("gelu", q, q, 1.0) + 0.1


def test_correlation_on_the_edge_closes_as_the_closed_map_and_its_law_say():
    journey, c = travel(Medium("relu"), Setting(sigma_w2=2.0), 1001), 0.0
    for layer in range(1001):
        assert journey.epsilon_unrelated[layer] == pytest.approx(1 - c, rel=5e-3)
        c = (math.sqrt(1 - c**2) + (math.pi - math.acos(c)) * c) / math.pi
    # The law 9π²/(2l²) is approached slowly: 3 % are missing after a thousand layers.
    law = 9 * math.pi**2 / (2 * 1000**2)
    assert journey.epsilon_unrelated[1000] / law == pytest.approx(0.970, abs=4e-3)


@pytest.mark.parametrize(
    ("name", "factor"), [("relu", math.pi / (math.pi - 1)), ("tanh", 1.17780723)]
)
def test_batch_norm_makes_gradients_grow_whatever_the_weights(name, factor):
    for sigma_w2 in (0.1, 5.0):
        setting = Setting(sigma_w2=sigma_w2, sigma_b2=0.3, norm="batch")
        rates = travel(Medium(name), setting, 4).log_gradient_rate
        assert np.exp(rates) == pytest.approx(factor, rel=1e-8)


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("relu", 1.0),
        ("mish", 1.001),
        ("gelu", 1.0621),
        ("silu", 1.1009),
        ("hardswish", 1.1558),
        ("softplus", 1.0561),
        ("relu_squared", 2.0),
        ("elu", 0.8602),
        ("tanh", 0.4611),
    ],
)
def test_batch_norm_says_where_its_factor_drifts(name, slope):
    said = fl.predict(name, depth=3, norm="batch")
    assert said.length_slope == pytest.approx(slope, abs=6e-5)
    assert any("drifts" in remark for remark in said.remarks) == (slope > 1.0005)


def test_residual_streams_grow_as_powers_or_lines():
    s2, layers = 0.1, 51
    bare = travel(Medium("relu"), Setting(sigma_w2=2.0, skip=math.sqrt(s2)), layers)
    assert bare.second_moment[-1] == pytest.approx((1 + s2) ** 50, rel=1e-9)
    assert delta_square_ratio(bare, layers) == pytest.approx((1 + s2) ** 50, rel=1e-9)
    normed = travel(Medium("relu"), Setting(sigma_w2=2.0, skip=1.0, norm="layer"), layers)
    assert normed.second_moment[-1] == pytest.approx(1 + 50)
    # ∏ (1 + 1/l) telescopes.
    assert delta_square_ratio(normed, layers) == pytest.approx(51)


def test_dropout_keeps_inputs_apart_even_on_the_edge():
    said = fl.predict("relu", depth=50, dropout=0.1)
    assert said.sigma_w2 == pytest.approx(1.8) and said.chi == pytest.approx(1)
    c = said.fixed_correlation
    closed = (math.sqrt(1 - c**2) + (math.pi - math.acos(c)) * c) / math.pi
    assert 0.9 * closed == pytest.approx(c, abs=1e-6) and c < 0.63
    assert math.isfinite(said.xi_correlation)


def test_trainable_depth_is_six_depth_scales_where_the_rate_is_constant():
    said = fl.predict("softplus")
    assert said.trainable.by_gradient_layers == math.ceil(6 * said.xi_gradient)
    far = trainable_depth(travel(Medium("elu"), Setting(sigma_w2=1.2451983**2), 20))
    near = trainable_depth(travel(Medium("elu"), Setting(sigma_w2=1.2451983**2), HORIZON))
    assert far.by_gradient_layers == pytest.approx(near.by_gradient_layers, abs=1)


def test_extremes_neither_overflow_nor_divide_by_zero():
    for name, setting in (
        ("relu", Setting(sigma_w2=2.0, skip=3.0)),
        ("relu", Setting(sigma_w2=1e-6)),
        ("relu_squared", Setting(sigma_w2=2.0)),
        ("relu_squared", Setting(sigma_w2=2.0, skip=1.0)),
        (np.sign, Setting(sigma_w2=1.0, norm="batch")),
        (lambda x: 0 * x, Setting(sigma_w2=1.0)),
    ):
        journey = travel(Medium(name), setting, 400)
        said = profile(journey, 400)
        assert not np.isnan([*said.second_moment, *said.delta_square, *said.alike]).any()
        assert min(said.unrelated) >= 0 and max(said.alike) <= 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tanh", {"sigma_w2": 2.5, "sigma_b2": 0.05}),
        ("elu", {}),
        ("gelu", {"norm": "layer"}),
        ("tanh", {"norm": "batch"}),
        ("relu", {"skip": 0.5}),
        ("relu", {"skip": True, "norm": "layer", "dropout": 0.2}),
        ("tanh", {"dropout": 0.2}),
    ],
    ids=str,
)
def test_wide_simulated_networks_do_what_was_predicted(name, options):
    depth, width, seeds = 8, 300, 5
    said = fl.predict(name, depth=depth, width=width, **options)
    runs = [simulate(said, width=width, seed=seed) for seed in range(seeds)]
    path = said.profile
    pairs = {
        "second moment": (path.second_moment[-1], [r.second_moment[-1] for r in runs]),
        "gradient": (
            math.log(path.delta_square[0]),
            [math.log(r.delta_square_ratio) for r in runs],
        ),
        "unrelated": (path.unrelated[-1], [r.unrelated[-1] for r in runs]),
        "alike": (path.alike[-1], [r.alike[-1] for r in runs]),
    }
    for what, (predicted, found) in pairs.items():
        error = np.std(found, ddof=1) / math.sqrt(seeds)
        # Five standard errors, and the theory's own error of order depth/width.
        assert abs(np.mean(found) - predicted) < 5 * error + depth / width, what


def test_the_spread_over_draws_is_that_of_simulated_networks():
    depth, width, seeds = 10, 100, 40
    said = fl.predict("relu", depth=depth, width=width)
    assert said.log_length_spread == pytest.approx(math.sqrt(5 * (depth - 1) / width))
    ends = [simulate(said, width=width, seed=s).second_moment[-1] for s in range(seeds)]
    # The spread of a sample's logarithm is known to 1/√(2·39) = 11 %; the inputs share weights.
    assert np.std(np.log(ends), ddof=1) == pytest.approx(said.log_length_spread, rel=0.35)
