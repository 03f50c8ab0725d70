"""The zoo: on every architecture the verbs return, touch nothing, and find nothing wrong.

What is fed and built stands in `benchmarks/zoo`, which the benchmarks share.
"""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from pictures import picture
from planted import planted
from torch import Tensor, nn
from zoo import SICK, SPECIMENS, Specimen
from zoo.faults import CONTROLS, FAULTS, Case, Fault
from zoo.scoring import clopper_pearson, names_culprit

import firstlight as fl
from firstlight.records.checkup import Finding

# transformers warns of its own future, and some of its models divide integers the old way.
pytestmark = pytest.mark.filterwarnings("ignore")


def _present(specimen: Specimen) -> Specimen:
    if specimen.missing:
        pytest.skip(specimen.missing)
    return specimen


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_all_is_well(specimen: Specimen) -> None:
    model, batch = _present(specimen).model(0), specimen.batch(0)
    before = picture(model, batch)
    checkup = fl.check(model, batch, **specimen.check(0))
    audit = fl.audit(model)
    plan = fl.plan(model, batch, **specimen.check(0))
    assert picture(model, batch) == before

    names = [p.name for p in checkup.network.parameters]
    assert [entry.name for entry in audit] == names == [entry.name for entry in plan]
    assert checkup.network.operations and checkup.layers
    errors = [finding for finding in checkup.findings if finding.severity == "error"]
    assert not errors


@pytest.mark.parametrize("specimen", SICK, ids=lambda s: s.name)
def test_published_and_rightly_sick(specimen: Specimen) -> None:
    checkup = _present(specimen).checkup(specimen.model(0), 0)
    assert checkup.findings[0].severity == "error"
    assert checkup.findings[0].kind in SICK[specimen]


def test_names_are_unique_and_both_parts_are_filled() -> None:
    names = [s.name for s in (*SPECIMENS, *SICK)]
    faults = [f.name for f in (*FAULTS, *CONTROLS)]
    assert len(set(names)) == len(names) and len(set(faults)) == len(faults)
    assert len(SPECIMENS) >= 60 and len(FAULTS) >= 30
    for part in ("calibrate", "score"):
        assert sum(s.split == part for s in SPECIMENS) >= 30
        assert sum(f.split == part for f in FAULTS) >= 10


def test_seeds_decide_weights_and_samples() -> None:
    for specimen in SPECIMENS:
        if not specimen.missing and specimen.family in ("dense", "attention"):
            one, same, other = (specimen.model(seed).state_dict() for seed in (1, 1, 2))
            assert all(torch.equal(one[k], same[k]) for k in one)
            assert any(not torch.equal(one[k], other[k]) for k in one)
            first, second = specimen.batch(1), specimen.batch(2)
            if isinstance(first, Tensor):
                assert torch.equal(first, specimen.batch(1)) and not torch.equal(first, second)


_PLAIN = [s for s in SPECIMENS if not s.needs]


@pytest.mark.parametrize("fault", (*FAULTS, *CONTROLS), ids=lambda f: f.name)
def test_an_operator_spoils_what_it_names(fault: Fault) -> None:
    found = list(islice(planted(fault, _PLAIN), 4))
    for case, model in found:
        assert _differs(case, model), case.specimen.name
    assert len(found) >= 3


def _differs(case: Case, model: nn.Module) -> bool:
    """Whether weights, flags, structure or what the model is fed are others than in health."""
    healthy = case.specimen.model(case.seed)
    fed, options = case.fed()
    batch, plain = case.specimen.batch(case.seed), case.specimen.check(case.seed)
    data = [(fed, batch), (options.get("target"), plain.get("target"))]
    if any(isinstance(a, Tensor) and not torch.equal(a, b) for a, b in data):
        return True
    ours, theirs = dict(model.named_parameters()), dict(healthy.named_parameters())
    if ours.keys() != theirs.keys() or str(model) != str(healthy):
        return True
    return any(
        not torch.equal(ours[n], theirs[n]) or ours[n].requires_grad != theirs[n].requires_grad
        for n in ours
    )


def test_a_culprit_is_named_by_itself_its_inside_or_its_owner() -> None:
    def finding(where: tuple[str, ...], cause: str = "") -> Finding:
        more = {"severity": "error", "evidence": "", "cure": ""}
        return Finding(kind="dead-units", where=where, cause=cause, **more)

    assert names_culprit(finding(("fc1",)), ("fc1",))
    assert names_culprit(finding(("fc1#2",)), ("fc1.weight",))
    assert names_culprit(finding(("block.0.relu",)), ("block.0",))
    assert names_culprit(finding(("relu",), cause="mean −10 at `fc1`"), ("fc1",))
    assert not names_culprit(finding(("fc10",)), ("fc1",))
    assert not names_culprit(finding(("relu",), cause="fc1"), ("fc1",))


def test_clopper_pearson_is_exact() -> None:
    # For k = n the lower limit solves p^n = 0.025; for k = 0 the upper one 1 − p = 0.025^(1/n).
    assert clopper_pearson(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert clopper_pearson(0, 20) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    low, high = clopper_pearson(3, 10)
    assert (low, high) == pytest.approx((0.0667, 0.6525), abs=1e-4)
