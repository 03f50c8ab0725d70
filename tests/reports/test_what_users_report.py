"""What users report: each thread's model in small, its symptom in plain torch, and the cause named.

Numbers are the rows of the table of users' reports that the faults in `benchmarks/zoo/faults.py`
refer to too. A row has a sick model, as the thread had it, and the same after the thread's cure;
row 2 is about the law of one weight alone and needs no forward pass. Every row can be told in
PyTorch. What is not told, because no test can hold it: in rows 6, 7, 8 and 18 the memory is not
really unfilled (its values would be another process's) but holds what such memory held: random
bits, or NaN. Depths and widths are smaller than in the threads: ResNet-200 has 60 blocks of width
32 here, VGG-16 an eighth of its width. Where a thread ends without a cure, or with one that hides
the cause (row 14: smaller weights against unscaled pixels), the cure is the one for the cause.
"""

from __future__ import annotations

import math
import re

import pytest
import reported_layers as layers
import reported_networks as networks
import torch
from reported_networks import he, images, started
from reported_rows import REPORTS, Report, classify, fan_out
from reported_symptoms import Given
from torch import nn

import firstlight as fl

# transformers warns of its own future.
pytestmark = pytest.mark.filterwarnings("ignore")

every_row = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)


@every_row
def test_the_symptom_is_there_and_goes(report: Report) -> None:
    report.symptom(report.sick())
    with pytest.raises(AssertionError):
        report.symptom(report.cured())


@every_row
def test_the_cause_is_named(report: Report) -> None:
    findings = report.sick().check().findings
    assert findings, "silent"
    first = findings[0]
    assert first.kind in report.kinds, (first.kind, first.where, first.evidence)
    pieces = f"{first.evidence} {first.cause}".split("`")
    spoken = [name.split(".") for name in (*first.where, *pieces[1::2])]
    culprit = report.culprit.split(".")
    assert any(culprit == name[: len(culprit)] or culprit[-1] in name for name in spoken), spoken
    for word in report.words:
        assert re.search(word, "".join(pieces[::2])), (word, pieces)


@every_row
def test_the_cured_model_has_no_error(report: Report) -> None:
    checkup = report.cured().check()
    assert checkup.healthy, [(f.kind, f.where, f.evidence) for f in checkup.findings]


# Rows about the law of one weight, and the one that is no fault -----------------------------------


def _remarks(model: nn.Module, name: str) -> dict[str, str]:
    return {remark.kind: remark.text for remark in fl.audit(model)[name].remarks}


def test_2_packed_projections_are_drawn_for_three_times_their_fan_out() -> None:
    """Pytorch #166378, PR #171361, #171409: each third gets 1/√2 of the scale it has alone."""
    packed = nn.MultiheadAttention(128, 4)
    apart = nn.MultiheadAttention(128, 4, kdim=128, vdim=128)
    for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        setattr(apart, name, nn.Parameter(nn.init.xavier_uniform_(torch.empty(128, 128))))
    ratio = packed.in_proj_weight.std() / apart.q_proj_weight.std()
    assert ratio.item() == pytest.approx(math.sqrt(1 / 2), rel=0.02)  # 2/(E + 3E) over 2/(E + E)

    assert "fan_out as 3E" in _remarks(packed, "in_proj_weight")["packed-fans"]
    assert not _remarks(apart, "q_proj_weight")


def test_4_depthwise_fan_out_is_remarked() -> None:
    """Pytorch #23854, timm #84: fan_out of a grouped convolution, counted over all groups."""
    model = started(networks.separable(), fan_out)
    assert "all 32 groups" in _remarks(model, "2.depthwise.weight")["stored-fans"]
    assert not _remarks(model, "2.pointwise.weight")
    assert not _remarks(started(networks.separable(), he), "2.depthwise.weight")


def _decoder(std: float) -> Given:
    ids = torch.randint(100, (2, 64, 12))
    return Given(layers.Decoder(std), ids[0], {"target": ids[1]})


def _relative_steps(model: nn.Module) -> dict[str, float]:
    """‖Δw‖/‖w‖ of Adam's first step, in which every number moves by the learning rate."""
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    return {n: 1e-3 / p.square().mean().sqrt().item() for n, p in weights.items()}


def test_17_an_embedding_of_standard_deviation_1_drowns_positions() -> None:
    """Espnet #3454, LayerNorm-Scaling #6: it trains far more slowly than the other weights."""
    sick, cured = _decoder(1.0), _decoder(64**-0.5)
    for given, drowned in ((sick, True), (cured, False)):
        model = given.model
        tokens = (8 * model.embedding(given.batch)).square().mean().sqrt()
        places = model.positions(12, 64).square().mean().sqrt()
        assert (tokens / places).item() == pytest.approx(11.3 if drowned else 1.41, rel=0.05)
        steps = _relative_steps(model)
        slow = steps["embedding.weight"] < 0.1 * steps["layers.0.linear1.weight"]
        assert slow is drowned

    assert [fit.words for fit in fl.audit(sick.model)["embedding.weight"].laws][:1] == ["N(0, 1)"]
    assert cured.check().healthy


def test_17_the_embedding_is_found() -> None:
    findings = _decoder(1.0).check().findings
    assert findings, "silent"
    assert findings[0].kind in ("wrong-law", "update-ratio")
    assert findings[0].where[0].startswith("embedding")


def test_a_zero_gamma_is_no_fault() -> None:
    """Tensorpack #420: each block starts as the identity, and wakes after one step."""
    blocks = [layers.ZeroGamma(16) for _ in range(4)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    stem = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
    given = classify(nn.Sequential(*stem, *blocks, *head), images(16))
    asleep = [n for n, g in given.gradients().items() if not g.any()]
    assert any("branch.0" in name for name in asleep)
    assert given.check().findings == ()
    given.train(1, rate=0.1)
    assert all(g.any() for g in given.gradients().values())
