"""The judge of severity: trainings of spoiled starts and their healthy twins."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import t as student
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import planted_faults
import severity
from zoo import SPECIMENS, data, dense, harm, sweep, training
from zoo.faults import CONTROLS, FAULTS
from zoo.specimen import plain
from zoo.training import Run

FAULT = {fault.name: fault for fault in (*FAULTS, *CONTROLS)}
STEPS = 50
TINY = plain("tiny", "score", lambda: dense.mlp(2, nn.ReLU, dense.he, width=32))
FED = training.stored(TINY)


def _run(fault: str = "", seed: int = 0) -> Run:
    run = training.trained(FED, harm.OPERATORS[fault], seed, STEPS)
    assert run is not None and not run.raised
    return run


@pytest.fixture(scope="module")
def twins() -> list[Run]:
    return [_run(seed=seed) for seed in harm.SEEDS]


# Training ----------------------------------------------------------------------------------------


def test_a_fault_that_hurts_and_a_twin_that_does_not(twins: list[Run]) -> None:
    zeros = _run("all-zeros")
    assert harm.hurts(zeros, twins)
    # Constant logits can learn nothing but even classes: ln 10, and what rates that large add.
    assert all(score == pytest.approx(math.log(10), abs=0.1) for score in zeros.scores.values())
    assert harm.hurts(_run(seed=9), twins) is False
    assert harm.hurts(_run("zero-head"), twins) is False


def test_a_start_that_diverges_has_no_score(twins: list[Run]) -> None:
    run = _run("inf-weight")
    assert run.start is None and set(run.scores.values()) == {None}
    assert harm.hurts(run, twins)


def test_twins_that_are_other_operators() -> None:
    names = ("softmax-over-one-unit", "one-logit", "lora-both-zero", "lora")
    runs = [_run(name, seed) for name in names for seed in harm.OTHER_SEEDS]
    judged = harm.verdicts(runs)
    for name in ("softmax-over-one-unit", "lora-both-zero"):
        assert judged[("tiny", name, 0, STEPS)], name
    assert [harm.is_twin(run) for run in runs] == [
        run.fault in ("one-logit", "lora") for run in runs
    ]


def test_trainings_repeat_and_leave_the_random_state() -> None:
    before = torch.get_rng_state()
    first = _run(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert _run(seed=3) == first


def test_twin_and_fault_see_the_same_fresh_batches() -> None:
    seen: list[list[int]] = []

    def batch(seed: int) -> torch.Tensor:
        seen[-1].append(seed)
        return data.vectors(seed)[:16]

    watched = replace(TINY, batch=batch, check=lambda seed: {"target": data.labels(seed)[:16]})
    for fault in (None, FAULT["constant-0.05"]):
        seen.append([])
        run = training.trained(watched, fault, 0, STEPS)
        assert run is not None and not run.raised
    trained_on = [{n for n in seeds if n} for seeds in seen]  # applicability looks at seed 0
    assert trained_on[0] == trained_on[1] == {training.FIRST + n for n in range(STEPS)}


def test_faults_of_the_data_are_trained_on_what_they_are_fed(twins: list[Run]) -> None:
    assert _run("input-times-1000").start != twins[0].start
    imbalanced = _run("imbalanced-labels")
    assert all(score < 1.5 for score in imbalanced.scores.values() if score is not None)


def test_what_cannot_be_trained() -> None:
    def refuse(_model: nn.Module, _batch: object) -> torch.Tensor:
        raise RuntimeError("no\nloss")

    assert training.step_cost(replace(TINY, check=lambda _: {})) is None
    assert training.trained(FED, FAULT["cloned-encoder-layers"], 0, STEPS) is None
    run = training.trained(replace(TINY, check=lambda _: {"step": refuse}), None, 0, STEPS)
    assert run is not None and run.raised == "RuntimeError: no"
    assert harm.verdicts([run]) == {}


# Judging -----------------------------------------------------------------------------------------


def _scored(*scores: float | None, seed: int = 0, fault: str = "", start: float = 3.0) -> Run:
    by_name = dict(zip(("sgd", "adam"), scores, strict=False))
    return Run(
        specimen="m", fault=fault, seed=seed, steps=200, start=start, scores=by_name, rates={}
    )


def _twins(*scores: float) -> list[Run]:
    return [_scored(score, score, seed=seed) for seed, score in enumerate(scores)]


def test_worse_than_one_more_twin_would_be() -> None:
    scores = (1.0, 1.1, 0.9, 1.0)
    limit = 1 + student.ppf(0.975, 3) * math.sqrt(0.02 / 3) * math.sqrt(1.25)
    assert not harm.hurts(_scored(limit - 0.01, fault="f"), _twins(*scores))
    assert harm.hurts(_scored(limit + 0.01, fault="f"), _twins(*scores))
    # One optimizer is enough, and a training without a score is worse than any.
    assert harm.hurts(_scored(1.0, limit + 0.01, fault="f"), _twins(*scores))
    assert harm.lost(_scored(None, 1.0, fault="f"), _twins(*scores)) == {"sgd": math.inf, "adam": 0}


def test_a_loss_that_costs_little_does_not_count() -> None:
    twins = _twins(1.0, 1.001, 0.999)
    assert not harm.hurts(_scored(1 + 0.9 * harm.LOST * 2, fault="f"), twins)
    assert harm.hurts(_scored(1 + 1.1 * harm.LOST * 2, fault="f"), twins)


def test_twins_that_do_not_learn_or_are_too_few_do_not_judge() -> None:
    assert harm.hurts(_scored(9.0, fault="f"), _twins(3.0, 2.9, 3.1)) is None
    assert harm.hurts(_scored(9.0, fault="f"), _twins(1.0, 1.1)) is None
    # A twin is judged by the others, never by itself.
    assert harm.hurts(_scored(1.0, 1.0), _twins(1.0, 1.1, 1.0)) is None


@pytest.mark.parametrize(
    ("harmful", "harmless", "area"),
    [
        ([0, 0, 2, 5], [9, 1, 0, 0], 1.0),
        ([9, 1, 0, 0], [0, 0, 2, 5], 0.0),
        ([3, 1, 2, 4], [6, 2, 4, 8], 0.5),
        ([0, 0, 0, 4], [1, 0, 0, 3], 0.625),
    ],
)
def test_auc_of_known_predictors(harmful: list[int], harmless: list[int], area: float) -> None:
    assert harm.auc(np.array(harmful), np.array(harmless)) == pytest.approx(area)


_COUNTS = arrays.arrays(float, (3, 4), elements=st.integers(0, 6).map(float))


@given(_COUNTS, _COUNTS)
def test_auc_is_the_share_of_ordered_pairs(harmful: np.ndarray, harmless: np.ndarray) -> None:
    harmful[0, 0] += 1
    harmless[0, 0] += 1
    levels = np.arange(4)
    worse = np.repeat(levels, harmful.sum(0).astype(int))[:, None]
    milder = np.repeat(levels, harmless.sum(0).astype(int))
    area, low, high = harm.auc_interval(harmful, harmless, draws=50)
    assert area == pytest.approx(np.mean((worse > milder) + (worse == milder) / 2))
    assert 0 <= low <= high <= 1


def test_interval_of_a_perfect_predictor_and_of_one_architecture_among_many() -> None:
    perfect = np.tile([0.0, 0, 0, 3], (8, 1)), np.tile([4.0, 1, 0, 0], (8, 1))
    assert harm.auc_interval(*perfect) == (1.0, 1.0, 1.0)
    perfect[0][0] = [3, 0, 0, 0]  # one architecture whose harmful starts are called silent
    area, low, high = harm.auc_interval(*perfect)
    assert low < area < high == 1.0


# The file ----------------------------------------------------------------------------------------


def test_a_sweep_is_taken_up_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, faults = tmp_path / "new" / "harm.jsonl", (FAULT["constant-0.05"], FAULT["zero-head"])
    calls: list[tuple[str, int]] = []
    real = training.trained

    def counted(specimen, fault, seed, steps):
        calls.append(("" if fault is None else fault.name, seed))
        return real(specimen, fault, seed, steps)

    monkeypatch.setattr(sweep, "trained", counted)
    console = severity.Console(quiet=True)
    sweep.sweep(path, [TINY], faults, 12, 1e9, console)
    whole = path.read_text()
    runs = training.read(path)
    assert len(runs) == len(calls) == len(harm.SEEDS) + 2

    path.write_text(whole[:-40])  # killed while it wrote the last line
    assert training.read(path) == runs[:-1]
    calls.clear()
    sweep.sweep(path, [TINY], faults, 12, 1e9, console)
    assert calls == [(runs[-1].fault, runs[-1].seed)]
    assert path.read_text() == whole
    assert [p.name for p in path.parent.iterdir()] == ["harm.jsonl"]


def test_families_take_turns_and_cheap_models_come_first() -> None:
    def row(name: str, family: str):
        return replace(TINY, name=name, family=family)

    costs = {row("a", "text"): 9.0, row("b", "text"): 2.0, row("c", "dense"): 1.0}
    costs |= {row("d", "dense"): 1.5, row("e", "dense"): 30.0}
    names = [s.name for s in sweep.in_turn(costs)]
    assert sorted(names) == list("abcde")
    assert names[:2] == ["b", "c"] or names[:2] == ["c", "b"]
    assert names[2:] == ["d", "a", "e"]


def test_the_committed_file_names_what_exists() -> None:
    runs = training.read(training.RESULTS)
    assert len(runs) == len(training.RESULTS.read_text().splitlines()) > 0
    assert len({run.key for run in runs}) == len(runs)
    scored = {s.name for s in SPECIMENS if s.split == "score"}
    for run in runs:
        fault = harm.OPERATORS[run.fault]
        assert run.specimen in scored and (fault is None or fault.split == "score")
        assert run.steps == training.STEPS
        assert run.raised or run.scores.keys() == run.rates.keys() == training.RATES.keys()


# The benchmarks ----------------------------------------------------------------------------------


def test_severity_is_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "harm.jsonl"
    monkeypatch.setattr(severity, "SPECIMENS", (TINY,))
    monkeypatch.setattr(severity, "FAULTS", (FAULT["constant-0.05"], FAULT["inf-weight"]))
    monkeypatch.setattr(severity, "CONTROLS", (FAULT["zero-head"],))
    command = ["severity.py", "--steps", str(STEPS), "--file", str(path), "--slowest", "1e9"]
    monkeypatch.setattr(sys, "argv", [*command, "--sweep", "--cases"])
    severity.main()
    assert (
        "all starts: AUC 1.000 (1.000–1.000), 2 harmful and 6 harmless" in capsys.readouterr().out
    )
    monkeypatch.setattr(sys, "argv", ["severity.py", "--steps", "200", "--file", str(path)])
    severity.main()
    assert "no AUC" in capsys.readouterr().out


def test_planted_faults_count_where_they_hurt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "harm.jsonl"
    other = replace(TINY, name="other")
    twins = [_scored(1.0 + 0.01 * n, seed=n) for n in range(4)]
    runs = [*twins, _scored(2.9, fault="constant-0.05"), _scored(1.0, fault="inf-weight")]
    training.write(path, [replace(run, specimen="tiny") for run in runs])
    monkeypatch.setattr(planted_faults, "SPECIMENS", (TINY, other))
    monkeypatch.setattr(planted_faults, "CONTROLS", ())
    monkeypatch.setattr(planted_faults, "FAULTS", (FAULT["constant-0.05"], FAULT["inf-weight"]))
    monkeypatch.setattr(sys, "argv", ["planted_faults.py", "--harm", str(path)])
    planted_faults.main()
    printed = capsys.readouterr().out
    assert "all faults: 4 cases of 2 faults on 2 architectures" in printed
    assert "where training hurts: 1 cases of 1 faults on 1 architectures" in printed
