"""What other packages say is read in the words of Firstlight; the benchmark runs without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.records.checkup import FINDING_KINDS

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from rivals import QUICK
from zoo import SPECIMENS, rival_runs, specimen
from zoo.rival_cases import takes
from zoo.rival_rules import RULES, Alarm, complaints, named, news
from zoo.rival_runs import RIVALS, missing

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_rule_means_known_kinds() -> None:
    assert set(RULES) == set(RIVALS)
    for rival, rules in RULES.items():
        for rule, kinds in rules.items():
            assert set(kinds) <= set(FINDING_KINDS), (rival, rule)
            assert len(set(kinds)) == len(kinds), (rival, rule)


def test_only_what_the_healthy_twin_does_not_get_is_news() -> None:
    healthy = {Alarm("Dead units", ("2",)), Alarm("Loss plateau")}
    sick = {Alarm("Dead units", ("2",)), Alarm("Dead units", ("4",)), Alarm("Loss plateau")}
    assert news(sick, healthy) == {Alarm("Dead units", ("4",))}
    worse = Alarm("Dead units", ("2",), "fail")
    assert news({worse}, healthy) == {worse}


def test_information_names_but_is_no_complaint() -> None:
    found = [Alarm("TA103", ("fc", "grad:weight"), "info"), Alarm("TA102")]
    assert complaints(found) == {Alarm("TA102")}
    assert named("torch-audit", found, ("unreachable",))
    assert not named("torch-audit", found, ("symmetric-units",))
    assert not named("torch-audit", [], ("unreachable",))


MESSAGES = {
    ("initial_loss", "initial loss 10.5 is much larger than ln(10)"): "initial_loss: large",
    ("initial_loss", "initial loss 0.1 is suspiciously low"): "initial_loss: low",
    ("loss", "the loss is nan"): "loss: not finite",
    ("loss", "the loss (2.3) is not connected to the autograd graph"): "loss: detached",
    ("loss", "computing the loss raised ValueError: shapes"): "loss",
    ("gradient_flow", "2/6 trainable parameter(s) get no gradient from"): "gradient_flow: none",
    ("gradient_flow", "2/6 … get an all-zero gradient, also after"): "gradient_flow: zero",
    ("params_change", "1/2 … did not change - 1 with an exactly zero gradient: a"): (
        "params_change: zero"
    ),
    ("params_change", "1/2 … did not change - 1 with a gradient too small to change them"): (
        "params_change: vanishing"
    ),
    ("params_change", "1/2 … did not change after an optimizer step: a"): (
        "params_change: unchanged"
    ),
    ("overfit_batch", "the loss became nan after 3 step(s)"): "overfit_batch: not finite",
    ("overfit_batch", "the loss did not decrease on a single batch"): "overfit_batch",
    ("output_finite", "non-finite outputs - output: 640 NaN"): "output_finite",
}


@pytest.mark.parametrize(("check", "message"), MESSAGES)
def test_messages_of_torchtest2_become_rules(check: str, message: str) -> None:
    rule = rival_runs._torchtest2_rule(check, message)
    assert rule == MESSAGES[check, message]
    assert rule in RULES["torchtest2"]


def test_a_missing_rival_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        rival_runs, "find_spec", lambda name: None if name == "plotly" else object()
    )
    assert missing("torchmortem").startswith("torchmortem: plotly not installed")
    assert "requirements-rivals.txt" in missing("torchmortem")
    assert [missing(rival) for rival in RIVALS if rival != "torchmortem"] == [""] * 4
    monkeypatch.setattr(rival_runs, "find_spec", lambda _name: None)
    assert all("\n" not in missing(rival) and missing(rival) for rival in RIVALS)


def test_the_quick_ones_are_scored_and_of_every_family() -> None:
    chosen = [specimen(name) for name in QUICK]
    assert {s.family for s in chosen} == {s.family for s in SPECIMENS}
    for one in chosen:
        assert one.split == "score" and (one.missing or takes(one)), one.name


def test_the_required_versions_name_every_rival() -> None:
    pins = (_BENCHMARKS / "requirements-rivals.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in pins if line and not line.startswith("#"))
    assert set(RIVALS) <= set(pinned)


def test_the_benchmark_runs_without_rivals() -> None:
    """In a Python that can find none of them."""
    hide = "import sys; sys.modules.update(dict.fromkeys(NAMES)); import importlib.util as u;"
    names = [rival.replace("-", "_") for rival in RIVALS]
    code = (
        f"{hide.replace('NAMES', repr(names))} real = u.find_spec;"
        " u.find_spec = lambda name, package=None:"
        f" None if name in {names!r} else real(name, package);"
        " sys.argv = ['rivals.py', '--only', '^mlp-sigmoid-2$', '--faults', '^constant'];"
        " import rivals; rivals.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_BENCHMARKS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if "not installed" in line]
    assert [line.partition(":")[0] for line in lines] == list(RIVALS)
    assert "constant-0.05" in result.stdout
