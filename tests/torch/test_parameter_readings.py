"""What is measured of weights alone: constant gates, parallel units, repeated rows, norms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import firstlight as fl
from firstlight.frameworks.torch.layouts import describe_parameters, named_tensors
from firstlight.frameworks.torch.weights import parameter_readings
from firstlight.records.checkup import ParameterReading


def read(
    model: nn.Module, gradients: dict[str, Tensor | None] | None = None
) -> dict[str, ParameterReading]:
    found = parameter_readings(
        named_tensors(model), describe_parameters(model), gradients or {}, ()
    )
    return {reading.name: reading for reading in found}


def changed(model: nn.Module, change: Callable[[nn.Module], None]) -> dict[str, ParameterReading]:
    with torch.no_grad():
        change(model)
    return read(model)


def test_each_gate_of_a_recurrent_weight_is_looked_at() -> None:
    torch.manual_seed(0)
    width = 24
    healthy = read(nn.LSTM(16, width))["weight_hh_l0"]
    assert (healthy.constant_blocks, healthy.rank_share) == (0, 1.0)
    assert abs(healthy.unit_cosine) < 0.05
    for gate in range(4):
        rows = slice(gate * width, (gate + 1) * width)
        zero = changed(nn.LSTM(16, width), lambda m, r=rows: m.weight_hh_l0[r].zero_())
        assert zero["weight_hh_l0"].constant_blocks == 1 and not zero["weight_hh_l0"].constant
        same = changed(nn.LSTM(16, width), lambda m, r=rows: m.weight_hh_l0[r].fill_(0.1))
        reading = same["weight_hh_l0"]
        assert reading.constant_blocks == 1 and reading.rank_share == pytest.approx(1 / width)
        assert reading.unit_cosine == pytest.approx(1.0)
        positive = changed(nn.LSTM(16, width), lambda m, r=rows: m.weight_hh_l0[r].abs_())
        assert positive["weight_hh_l0"].unit_cosine > 0.6
    whole = changed(nn.GRU(16, width), lambda m: m.weight_hh_l0.zero_())["weight_hh_l0"]
    assert whole.constant and whole.value_rms == 0


def test_stacked_matrices_that_equal_each_other() -> None:
    torch.manual_seed(0)

    def equal(m: nn.Module) -> None:
        m.in_proj_weight[32:64] = m.in_proj_weight[:32]

    readings = changed(nn.MultiheadAttention(32, 4), equal)
    assert readings["in_proj_weight"].repeated_rows == pytest.approx(64 / 96)
    assert readings["out_proj.weight"].repeated_rows == 0
    gates = changed(nn.LSTM(16, 8), lambda m: m.weight_ih_l0.copy_(m.weight_ih_l0[:8].repeat(4, 1)))
    assert gates["weight_ih_l0"].repeated_rows == 1


def test_repeated_rows_are_equal_ones_and_not_opposite_or_zero() -> None:
    torch.manual_seed(0)

    def change(m: nn.Module) -> None:
        m.weight[40:44] = m.weight[:4]
        m.weight[50:60] = -m.weight[10:20]
        m.weight[60:] = 0

    assert changed(nn.Linear(30, 64), change)["weight"].repeated_rows == pytest.approx(8 / 64)


@pytest.mark.parametrize("technique", ["he_normal", "orthogonal", "mirrored", "identity"])
def test_no_technique_repeats_rows(technique: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 48), nn.Linear(48, 3))
    fl.plan(model, torch.randn(64, 48), technique=technique).apply(model, seed=0)
    assert [r.repeated_rows for n, r in read(model).items() if "weight" in n] == [0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(2, 40),
    columns=st.integers(4, 60),
    copies=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=6),
    kinds=st.sampled_from(["plain", "few values", "sparse"]),
)
def test_repeated_rows_against_all_pairs(
    rows: int, columns: int, copies: list[tuple[int, int]], kinds: str
) -> None:
    torch.manual_seed(rows * columns)
    model = nn.Linear(columns, rows)
    with torch.no_grad():
        if kinds == "few values":
            model.weight.copy_(model.weight.sign())
        if kinds == "sparse":
            model.weight.mul_(torch.rand(rows, columns) < 2 / columns)
        for a, b in copies:
            model.weight[a % rows] = model.weight[b % rows]
    reading = read(model)["weight"]
    w = model.weight.detach()
    equal = (w[:, None] == w[None]).all(dim=2) & w.any(dim=1)[:, None]
    expected = float(((equal.sum(dim=1) > 1).sum()) / rows)
    if reading.constant:
        assert reading.repeated_rows is None
    else:
        assert reading.repeated_rows == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_norms_hold_over_the_whole_range_of_float32(scale: float) -> None:
    torch.manual_seed(0)
    model = nn.Linear(64, 64, bias=False)
    unit = torch.randn(64, 64)
    with torch.no_grad():
        model.weight.copy_(unit * scale)
    reading = read(model, {"weight": unit * scale})["weight"]
    expected = scale * math.sqrt(float((unit.double() ** 2).mean()))
    assert reading.value_rms == pytest.approx(expected, rel=1e-5)
    assert reading.gradient_rms == pytest.approx(expected, rel=1e-5)
    assert reading.non_finite == 0
