"""The statistics of a race against simulated scores whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, ttest_rel

from firstlight.racing.comparing import compare, holm, paired_p
from firstlight.racing.results import Question, race_of
from firstlight.racing.search import best_rate
from firstlight.racing.statistics import bootstrap_mean, share, summarize, worst_score
from firstlight.racing.verdict import verdict
from firstlight.records.race import Race, Run, Start

RACES = 300


def run(seed: int, score: float, **changes: Any) -> Run:
    settings: dict[str, Any] = {
        "learning_rate": 0.1,
        "losses": (2.0, 1.0),
        "scores": (score / 2, score),
        "diverged": False,
    }
    return Run(seed=seed, score=score, **(settings | changes))


def summarized(name: str, scores: Any, **options: Any) -> Any:
    return summarize(name, 0.1, [], [run(i, float(s)) for i, s in enumerate(scores)], **options)


def bare(name: str, scores: Any) -> Start:
    """A start with nothing but its runs, for tests that make many."""
    runs = tuple(run(i, float(score)) for i, score in enumerate(scores))
    nothing = (-math.inf, math.inf)
    return Start(name=name, learning_rate=0.1, searched=(), runs=runs, mean=0.0, interval=nothing)


def called_different(starts: int, shift: float, seeds: int, correlation: float) -> int:
    """In how many simulated races some pair is called different, the first start being shifted."""
    random = np.random.default_rng(0)
    found = 0
    for _ in range(RACES):
        shared = random.standard_normal(seeds)
        own = random.standard_normal((starts, seeds))
        scores = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
        scores[0] += shift
        raced = [bare(f"s{i}", row) for i, row in enumerate(scores)]
        found += any(pair.different for pair in compare(raced, None))
    return found


@pytest.mark.parametrize("starts", [2, 5])
def test_equals_are_called_different_in_one_race_of_twenty(starts: int) -> None:
    """Also with five starts and ten pairs, where the best of them was picked by its scores."""
    found = called_different(starts, 0.0, 16, 0.3)
    # 5 % at most; beyond this count with probability below 1e-4. Ten tests without correction
    # would find a difference in more than a quarter of the races.
    assert found <= binom.isf(1e-4, RACES, 0.05) < 0.12 * RACES


def test_a_planted_difference_of_one_standard_deviation_is_found() -> None:
    """Power of the paired t test at 16 seeds, correlation 0.3: 0.88."""
    found = called_different(2, 1.0, 16, 0.3)
    assert found >= binom.ppf(1e-4, RACES, 0.88) > 0.8 * RACES


def test_the_p_value_is_that_of_the_paired_t_test() -> None:
    a, b = np.random.default_rng(1).standard_normal((2, 12))
    pair = compare([summarized("a", a), summarized("b", b)], None)[0]
    assert pair.p == pytest.approx(float(ttest_rel(a, b).pvalue))
    assert pair.p == pair.p_holm and pair.seeds == 12
    assert pair.difference == pytest.approx(float((a - b).mean()))
    assert (pair.interval[0] > 0 or pair.interval[1] < 0) == (pair.p < 0.05)


def test_differences_without_a_scale_are_tested_by_their_signs() -> None:
    assert paired_p([0.25] * 6) == 2**-5
    assert paired_p([math.inf] * 6) == pytest.approx(2**-5)
    assert paired_p([math.nan, math.nan]) == 1.0 and paired_p([3.0]) == 1.0
    assert holm([]) == []


def test_pairs_of_other_optimizers_are_not_compared() -> None:
    starts = [
        summarized(name, [0.1, 0.2], optimizer=optimizer)
        for optimizer in ("sgd", "adam")
        for name in ("a", "b", "c")
    ]
    pairs = compare(starts, None)
    assert len(pairs) == 6 and {pair.optimizer for pair in pairs} == {"sgd", "adam"}


def test_the_bootstrap_covers_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 seeds: the percentile interval covers in about 94 of 100."""
    monkeypatch.setattr("firstlight.racing.statistics._RESAMPLES", 200)
    random, covered = np.random.default_rng(2), 0
    for _ in range(RACES):
        _, low, high = bootstrap_mean(random.exponential(size=(32, 1)))
        covered += low[0] <= 1.0 <= high[0]
    # With exponential scores and 200 resamples the coverage is near 0.92; half the width of the
    # interval would cover in two of three.
    assert 0.86 * RACES < covered < 0.98 * RACES


