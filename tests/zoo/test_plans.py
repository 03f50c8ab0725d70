"""Every architecture of the zoo gets a whole plan, and starts healthy under it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

import firstlight as fl
from firstlight.records.codec import from_json, to_json

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from zoo import SPECIMENS, Specimen

# transformers warns of its own future, and some of its models divide integers the old way.
pytestmark = pytest.mark.filterwarnings("ignore")

# Where the loss may leave its band for reasons that no start of ours changes.
GIVEN = {
    "contrastive": "two views of a sample find each other by chance already",
    "lora": "the base and its head are frozen",
    "distilbert-qa": "answers begin at few places, so that chance does not average out",
    "patch-tst": "adds each series' own mean to what it predicts",
    "patch-ts-mixer": "adds each series' own mean to what it predicts",
    "clip": "its own temperature of 14 multiplies the logits",
}


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
def test_initialize(specimen: Specimen) -> None:
    if specimen.missing:
        pytest.skip(specimen.missing)
    model = specimen.model(0)
    receipt = fl.initialize(model, specimen.batch(0), seed=0, **specimen.check(0))
    plan = receipt.plan
    assert {e.name for e in plan} == {p.name for p in plan.network.parameters}
    assert len(plan) == len(plan.network.parameters)
    for entry in plan:
        assert entry.rule and entry.reason and entry.source and "\n" not in entry.reason
        assert (entry.law is None) is (entry.action == "keep")
    assert from_json(to_json(plan)) == plan
    assert receipt.after is not None
    assert [f for f in receipt.after.findings if f.severity == "error"] == []
    seen = receipt.after.observation
    if seen.loss is None or not seen.undecided_loss or specimen.name in GIVEN:
        return
    # Between what the class shares cost and what equal logits do; 5 % beyond on either side, and
    # 2 % for the chance of one batch.
    prior = seen.undecided_loss if seen.prior_loss is None else seen.prior_loss
    assert 0.93 * min(prior, seen.undecided_loss) <= seen.loss <= 1.07 * seen.undecided_loss
    assert math.isfinite(seen.loss)
