"""ZerO, IDInit and sinusoidal rows against formulas written here, in real layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from shared_cases import CASES, P_LIMIT, draw_into
from torch import nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import technique
from firstlight.laws.draw import draw
from firstlight.laws.moments import moments
from firstlight.laws.patterns import hadamard_sum
from firstlight.records.network import plain_layout
from firstlight.records.patterned import Hadamard, PaddedIdentity

SINGLE = 1.2e-7  # relative spacing of float32


def zero_matrix(m: int, n: int) -> np.ndarray:
    """Algorithm 1 of the paper for out = m, in = n, by whole matrices."""
    if m <= n:
        return np.eye(m, n)
    power = math.ceil(math.log2(m))
    p = 2**power
    return np.eye(m, p) @ linalg.hadamard(p) @ np.eye(p, n) / 2 ** (power / 2)


@pytest.mark.parametrize(("m", "n"), [(7, 7), (5, 9), (9, 5), (16, 5), (17, 16), (300, 100)])
def test_zero_is_the_papers_algorithm(m: int, n: int) -> None:
    values = draw_into(technique("zero_hadamard"), nn.Linear(n, m, bias=False))
    assert np.allclose(values, zero_matrix(m, n), rtol=SINGLE, atol=0)


def test_zero_keeps_lengths_where_the_width_is_a_power_of_two() -> None:
    layer = nn.Linear(40, 128, bias=False)
    draw_into(technique("zer_o"), layer)
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(layer(x).square().sum(1), x.square().sum(1), rtol=1e-5)


def test_zero_fills_the_centre_in_each_group_and_whichever_axis_is_out() -> None:
    layer = nn.Conv2d(6, 10, 3, groups=2, bias=False)
    values = draw_into(technique("zero_hadamard", gain=2.0), layer)
    for group in np.split(values, 2):
        assert np.allclose(group[:, :, 1, 1], 2 * zero_matrix(5, 3), rtol=SINGLE)
    values[:, :, 1, 1] = 0
    assert not values.any()
    turned = draw_into(technique("zero_hadamard"), nn.ConvTranspose1d(3, 6, 1, bias=False))
    assert np.allclose(turned[:, :, 0], zero_matrix(6, 3).T, rtol=SINGLE)


@pytest.mark.parametrize("seed", [0, 1])
def test_zero_and_sinusoidal_know_no_seed(seed: int) -> None:
    for name in ("zero_hadamard", "sinusoidal", "idinit_zero"):
        layer = CASES["expanding"].layer
        assert np.array_equal(
            draw_into(technique(name), layer, seed=seed), draw_into(technique(name), layer, seed=7)
        )


def test_the_sum_of_a_corner_of_hadamards_matrix() -> None:
    whole = linalg.hadamard(32)
    sums = [[hadamard_sum(m, n) for n in range(1, 33)] for m in range(1, 33)]
    assert np.array_equal(sums, whole.cumsum(0).cumsum(1))


def test_moments_of_hadamards_corner_in_a_kernel() -> None:
    layout = plain_layout((11, 5, 3))
    values = draw(Hadamard(gain=3.0), layout, name="w", seed=0).astype(np.float64)
    found = moments(Hadamard(gain=3.0), layout)
    assert (found.mean, found.std) == pytest.approx((values.mean(), values.std()), rel=1e-6)
    assert found.high == pytest.approx(values.max())


def padded(m: int, n: int) -> np.ndarray:
    """The identity of the shorter side, laid side by side along the longer one and cropped."""
    small = np.eye(min(m, n))
    return np.tile(small, (-(-m // len(small)), -(-n // len(small))))[:m, :n]


@pytest.mark.parametrize(("m", "n"), [(6, 6), (5, 13), (13, 5)])
def test_idinit_repeats_the_identity(m: int, n: int) -> None:
    layer = nn.Linear(n, m, bias=False)
    exact = draw_into(technique("idinit", noise=0.0, gain=0.5), layer)
    assert np.array_equal(exact, 0.5 * padded(m, n))
    branch_end = draw_into(technique("idinit_zero"), layer)
    assert np.array_equal(branch_end, np.float32(1e-6) * padded(m, n))


def test_idinit_takes_the_patch_of_a_kernel_for_one_axis() -> None:
    layer = nn.Conv2d(4, 6, 3, bias=False)
    values = draw_into(technique("idinit", noise=0.0), layer)
    assert np.array_equal(values.reshape(6, 36), padded(6, 36))
    grouped = draw_into(technique("idinit", noise=0.0), nn.Conv2d(8, 6, 3, groups=2, bias=False))
    assert all(np.array_equal(g.reshape(3, 36), padded(3, 36)) for g in np.split(grouped, 2))


def test_the_noise_of_idinit() -> None:
    layer = nn.Linear(300, 200, bias=False)
    values = draw_into(technique("idinit"), layer).astype(np.float64)
    off = values[padded(200, 300) == 0]
    assert stats.kstest(off, stats.norm(0, 1e-6).cdf).pvalue > P_LIMIT
    on = values[padded(200, 300) == 1] - 1
    # 300 ones, rounded to float32 (spacing 1.2e-7 about 1): std within 5 standard errors
    assert on.std() == pytest.approx(1e-6, rel=5 / math.sqrt(2 * 300) + 0.01)
    other = draw_into(technique("idinit"), layer, seed=1)
    assert not np.array_equal(values, other)


def test_moments_with_visible_noise() -> None:
    layout, law = plain_layout((80, 120)), PaddedIdentity(gain=2.0, noise=0.7)
    values = draw(law, layout, name="w", seed=0).astype(np.float64)
    expected = padded(80, 120) * 2.0
    n = values.size
    found = moments(law, layout)
    assert found.mean == pytest.approx(expected.mean(), rel=1e-12)
    assert found.std == pytest.approx(math.hypot(expected.std(), 0.7), rel=1e-12)
    assert abs(values.mean() - found.mean) < 5 * 0.7 / math.sqrt(n)
    assert values.std() == pytest.approx(found.std, rel=5 / math.sqrt(2 * n))


def sine_matrix(m: int, n: int) -> np.ndarray:
    """The formula, element by element."""
    below_nyquist = (n - 1) // 2
    sharing = math.ceil(m / below_nyquist)
    return np.array(
        [
            [
                math.sqrt(2)
                * math.sin(
                    2 * math.pi * (1 + i % below_nyquist) * j / n
                    + math.pi * (i + 0.5) / (below_nyquist * sharing)
                )
                for j in range(n)
            ]
            for i in range(m)
        ]
    )


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", "fan_in"), ("fan_out", "fan_out")])
@pytest.mark.parametrize("layer", CASES)
def test_every_sine_row_has_mean_zero_and_the_variance_of_the_fan(
    layer: str, mode: str, fan: str
) -> None:
    case = CASES[layer]
    layout = case.weight.layout
    law = technique("sinusoidal").law_for(layout, case.weight.fans, mode=mode, gain=1.5)
    values = draw(law, layout, name="w", seed=0).astype(np.float64)
    logical = values.reshape(layout.view).transpose(layout.order)
    rows = logical.reshape(-1, layout.matrix[2])
    std = 1.5 / math.sqrt(getattr(case, fan))
    assert np.abs(rows.mean(axis=1)).max() < 1e-6 * std
    assert np.allclose((rows**2).mean(axis=1), std**2, rtol=1e-6)


@pytest.mark.parametrize(("m", "n"), [(4, 3), (5, 11), (10, 11), (25, 11), (8, 20), (17, 20)])
def test_sine_rows(m: int, n: int) -> None:
    layer = nn.Linear(n, m, bias=False)
    values = draw_into(technique("sinusoidal"), layer).astype(np.float64) * math.sqrt(n)
    assert np.allclose(values, sine_matrix(m, n), atol=1e-6)
    assert np.linalg.matrix_rank(values, tol=1e-4) == min(m, 2 * ((n - 1) // 2))
    cosines = values @ values.T / n
    assert np.allclose(np.diag(cosines), 1, atol=1e-6)
    others = np.abs(cosines - np.diag(np.diag(cosines))).max()
    if m <= 2 * ((n - 1) // 2):
        assert others < 1e-6  # orthogonal
    else:
        assert others < 1 - 1e-3  # no two rows are copies or mirror images
    assert np.abs(values).max(axis=0).min() > 0.1  # every input is seen


@pytest.mark.parametrize("inputs", [1, 2])
def test_too_few_inputs_for_a_wave(inputs: int) -> None:
    parameter = describe_parameters(nn.Linear(inputs, 4, bias=False))[0]
    with pytest.raises(BadInputError, match=f"sinusoidal: a wave needs at least 3 .* {inputs} in"):
        technique("sinusoidal").law_for(parameter.layout, parameter.fans)


@pytest.mark.parametrize("name", ["zero_hadamard", "idinit", "idinit_zero", "sinusoidal"])
def test_packed_and_gated_weights_are_filled_one_by_one(name: str) -> None:
    for layer, tensor, stacked in (
        (nn.MultiheadAttention(12, 3), "in_proj_weight", 3),
        (nn.LSTM(8, 12), "weight_ih_l0", 4),
    ):
        parameter = next(p for p in describe_parameters(layer) if p.name == tensor)
        entry = technique(name).with_options(**({"noise": 0.0} if name == "idinit" else {}))
        law = entry.law_for(parameter.layout, parameter.fans)
        parts = np.split(draw(law, parameter.layout, name="w", seed=0), stacked)
        alone = draw(law, plain_layout(parts[0].shape), name="other", seed=1)
        assert all(np.array_equal(part, alone) for part in parts)


def test_vectors_are_refused() -> None:
    for name in ("zero_hadamard", "idinit", "idinit_zero"):
        with pytest.raises(BadInputError, match=f"{name}: needs a matrix with axes out and in"):
            technique(name).law_for(plain_layout((8,)))