def test_curves_area_and_steps_to_a_target() -> None:
    runs = [
        run(0, 0.8, scores=(0.2, 0.8)),
        run(1, 0.6, scores=(0.6, 0.6)),
        run(2, 0.9, scores=(0.9, 0.1), losses=(2.0, math.nan), diverged=True),
    ]
    start = summarize("a", 0.1, [], runs, looks=(10, 20), target=0.6, worst=0.1)
    assert start.curve is not None and start.curve.steps == (10, 20)
    # The third run ended at step 2, so both of its looks count as the worst.
    assert start.curve.mean == pytest.approx(((0.2 + 0.6 + 0.1) / 3, (0.8 + 0.6 + 0.1) / 3))
    assert start.mean == pytest.approx(0.5)
    assert start.area == pytest.approx(np.mean([(2 + 0.5 * 6) / 20 + 0.1, 0.6, 0.1]))
    assert start.reach is not None
    assert start.reach.steps == (20, 10, None) and start.reach.median_steps == 20
    assert start.reach.reached == share(2, 3) and start.diverged == share(1, 3)
    none = summarize("a", 0.1, [], runs[2:], looks=(10, 20), target=0.6, worst=0.1)
    assert none.reach is not None and none.reach.median_steps is None


def test_a_diverged_run_counts_as_the_worst() -> None:
    runs = [run(0, 0.9), run(1, 0.95, diverged=True)]
    assert worst_score(runs, higher_is_better=True, chance=0.5) == 0.5
    assert worst_score([run(0, 0.3), runs[1]], higher_is_better=True, chance=0.5) == 0.3
    assert worst_score(runs[:1], higher_is_better=True, chance=0.5) is None
    assert worst_score(runs, higher_is_better=False, chance=2.0) == 2.0
    assert worst_score(runs, higher_is_better=False, chance=None) == math.inf


def test_the_mean_of_a_rate_does_not_depend_on_the_order_of_its_runs() -> None:
    runs = [run(i, score) for i, score in enumerate((0.1, 0.2, 0.3))]
    assert sum((0.1, 0.2, 0.3)) != sum((0.3, 0.2, 0.1))
    assert best_rate(runs, higher_is_better=True) == best_rate(runs[::-1], higher_is_better=True)


def test_a_rate_that_diverged_or_gave_no_number_is_not_chosen() -> None:
    runs = [
        run(0, 0.1, learning_rate=0.1),
        run(0, 0.05, learning_rate=1.0, diverged=True),
        run(0, math.nan, learning_rate=0.5),
    ]
    rate, means = best_rate(runs, higher_is_better=False)
    assert rate == 0.1 and means == [(0.1, 0.1), (0.5, math.inf), (1.0, math.inf)]


ASKED = Question(
    techniques=("plan", "default"),
    optimizers=("sgd",),
    seeds=(0, 1, 2, 3),
    steps=2,
    batch_size=1,
    search_seeds=1,
    momentum=0.9,
    clip_norm=None,
    looks=(1, 2),
    target=None,
)


def raced(**scores: Any) -> Race:
    starts = [
        (
            name,
            "sgd",
            0.1,
            [],
            [run(i, s) if isinstance(s, float) else s for i, s in enumerate(own)],
        )
        for name, own in scores.items()
    ]
    return race_of(ASKED, starts, higher_is_better=True, chance=0.1)


def test_the_order_of_runs_does_not_matter() -> None:
    runs = [run(i, 0.1 * i) for i in range(4)]
    one, other = (
        race_of(ASKED, [("a", "sgd", 0.1, [], own)], higher_is_better=True, chance=0.1)
        for own in (runs, runs[::-1])
    )
    assert one == other


def test_the_verdict_says_what_is_seen_and_what_is_not() -> None:
    race = raced(plan=[0.91, 0.92, 0.9, 0.93], default=[0.11, 0.1, 0.12, 0.1])
    assert race.verdict.startswith("plan reaches 91.5% held-out accuracy over 4 seeds, 80.8 points")
    assert "better than default (95 % interval 7" in race.verdict
    equal = raced(plan=[0.9, 0.8, 0.85, 0.9], default=[0.8, 0.9, 0.85, 0.88])
    assert "no difference from default is seen (p = 0." in equal.verdict


def test_the_verdict_counts_what_diverged() -> None:
    gone = [run(i, 0.4, diverged=True) for i in range(4)]
    race = raced(plan=[0.9, 0.91, 0.92, 0.93], default=gone)
    assert race.verdict.endswith(", default diverged in all of its 4 runs.")
    assert race.worst == 0.1
    assert "4 of 8 runs diverged; each counts as a held-out accuracy of 10.0%" in race.remarks[0]
    some = raced(plan=[0.9, 0.91, 0.92, 0.93], default=[*gone[:1], 0.5, 0.5, 0.5])
    assert some.verdict.endswith("with 1 of 4 runs diverged.")
    assert some["default"].mean == pytest.approx((0.1 + 3 * 0.5) / 4)


def test_one_seed_is_no_evidence() -> None:
    race = raced(plan=[0.9], default=[0.1])
    assert "no difference from default is seen (p = 1.00)" in race.verdict
    assert verdict(race.starts[:1], (), higher_is_better=True, score_name="score") == (
        "plan reaches 90.0% score over 1 seed."
    )
