"""Races: paired, repeatable, and a verdict that follows from the scores."""

from __future__ import annotations

import math
from typing import Any

import models as zoo
import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.records.race import Race

FEATURES = 8


def data(samples: int = 256) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two classes, told apart by the sign of a sum."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * samples, FEATURES, generator=generator)
    y = (x.sum(dim=1) > 0).long()
    return x[:samples], y[:samples], x[samples:], y[samples:]


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 2))


def zeros() -> nn.Module:
    model = build()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def short(factory: Any = build, **options: Any) -> Race:
    settings: dict[str, Any] = {"seeds": 3, "steps": 20, "search_seeds": 1, **options}
    return fl.race(factory, settings.pop("data", data()), **settings)


def test_a_race_is_repeatable_and_paired() -> None:
    race = short(techniques=("default", "plan"))
    assert race == short(techniques=("default", "plan"))
    assert [start.name for start in race.starts] == ["default", "plan"]
    for start in race.starts:
        assert [run.seed for run in start.runs] == [0, 1, 2]
        assert {run.learning_rate for run in start.runs} == {start.learning_rate}
        assert all(len(run.losses) == 20 for run in start.runs)
        assert start.mean == pytest.approx(sum(run.score for run in start.runs) / 3)
        assert start.interval[0] <= start.mean <= start.interval[1]
        assert {rate for rate, _ in start.searched} == {0.003, 0.01, 0.03, 0.1}


def test_the_same_start_under_two_names_runs_alike() -> None:
    race = short(techniques=("he_normal", "plan"), learning_rates=(0.1,))
    alone = short(techniques=("plan",), learning_rates=(0.1,))
    assert race["plan"].runs == alone["plan"].runs


def test_learning_is_seen_and_zeros_do_not_learn() -> None:
    race = short(zeros, techniques=("default", "he_normal"), steps=60, learning_rates=(0.1,))
    assert race.chance is not None
    # 256 held-out samples: a standard error of 3 points at chance.
    assert race["default"].mean == pytest.approx(race.chance, abs=0.15)
    assert race["he_normal"].mean > 0.9
    assert race.verdict.startswith("he_normal reaches")
    assert "better than default" in race.verdict
    assert race.score_name == "held-out accuracy" and race.higher_is_better


def test_no_difference_is_called_none() -> None:
    race = short(techniques=("he_normal", "he_uniform"), steps=60, learning_rates=(0.1,))
    assert "no difference" in race.verdict


def test_regression_is_scored_by_its_loss() -> None:
    x, _, held_out, _ = data()
    pairs = (x, x.sum(dim=1, keepdim=True), held_out, held_out.sum(dim=1, keepdim=True))

    def regressor() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 1))

    race = short(regressor, data=pairs, techniques=("default",), learning_rates=(0.1,))
    assert race.score_name == "held-out loss" and not race.higher_is_better
    guess = float(((pairs[3] - pairs[1].mean()) ** 2).mean())
    assert race.chance == pytest.approx(guess, rel=1e-5)
    assert 0 < race["default"].mean < guess


def test_a_diverging_run_is_told() -> None:
    def huge() -> nn.Module:
        return zoo.scaled(nn.Sequential(nn.Linear(FEATURES, 16), nn.Linear(16, 2)), 1e30, head=1e30)

    race = short(huge, techniques=("default",), learning_rates=(0.1,), clip_norm=None)
    assert all(run.diverged for run in race["default"].runs)
    assert not all(math.isfinite(loss) for loss in race["default"].runs[0].losses)


def test_progress_reaches_its_end() -> None:
    seen: list[tuple[int, int]] = []
    short(techniques=("default", "plan"), progress=lambda done, total: seen.append((done, total)))
    total = 2 * 20 * (4 * 1 + 3)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_lists_race_as_well_as_tensors() -> None:
    tensors = data(64)
    lists = tuple(part.tolist() for part in tensors)
    options = {"techniques": ("default",), "learning_rates": (0.1,), "steps": 5}
    assert short(data=lists, **options) == short(data=tensors, **options)


def test_data_and_random_state_are_left_alone() -> None:
    parts = data()
    copies = [part.clone() for part in parts]
    short(data=parts, techniques=("plan",), learning_rates=(0.1,), steps=3)
    assert all(torch.equal(a, b) for a, b in zip(parts, copies, strict=True))
    assert torch.get_num_threads() >= 1
