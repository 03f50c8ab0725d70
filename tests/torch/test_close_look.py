"""A close look at each layer: what it says, that it stays small, and that looking is cheap."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import firstlight as fl
from firstlight.measuring.details import MOST_DETAILS, detail, thinning
from firstlight.records.codec import from_json, to_json


def look(matrix):
    return detail(np.asarray(matrix, float)[..., None], per_sample=True, of_units=len(matrix[0]))


@given(st.lists(st.integers(1, 300), min_size=2, max_size=5), st.data())
def test_a_sample_is_small_and_even(shape, data):
    axis = data.draw(st.integers(1, len(shape) - 1))
    kept = [len(range(n)[s]) for n, s in zip(shape, thinning(shape, axis), strict=True)]
    assert all(kept) and kept[0] <= 32 and kept[axis] <= 32
    assert math.prod(kept) <= 32 * 32 * 4


def test_normal_values_look_normal():
    seen = look(np.random.default_rng(0).normal(size=(32, 32)))
    # Of 1024 values 68.3 % lie within one RMS, ± 1.5 %; four errors.
    assert sum(seen.histogram[12:20]) == pytest.approx(0.683, abs=0.06)
    assert sum(seen.histogram) == pytest.approx(1, abs=1e-3)
    assert sum(seen.cosines) == pytest.approx(1, abs=1e-3)
    # 496 cosines of 32 numbers: each has the spread 1/√32.
    assert abs(seen.mean_cosine) < 4 / math.sqrt(32 * 496)
    # A square normal matrix: Σσ⁴/(Σσ²)² → 2/n (Marchenko and Pastur).
    assert seen.effective_rank == pytest.approx(16, rel=0.2)


def test_samples_that_are_alike_have_rank_one_and_cosine_one():
    seen = look(np.ones((8, 1)) * np.arange(1.0, 5.0))
    assert seen.mean_cosine == 1 and seen.cosines[-1] == 1
    assert seen.effective_rank == pytest.approx(1)
    assert seen.constant_units == 4 and max(seen.unit_stds) == 0


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300])
def test_any_scale_can_be_looked_at(value):
    seen = look(np.full((4, 3), value))
    assert seen.rms == pytest.approx(value)
    assert seen.singular_values[:1] == ((1.0,) if value else ())
    assert seen.mean_cosine == (1.0 if value else None)


def test_what_is_not_finite_is_said_and_nothing_else():
    seen = look([[1.0, math.nan], [1.0, 2.0]])
    assert seen.rms is None and seen.histogram == () and seen.effective_rank is None


def test_a_check_looks_at_every_weighted_operation():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 40, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(40 * 36, 10)
    )
    batch = torch.randn(16, 3, 8, 8)
    checkup = fl.check(model, batch, target=torch.arange(16) % 10)
    close = {r.name: r.detail for r in checkup.layers if r.detail is not None}
    assert list(close) == ["0", "3"]
    # Before the activation wrote over it: both signs are there.
    assert sum(close["0"].histogram[:16]) > 0.3
    assert (close["0"].rows, close["0"].units, close["0"].of_units) == (16, 20, 40)
    whole = model[0](batch).square().mean().sqrt().item()
    assert close["0"].rms == pytest.approx(whole, rel=0.1)
    assert from_json(to_json(checkup)) == checkup


def test_tokens_in_a_row_are_not_called_samples():
    model = nn.Sequential(nn.Flatten(0, 1), nn.Linear(8, 8))
    checkup = fl.check(model, torch.randn(4, 6, 8))
    (close,) = [r.detail for r in checkup.layers if r.detail is not None]
    assert close.rows == 24 and not close.per_sample


def test_of_very_deep_networks_an_even_choice_is_looked_at():
    count = 2 * MOST_DETAILS + 10
    layers = [nn.Linear(2, 2) for _ in range(count)]
    checkup = fl.check(nn.Sequential(*layers), torch.randn(4, 2))
    at = [int(r.name) for r in checkup.layers if r.detail is not None]
    assert at == list(range(0, count, 4)) and len(at) <= MOST_DETAILS


def test_a_plan_does_not_look():
    plan = fl.plan(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(8, 4))
    assert "Detail" not in to_json(plan)
