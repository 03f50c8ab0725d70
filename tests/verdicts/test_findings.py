"""Planted faults give the right leading finding with the right culprit; healthy networks none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import models as zoo
import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.records.checkup import FINDING_KINDS, Checkup
from firstlight.verdicts import limits

SEEDS = range(5)


def look(model: nn.Module, seed: int = 0, samples: int = zoo.SAMPLES) -> Checkup:
    inputs, target = zoo.vectors(seed)[:samples], zoo.labels(seed)[:samples]
    return fl.check(model, inputs, loss="cross_entropy", target=target)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", zoo.FAULTS)
def test_a_planted_fault_leads_and_is_located(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    fault = zoo.FAULTS[name]
    checkup = look(fault.make(), seed)
    leading = checkup.findings[0]
    assert (leading.kind, leading.severity) == (fault.kind, fault.severity)
    assert leading.where[0] == fault.where
    assert fault.cause in leading.cause
    assert checkup.healthy is (fault.severity != "error")
    for finding in checkup.findings:
        assert finding.kind in FINDING_KINDS
        for words in (finding.evidence, finding.cause, finding.cure):
            assert words and "\n" not in words


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", zoo.HEALTHY)
def test_healthy_networks_are_left_in_peace(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    specimen = zoo.HEALTHY[name](seed)
    checkup = fl.check(specimen.model, specimen.batch, **specimen.options)
    assert checkup.healthy, [(f.kind, f.where, f.evidence) for f in checkup.findings]


@pytest.mark.parametrize("name", zoo.HEALTHY)
def test_healthy_networks_need_no_loss(name: str) -> None:
    specimen = zoo.HEALTHY[name](0)
    checkup = fl.check(specimen.model, specimen.batch)
    assert checkup.healthy, [(f.kind, f.where, f.evidence) for f in checkup.findings]
    assert checkup.observation.cotangent in ("random", "head-input")


def test_a_dead_layer_is_not_blamed_on_the_depth() -> None:
    kinds = [finding.kind for finding in look(zoo.FAULTS["bias -10"].make()).findings]
    assert kinds[0] == "dead-units"
    assert not {"backward-vanishing", "forward-vanishing", "collapsed-samples"} & set(kinds)
    assert "symmetric-units" not in kinds  # the zeros behind it say nothing of the weights there


def test_a_dead_layer_is_seen_on_few_samples_too() -> None:
    assert look(zoo.FAULTS["bias -10"].make(), samples=8).findings[0].kind == "dead-units"


def _with_dead(units: int) -> nn.Module:
    model = zoo.scaled(zoo.mlp(2), zoo.HE)
    nn.init.constant_(model[0].bias[:units], -50.0)
    return model


@pytest.mark.parametrize(
    ("units", "severity"),
    [(32, None), (int(limits.DEAD_WARNING * 64) + 1, "warning"), (48, "error")],
)
def test_shares_of_dead_units(units: int, severity: str | None) -> None:
    found = [f for f in look(_with_dead(units)).findings if f.kind == "dead-units"]
    assert [f.severity for f in found if f.where[0] == "1"] == ([severity] if severity else [])


def test_a_small_batch_calls_no_unit_dead() -> None:
    """On 4 samples one healthy ReLU unit of 16 is zero every time."""
    checkup = look(_with_dead(48), samples=4)
    assert all(finding.kind != "dead-units" for finding in checkup.findings)


def test_the_first_dead_layer_leads() -> None:
    model = zoo.scaled(zoo.mlp(4), zoo.HE)
    nn.init.constant_(model[2].bias[:52], -50.0)  # 81 %
    nn.init.constant_(model[4].bias[:63], -50.0)  # 98 %
    finding = next(f for f in look(model).findings if f.kind == "dead-units")
    assert finding.where[:2] == ("3", "5") and "`3`" in finding.evidence


def test_twins_of_an_odd_activation_may_have_opposite_signs() -> None:
    model = zoo.scaled(zoo.mlp(2, nn.Tanh), 1.0)
    with torch.no_grad():
        model[0].weight[32:] = -model[0].weight[:32]
        model[2].weight[:, 32:] = -model[2].weight[:, :32]
    assert look(model).findings[0].kind == "symmetric-units"


def test_a_mirrored_start_is_no_symmetry() -> None:
    model = zoo.scaled(zoo.mlp(2), zoo.HE)
    with torch.no_grad():
        model[0].weight[32:] = -model[0].weight[:32]
        model[2].weight[:, 32:] = -model[2].weight[:, :32]
    assert look(model).findings == ()


def test_a_few_twins_are_a_warning() -> None:
    model = zoo.scaled(zoo.mlp(2), zoo.HE)
    with torch.no_grad():
        model[0].weight[40] = model[0].weight[3]
        model[2].weight[:, 40] = model[2].weight[:, 3]
    [finding] = look(model).findings
    assert (finding.kind, finding.severity) == ("symmetric-units", "warning")
    assert "units 3 and 40 of `0`" in finding.cause


@pytest.mark.parametrize(("scale", "severity"), [(1.0, None), (11.0, "warning"), (25.0, "error")])
def test_severity_of_a_large_head(scale: float, severity: str | None) -> None:
    model = zoo.scaled(zoo.mlp(3, width=256), zoo.HE, head=scale * 0.3)
    found = [f.severity for f in look(model).findings if f.kind == "loss-at-start"]
    assert found == ([severity] if severity else [])


def test_the_sum_of_losses_is_no_large_loss() -> None:
    checkup = fl.check(
        zoo.mlp(2),
        zoo.vectors(0),
        loss=nn.CrossEntropyLoss(reduction="sum"),
        target=zoo.labels(0),
    )
    assert checkup.findings == () and (checkup.observation.loss or 0) > 100


class _Overflow(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(zoo.FEATURES, 8), nn.Linear(8, zoo.CLASSES)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.function(self.fc1(x)))


def test_the_first_non_finite_value_is_named() -> None:
    finding = look(_Overflow(lambda z: torch.sqrt(z.relu() - 1))).findings[0]
    assert (finding.kind, finding.where) == ("non-finite", ("fc2",))
    backward = look(_Overflow(lambda z: (z * 0).abs().sqrt())).findings[0]
    assert (backward.kind, backward.where) == ("non-finite", ("mul", "fc1"))
    assert "gradient" in backward.evidence


def test_errors_come_before_warnings() -> None:
    model = nn.Sequential(zoo.Unused())
    nn.init.constant_(model[0].body[0].bias, -50.0)
    severities = [finding.severity for finding in look(model).findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert set(severities) == {"error", "warning"}


def test_evidence_holds_the_measured_number() -> None:
    model = zoo.scaled(zoo.mlp(20, width=128), 2 * zoo.HE)
    checkup = look(model)
    readings = {reading.name: reading for reading in checkup.layers}
    first, last = (readings[name].delta_square_per_sample for name in ("0", "38"))
    assert first and last
    assert f"{math.sqrt(first.value / last.value):.1e}" in checkup.findings[0].evidence


def test_assert_healthy_names_what_is_wrong() -> None:
    checkup = look(zoo.FAULTS["NaN weight"].make())
    with pytest.raises(fl.UnhealthyError, match=r"^Sequential: non-finite at 2\.weight: 1 values"):
        checkup.assert_healthy()
    look(zoo.scaled(zoo.mlp(3), zoo.HE)).assert_healthy()


def _fixed(model: nn.Module, batch: Any, **options: Any) -> list[str]:
    receipt = fl.initialize(model, batch, seed=0, **options)
    assert receipt.before is not None and receipt.after is not None
    assert receipt.before.findings
    return [finding.kind for finding in receipt.after.findings]


CURED = [n for n in zoo.FAULTS if n not in ("unused", "detached", "LoRA, A = B = 0")]


@pytest.mark.parametrize("name", CURED)
def test_the_cure_works(name: str) -> None:
    options = {"loss": "cross_entropy", "target": zoo.labels(0)}
    assert _fixed(zoo.FAULTS[name].make(), zoo.vectors(0), **options) == []
