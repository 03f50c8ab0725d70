"""The race of starts on hard networks, and the files that keep results."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import hard_networks
import starts
from zoo import deep_starts
from zoo.deep import NETWORKS, Residual, ResNet, Transformer, plain_cnn, rows
from zoo.kept import Kept
from zoo.scoring import wilson
from zoo.trials import Trial, trained

TINY = replace(
    NETWORKS[1],
    name="tiny",
    build=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    rates=(1e-3, 1e-2),
    steps=60,
    starts=("default", "he"),
)


def _trial(start: str, seed: int, accuracy: float, rate: float = 0.1) -> Trial:
    return Trial(network="tiny", start=start, seed=seed, rate=rate, steps=60, accuracy=accuracy)


def test_a_trial_repeats_itself_and_learns() -> None:
    one, again = (trained(TINY, "he", 0, 1e-2, 60) for _ in range(2))
    assert one.accuracy == again.accuracy > 0.7  # chance is 0.1
    assert trained(TINY, "he", 1, 1e-2, 60).accuracy != one.accuracy


def test_a_start_that_raises_scores_chance_by_name() -> None:
    failed = trained(TINY, "fixup", 0, 1e-2, 60)  # made for a ResNet
    assert failed.failed.startswith("AssertionError") and failed.accuracy == 0.1
    assert not failed.diverged


def test_a_training_that_diverges_scores_chance() -> None:
    gone = trained(TINY, "he", 0, 1e30, 60)
    assert gone.diverged and gone.accuracy == 0.1


def test_the_rate_is_searched_on_a_seed_of_its_own() -> None:
    def run(network, start, seed, rate):
        return _trial(start, seed, {1e-3: 0.5, 1e-2: 0.5}[rate] + 0.01 * (seed > 100), rate)

    searched, scored = hard_networks.raced(TINY, "he", 5, run)
    assert {t.seed for t in searched}.isdisjoint({t.seed for t in scored})
    assert [t.rate for t in scored] == [1e-3] * 5  # a tie goes to the smaller


@pytest.mark.parametrize(
    ("plan", "word"),
    [((0.9, 0.8, 0.85), "best"), ((0.8, 0.72, 0.76), "within"), ((0.5, 0.42, 0.45), "worse")],
)
def test_the_verdict(plan, word) -> None:
    scored = {
        "plan": [_trial("plan", seed, value) for seed, value in enumerate(plan)],
        "he": [_trial("he", seed, value) for seed, value in enumerate((0.8, 0.74, 0.77))],
    }
    assert word in hard_networks.verdict(TINY, scored)


def test_results_survive_a_kill_and_keep_zeros(tmp_path) -> None:
    path = tmp_path / "results.jsonl"
    Kept(Trial, path).add(_trial("he", 0, 0.0))
    with path.open("a") as file:
        file.write('{"network": "tiny", "sta')
    kept = Kept(Trial, path)
    assert list(kept.records.values()) == [_trial("he", 0, 0.0)]
    kept.add(_trial("he", 1, 0.5))
    kept.tidy()
    assert len(path.read_text().splitlines()) == 2
    assert Kept(Trial, path).records == kept.records


def test_fixup_starts_as_the_identity_and_delta_in_the_centre() -> None:
    model = ResNet((1, 2))
    x = torch.randn(2, 1, 28, 28)
    deep_starts.STARTS["fixup"](model, x, x, 0)
    block = next(m for m in model.modules() if isinstance(m, Residual))
    inner = torch.rand(2, 8, 14, 14)
    assert torch.equal(block(inner), inner)
    scale = 8 * block.conv1.weight.detach().var() * 9 / 2 * 3  # He's law over three blocks
    assert 0.7 < scale < 1.4  # 576 numbers: σ of the ratio is 6 %; without L^-½ it would be 3
    cnn = plain_cnn(3)
    deep_starts.STARTS["delta-orthogonal"](cnn, x, x, 0)
    weight = cnn[4].weight.detach()
    centre = weight[:, :, 1, 1]
    assert torch.allclose(centre @ centre.T, 2 * torch.eye(16), atol=1e-5)
    assert float(weight.square().sum()) == pytest.approx(32, rel=1e-5)


def test_the_gains_of_deepnorm_and_t_fixup() -> None:
    for start, gain in (("deepnorm", (8 * 2) ** -0.25), ("t-fixup", 0.67 * 2**-0.25)):
        model = Transformer(depth=2, width=64)
        deep_starts.STARTS[start](model, rows()[0], rows()[1], 0)
        q, _, v = model.layers[0].self_attn.in_proj_weight.detach().chunk(3)
        assert float(v.std() / q.std()) == pytest.approx(gain, rel=0.05)  # σ of the ratio: 1.6 %


def test_operations_are_judged_by_the_plans_target_or_one() -> None:
    seen = {"a": 0.01, "b": 1.0, "c": 4.1, "d": float("nan")}
    targets = {"a": 0.01, "b": 0.01, "c": None}
    own = starts.Row(specimen="s", start="own", seed=0, moments=seen)
    assert [line.split()[0] for line in own.off(targets)] == ["c", "d"]
    plan = replace(own, start="plan")
    assert [line.split()[0] for line in plan.off(targets)] == ["b", "c", "d"]


def test_refusals_fail_in_every_column() -> None:
    refused = starts.Row(specimen="s", start="plan", seed=0, failed="NoRuleError: x", judged=True)
    assert not any(refused.verdicts({}).values())
    assert starts.complaints(refused, {}) == "NoRuleError: x"


def test_one_seed_that_fails_fails_its_model() -> None:
    good = starts.Row(specimen="s", start="he", seed=0, delta=1, delta_norm=1)
    rows_ = [good, replace(good, seed=1, delta=101.0), replace(good, specimen="t")]
    started, _, _, _, delta, _, _ = starts.cells(rows_, {})
    assert started.startswith("2/2") and delta.startswith("1/2")


@dataclass(frozen=True)
class _Interval:
    hits: int
    cases: int
    low: float
    high: float


@pytest.mark.parametrize(
    "known", [_Interval(0, 10, 0.0, 0.2775), _Interval(81, 263, 0.2553, 0.3662)]
)
def test_wilsons_interval(known) -> None:  # the second: Newcombe 1998, table I
    low, high = wilson(known.hits, known.cases)
    assert (low, high) == (pytest.approx(known.low, abs=1e-4), pytest.approx(known.high, abs=1e-4))
