"""Starts that are measured: drawn into the model, looked at, ranked, and taken out again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_untouched import unchanged_after
from torch import Tensor, nn

import firstlight as fl
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.initializers.registry import technique
from firstlight.planning.choice import FURTHER_DRAWS, MARGIN, beats, measured
from firstlight.planning.wishes import Wishes
from firstlight.records.codec import from_json, to_json
from firstlight.records.law import Normal
from firstlight.records.plan import Plan, Ranked
from firstlight.reporting.files import save
from firstlight.reporting.numbers import typeset
from firstlight.reporting.text import to_text
from firstlight.verbs.plan import planned
from firstlight.verbs.trials import Trials, compared

WIDTH, DEPTH = 64, 12
BATCH = torch.randn(128, WIDTH, generator=torch.Generator().manual_seed(0))


def chain(depth: int = DEPTH, *between: Callable[[], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(WIDTH, WIDTH), *(make() for make in between or (nn.ReLU,))]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def places(plan: Plan) -> dict[str, Ranked]:
    return {place.technique: place for place in plan.ranking}


def test_what_is_named_is_measured_and_the_rest_stays_theory() -> None:
    plan = fl.plan(chain(), BATCH, compare=["orthogonal", "kaiming_normal", "he_normal", "plan"])
    assert {place.technique: place.how for place in plan.ranking} == {
        "plan": "measured",
        "own start": "measured",
        "he_normal": "measured",
        "orthogonal": "measured",
        "glorot_normal": "theory",
        "lecun_normal": "theory",
    }
    assert list(plan.ranking) == sorted(plan.ranking, key=lambda place: place.unevenness)
    usual = fl.plan(chain(), BATCH, compare="usual")
    assert {place.how for place in usual.ranking} == {"measured"} and len(usual.ranking) == 6
    assert from_json(to_json(usual)) == usual


class Tied(nn.Module):
    """One weight twice, batch statistics, dropout: everything that a pass could leave behind."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)
        self.second, self.third = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.third.weight = self.first.weight
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = self.drop(torch.relu(self.second(x)))
        return self.head(torch.relu(self.third(x)))


