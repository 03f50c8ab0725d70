"""Overrides, preferred forms, partial starts; plans that are edited and compared."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.records.codec import from_json, to_json
from firstlight.records.law import Constant, Normal, Orthogonal, TruncatedNormal

WIDTH = 32


class Classifier(nn.Module):
    """Words to classes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, WIDTH)
        self.body, self.head = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, 5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(self.words(ids))).mean(1))


IDS = torch.randint(20, (64, 7), generator=torch.Generator().manual_seed(0))


def test_a_pattern_overrides_and_the_later_one_wins() -> None:
    wanted: dict[str, Any] = {"body.weight": "orthogonal", "head.*": Constant(value=0.0)}
    plan = fl.plan(Classifier(), IDS, overrides={"body.*": "zeros", **wanted})
    assert isinstance(plan["body.weight"].law, Orthogonal)
    assert plan["body.bias"].law == plan["head.bias"].law == Constant(value=0.0)
    assert plan["head.weight"].law == Constant(value=0.0)
    assert plan["head.weight"].reason == "zeros, as asked for 'head.*'"


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (
            {"overrides": {"nobody.*": "zeros"}},
            "overrides: pattern 'nobody.*' matches none of the 5",
        ),
        ({"overrides": {"body.*": "he_norma"}}, "he_norma"),
        ({"overrides": {"*.bias": "he_normal"}}, "overrides: '*.bias' on body.bias: he_normal:"),
        ({"only": ["nobody"]}, "only: pattern 'nobody' matches none"),
        ({"only": ["words.weight[18:30]"]}, "'words.weight[18:30]' is not within the 20 rows"),
        ({"keep": ["nobody"]}, "keep: pattern 'nobody' matches none"),
        ({"prefer": "orthogonl"}, "orthogonl"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_line(wishes: Any, words: str) -> None:
    with pytest.raises(fl.BadInputError) as caught:
        fl.plan(Classifier(), IDS, **wishes)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["orthogonal", "truncated_normal", "he_uniform"])
def test_a_preferred_form_keeps_the_scale(form: str) -> None:
    model = Classifier()
    plain, formed = fl.plan(model, IDS), fl.plan(model, IDS, prefer=form)
    assert plain["body.weight"].target == formed["body.weight"].target
    assert type(plain["body.weight"].law) is not type(formed["body.weight"].law)
    assert plain["head.weight"].law == formed["head.weight"].law
    plain.apply(model, seed=0)
    size = float(model.body.weight.detach().square().mean())
    formed.apply(model, seed=0)
    # 2,048 elements: the mean square of a normal draw has a standard error of √(2/2048) = 3 %.
    assert float(model.body.weight.detach().square().mean()) == pytest.approx(size, rel=0.13)


def test_only_what_is_new_is_drawn_and_matched() -> None:
    model = Classifier()
    with torch.no_grad():
        model.words.weight.mul_(0.02)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    receipt = fl.initialize(model, IDS, only=["head.*", "words.weight[18:]"], seed=0)
    after = model.state_dict()
    assert torch.equal(after["body.weight"], before["body.weight"])
    assert torch.equal(after["words.weight"][:18], before["words.weight"][:18])
    fresh = after["words.weight"][18:]
    assert not torch.equal(fresh, before["words.weight"][18:])
    old = float(before["words.weight"][:18].square().mean())
    assert float(fresh.square().mean()) == pytest.approx(old, rel=4 * math.sqrt(2 / 64))
    assert receipt.plan["words.weight"].rule == "added rows"
    assert receipt.plan["body.weight"].action == "keep"
    logits = model(IDS).detach()
    assert float(logits.std()) == pytest.approx(0.2, rel=0.5)


def test_double_precision_rows_that_stay_are_not_rounded() -> None:
    model = Classifier().double()
    before = model.words.weight.detach().clone()
    fl.initialize(model, IDS, only=["words.weight[18:20]"], seed=0)
    assert torch.equal(model.words.weight[:18], before[:18])


def test_plans_are_edited_compared_and_read_back() -> None:
    plan = fl.plan(Classifier(), IDS)
    assert from_json(to_json(plan)) == plan
    assert plan.diff(plan) == ()
    law = TruncatedNormal(std=0.02)
    edited = plan.edit("body.weight", law, "the house rule")
    (change,) = plan.diff(edited)
    assert change.name == "body.weight" and str(change).endswith("high_sigma=2.0)")
    assert edited["body.weight"].reason == "the house rule"
    assert plan["body.weight"].law != law and isinstance(plan["body.weight"].law, Normal)
    with pytest.raises(fl.BadInputError, match="no parameter 'bodyweight'"):
        plan.edit("bodyweight", law)
    kept = fl.plan(Classifier(), IDS, keep=["head.*"])
    assert [d.name for d in plan.diff(kept)] == ["head.weight", "head.bias"]
    assert str(plan.diff(kept)[1]) == "head.bias: Constant(value=0.0) → keep"
