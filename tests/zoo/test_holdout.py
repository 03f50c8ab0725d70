"""The holdout of the zoo: it runs, its faults spoil what they name, its controls do not."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from pictures import bits
from planted import planted
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zoo import SPECIMENS as ZOO
from zoo.faults import CONTROLS as OLD_CONTROLS
from zoo.faults import FAULTS as OLD_FAULTS
from zoo.faults import Case, Fault
from zoo.holdout import CONTROLS, FAULTS, SPECIMENS, ZOO_SAMPLE, crossed
from zoo.specimen import Specimen

from firstlight.records.checkup import FINDING_KINDS

pytestmark = pytest.mark.filterwarnings("ignore")

_EVERYWHERE = (*SPECIMENS, *ZOO_SAMPLE)
_SAME_FUNCTION = {"doubled-relu", "log-softmax-before-cross-entropy", "linear-probe"}


def test_nothing_is_in_the_zoo_already() -> None:
    specimens = [s.name for s in (*ZOO, *SPECIMENS)]
    faults = [f.name for f in (*OLD_FAULTS, *OLD_CONTROLS, *FAULTS, *CONTROLS)]
    assert len(set(specimens)) == len(specimens) and len(set(faults)) == len(faults)
    assert len(SPECIMENS) >= 14 and len(FAULTS) >= 14
    assert all(fault.kinds and set(fault.kinds) <= set(FINDING_KINDS) for fault in FAULTS)
    assert not any(control.kinds for control in CONTROLS)


def test_the_sample_of_the_zoo_is_scored_and_plain() -> None:
    assert len(ZOO_SAMPLE) == 25 and all(s.split == "score" and not s.needs for s in ZOO_SAMPLE)


def test_old_operators_meet_only_new_architectures() -> None:
    pairs = {(case.fault.name, case.specimen.name) for case in crossed(range(1))}
    old, new = {f.name for f in OLD_FAULTS}, {s.name for s in SPECIMENS}
    assert {s for f, s in pairs if f in old} == new
    assert len(pairs) == len(crossed(range(1)))
    calibrating = {f.name for f in OLD_FAULTS if f.split == "calibrate"}
    assert not calibrating & {f for f, _ in pairs}


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_it_starts_from_a_number_and_every_parameter_can_learn(specimen: Specimen) -> None:
    model = specimen.model(0).train()
    loss = specimen.loss(model, 0)
    assert loss is not None and math.isfinite(loss.item())
    loss.backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("fault", (*FAULTS, *CONTROLS), ids=lambda f: f.name)
def test_an_operator_changes_something_in_two_models(fault: Fault) -> None:
    found = list(islice(planted(fault, _EVERYWHERE), 2))
    for case, model in found:
        specimen = case.specimen
        healthy = (specimen.model(0), specimen.batch(0), specimen.check(0))
        assert _picture(model, *case.fed()) != _picture(*healthy), specimen.name
        (ours, gradients), (theirs, others) = _step(case, model), _step(case, None)
        if fault.name in _SAME_FUNCTION:
            torch.testing.assert_close(ours, theirs)
        elif fault.kinds:
            assert bits(ours) != bits(theirs) or gradients != others, specimen.name
    assert len(found) == 2, "it applies to fewer models"


def test_a_root_of_masked_zeros_has_a_value_and_no_gradient() -> None:
    fault = next(f for f in FAULTS if f.name == "root-at-zero")
    specimen = next(s for s in SPECIMENS if s.name == "funnel-12")
    case = Case(fault=fault, specimen=specimen, seed=0)
    spoiled = case.plant()
    assert spoiled is not None
    loss, _ = _step(case, spoiled[0])
    assert math.isfinite(loss.item())
    assert all(not p.grad.isfinite().all() for p in list(spoiled[0].parameters())[:2])


def _step(case: Case, model: nn.Module | None) -> tuple[Tensor, list[bytes | None]]:
    """Loss and gradients of a spoiled model on what it is fed, or of the healthy specimen."""
    specimen = case.specimen
    if model is None:
        model = specimen.model(case.seed)
    else:
        fed, options = case.fed()
        specimen = replace(specimen, batch=lambda _: fed, check=lambda _: options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # dropout, and noise that a step adds
        loss = specimen.loss(model, case.seed)
    assert loss is not None
    if loss.requires_grad:
        loss.backward()
    gradients = [None if p.grad is None else bits(p.grad) for p in model.parameters()]
    return loss.detach(), gradients


def _picture(model: nn.Module, batch: Any, options: dict[str, Any]) -> list[Any]:
    fed = [t for t in tree_leaves((batch, options)) if isinstance(t, Tensor)]
    values = [(n, p.dtype, p.requires_grad, bits(p)) for n, p in model.named_parameters()]
    return [str(model), values, [(t.dtype, bits(t)) for t in fed]]