@pytest.mark.parametrize("build", [chain, Tied])
def test_a_trial_sees_what_a_check_sees_of_the_same_start(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(1)
    model, labels = build(), torch.arange(128) % 10
    names = ["he_normal", "orthogonal"]
    found = places(fl.plan(model, BATCH, target=labels, compare=names, seed=5))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    starts: dict[str, Any] = {"own start": None, "plan": {}} | {n: {"technique": n} for n in names}
    for name, options in starts.items():
        model.load_state_dict(state)
        if options is not None:
            fl.plan(model, BATCH, target=labels, **options).apply(model, seed=5)
        seen = measured(name, fl.check(model, BATCH, target=labels).observation)
        # The same arithmetic on the same numbers; only where they lie in memory may differ.
        assert found[name].forward_ratio == pytest.approx(seen.forward_ratio, rel=1e-4)
        assert found[name].delta_ratio == pytest.approx(seen.delta_ratio, rel=1e-4)


@pytest.mark.parametrize("bad", ["ones", "random_normal"])
def test_a_start_that_loses_the_signal_is_last_with_its_figure(bad: str) -> None:
    std = technique(bad).options.get("std", 0.0)
    plan = fl.plan(chain(), BATCH, compare=[bad, "he_normal"])
    worst = plan.ranking[-1]
    assert (worst.technique, worst.how) == (bad, "measured")
    if bad == "random_normal":
        # Each layer leaves n·σ²/2 of the second moment: 0.08 at the usual 0.05, eleven times over.
        expected = -(DEPTH - 1) * math.log(WIDTH * std**2 / 2)
        assert math.log(worst.forward_ratio) == pytest.approx(expected, rel=0.1)
        assert f"random_normal: second moment within × {worst.forward_ratio:.3g}" in to_text(plan)


def test_initialize_measures_the_calibrated_plan_and_keeps_the_forecast() -> None:
    receipt = fl.initialize(chain(), BATCH, compare=["orthogonal"], seed=3)
    found = places(receipt.plan)
    assert receipt.after is not None and receipt.before is not None
    assert found["plan"] == measured("plan", receipt.after.observation)
    assert found["own start"] == measured("own start", receipt.before.observation)
    assert found["orthogonal"].how == "measured" and found["he_normal"].how == "theory"
    assert "3 starts measured by one draw each, with seed 3" in receipt.plan.remarks


def test_the_pages_tell_measured_from_theory(tmp_path: Any) -> None:
    plan = fl.plan(chain(), BATCH, compare=["orthogonal"])
    figure = f"‖δ‖² within × {places(plan)['orthogonal'].delta_ratio:.3g} (measured)"
    save(plan, tmp_path / "plan.html")
    page = (tmp_path / "plan.html").read_text(encoding="utf-8")
    for text, shown in ((to_text(plan), figure), (page, typeset(figure))):
        assert shown in text and "(theory)" in text


def test_a_technique_that_beats_the_plan_in_every_draw_is_said_and_not_taken() -> None:
    """A plan spoilt on purpose: every hidden weight of a chain at the size of Glorot."""
    model = chain()
    spoilt = {f"{2 * i}.weight": Normal(std=math.sqrt(1 / WIDTH)) for i in range(1, DEPTH)}
    plan = fl.plan(model, BATCH, overrides={"0.weight": "glorot_normal"} | spoilt)
    assert not any("more even" in remark for remark in plan.remarks)
    _, rival = planned(
        model, BATCH, technique=None, wishes=Wishes(), loss=None, target=None, step=None
    )
    trials = Trials(model=model, batch=BATCH, loss=None, target=None, step=None, seed=0)
    told = compared(plan, ["he_normal", "glorot_normal"], rival, trials)
    (remark,) = [remark for remark in told.remarks if "more even" in remark]
    found = places(told)
    for place in (found["he_normal"], found["plan"]):
        assert f"× {place.forward_ratio:.3g}" in remark and f"× {place.delta_ratio:.3g}" in remark
    assert remark.startswith("he_normal") and 'technique="he_normal"' in remark
    assert [entry.law for entry in told] == [entry.law for entry in plan]
    # Glorot's start is the plan's own here: no margin, so not a word.
    assert not beats(found["glorot_normal"], found["plan"])


def test_what_one_draw_shows_by_chance_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal starts whose first draws differ: the further draws do not confirm it."""
    drawn: list[tuple[str, int]] = []

    def place(self: Any, name: str, start: Plan | None, draw: int = 0) -> Ranked:
        drawn.append((name, draw))
        lucky = name == "he_normal" and draw < 2
        ratio = 1.0 if lucky else math.exp(MARGIN)
        return Ranked(technique=name, forward_ratio=ratio, delta_ratio=ratio, how="measured")

    monkeypatch.setattr(Trials, "place", place)
    plan = fl.plan(chain(2), BATCH, compare=["he_normal", "orthogonal"])
    assert plan.ranking[0].technique == "he_normal"
    assert not any("more even" in remark for remark in plan.remarks)
    assert [each for each in drawn if each[1]] == [
        ("plan", 1),
        ("he_normal", 1),
        ("plan", 2),
        ("he_normal", 2),
    ]
    assert FURTHER_DRAWS > 2


class Fails(nn.Module):
    """Runs so many times, then raises; the count lies outside, where no guard puts it back."""

    def __init__(self, runs: int, error: BaseException) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(WIDTH, 10)
        self.left = iter(range(runs))
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(torch.relu(self.norm(self.first(x))))
        if next(self.left, None) is None:
            raise self.error
        return self.head(x)


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_nothing_is_touched_by_an_interrupt_in_a_trial(runs: int) -> None:
    """The first run is the look, the next ones are the trials of plan, own start and he_normal."""
    model = Fails(runs, KeyboardInterrupt())
    model.first.weight.grad = torch.ones(WIDTH, WIDTH)
    with unchanged_after(model, BATCH), pytest.raises(KeyboardInterrupt):
        fl.plan(model, BATCH, compare=["he_normal"])


def test_an_interrupt_while_initialize_compares_leaves_the_model_as_it_came() -> None:
    model = Fails(4, KeyboardInterrupt())  # check, look, calibration, one trial
    with unchanged_after(model, BATCH), pytest.raises(KeyboardInterrupt):
        fl.initialize(model, BATCH, compare=["he_normal"], seed=0)


def test_a_start_that_stops_the_model_is_ranked_last_and_said() -> None:
    model = Fails(3, ValueError("not a distribution"))
    with unchanged_after(model, BATCH):
        plan = fl.plan(model, BATCH, compare=["he_normal"])
    assert plan.ranking[-1].technique == "he_normal"
    assert any("he_normal stops the model" in remark for remark in plan.remarks)


def test_trials_draw_in_the_models_own_type_and_inside_inference_mode() -> None:
    model = chain(3).double()
    with torch.inference_mode(), unchanged_after(model, BATCH):
        fl.plan(model, BATCH.double(), compare=["he_normal"])
    values = np.full((WIDTH, WIDTH), 0.5, np.float32)
    seen = TorchAdapter().trial(model, [("0.weight", values)], BATCH.double())
    assert seen.parameters[0].constant and seen.dtype == "float64"


def test_rows_that_stay_stay_in_a_trial_too() -> None:
    torch.manual_seed(0)
    words = nn.Sequential(nn.Embedding(20, WIDTH), chain(2))
    ids = torch.randint(20, (32, 4))
    with unchanged_after(words, ids):
        plan = fl.plan(words, ids, only=["0.weight[18:]"], compare=["he_normal"], seed=1)
    assert places(plan)["plan"].forward_ratio == pytest.approx(
        places(plan)["own start"].forward_ratio, rel=0.3
    )


@pytest.mark.parametrize(
    ("compare", "words"),
    [
        ("he_norml", "compare: none is called 'he_norml'; did you mean 'he_normal'"),
        (["he_normal", 3], "compare: none is called 3"),
        (True, "compare: expected names of techniques or 'usual', got True"),
        (["delta_orthogonal"], "compare: 0.weight: delta_orthogonal: needs"),
    ],
)
@pytest.mark.parametrize("verb", [fl.plan, fl.initialize])
def test_a_comparison_that_cannot_be_made_is_one_line(
    verb: Callable[..., Any], compare: Any, words: str
) -> None:
    model = chain(2)
    with unchanged_after(model, BATCH), pytest.raises(fl.BadInputError) as caught:
        verb(model, BATCH, compare=compare)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


def test_without_a_batch_the_synthetic_one_is_used_and_said() -> None:
    remarks = fl.plan(chain(2), compare=["he_normal"]).remarks
    assert any("on a synthetic batch; a real one says more" in remark for remark in remarks)
    assert not any("synthetic" in r for r in fl.plan(chain(2), BATCH, compare=[]).remarks)
