"""Parallel units, copied layers, missing rank, wild values, heads and inputs that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import firstlight as fl


def mlp(activation: type[nn.Module] = nn.ReLU, depth: int = 4, width: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    sizes = [32] + [width] * depth
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(sizes[index], width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(128, 32, generator=generator)
    return x, torch.randint(10, (128,), generator=generator)


def leading(model, batch, **more):
    findings = fl.check(model, batch[0], target=batch[1], **more).findings
    return findings[0] if findings else None


@pytest.mark.parametrize("scale", [1.0, 0.01, "he"])
def test_all_positive_weights_are_parallel_at_any_scale(scale, batch):
    model = mlp()
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for module in list(model)[2:-1:2]:
            values = generator.random(module.weight.shape)
            # U[0, 1) has mean square 1/3.
            factor = np.sqrt(3 * 2 / module.in_features) if scale == "he" else scale
            module.weight.copy_(torch.tensor(values * factor))
    kinds = [f.kind for f in fl.check(model, batch[0], target=batch[1]).findings]
    assert "parallel-units" in kinds
    finding = next(
        f for f in fl.check(model, batch[0], target=batch[1]).findings if f.kind == "parallel-units"
    )
    assert finding.severity == "error"
    assert set(finding.where) == {"2.weight", "4.weight", "6.weight"}


def test_the_cosine_of_uniform_weights_is_three_quarters(batch):
    model = mlp(depth=2)
    nn.init.uniform_(model[2].weight, 0, 1)
    reading = next(
        p for p in fl.check(model, batch[0]).observation.parameters if p.name == "2.weight"
    )
    # (1/4)/(1/3); the spread of the mean over pairs is far below 0.02.
    assert reading.unit_cosine == pytest.approx(0.75, abs=0.02)


def test_a_small_mean_is_no_finding(batch):
    model = mlp()
    with torch.no_grad():
        for module in list(model)[::2]:
            module.weight.add_(0.1 * module.weight.std())
    assert fl.check(model, batch[0], target=batch[1]).healthy
    assert not fl.check(model, batch[0], target=batch[1]).findings


def test_copied_layers_are_named(batch):
    model = mlp()
    with torch.no_grad():
        model[4].weight.copy_(model[2].weight)
    finding = leading(model, batch)
    assert finding.kind == "cloned-layers"
    assert finding.where == ("4.weight",)
    assert "`4.weight` equals `2.weight`" in finding.evidence


def test_tied_and_frozen_copies_are_meant(batch):
    tied = mlp()
    tied[4].weight = tied[2].weight
    assert fl.check(tied, batch[0], target=batch[1]).healthy
    frozen = mlp()
    with torch.no_grad():
        frozen[4].weight.copy_(frozen[2].weight)
    frozen[4].weight.requires_grad_(False)
    assert fl.check(frozen, batch[0], target=batch[1]).healthy


def test_torchs_encoder_is_cloned_and_initialize_cures_it():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    x = torch.randn(16, 8, 32)
    before = fl.check(model, x)
    assert (before.findings[0].kind, before.healthy) == ("cloned-layers", True)
    receipt = fl.initialize(model, x, seed=0)
    assert "cloned-layers" not in [f.kind for f in receipt.after.findings]


@pytest.mark.parametrize(
    ("fault", "severity"), [("outer product", "error"), ("repeated shards", "warning")]
)
def test_missing_rank_is_found(fault, severity, batch):
    model = mlp()
    weight = model[2].weight
    with torch.no_grad():
        if fault == "outer product":
            weight.copy_(torch.outer(torch.randn(64), torch.randn(64)) / 8)
        else:
            weight.copy_(weight[:16].repeat(4, 1))
    found = {f.kind: f for f in fl.check(model, batch[0], target=batch[1]).findings}
    assert found["rank-deficient"].where == ("2.weight",)
    assert found["rank-deficient"].severity == severity


def test_our_own_mirrored_start_is_silent_and_a_mirrored_tanh_is_an_error(batch):
    relu = mlp(depth=10)
    fl.plan(relu, batch[0]).apply(relu, seed=0)
    assert not fl.check(relu, batch[0], target=batch[1]).findings
    tanh = mlp(nn.Tanh, depth=10)
    plan = fl.plan(relu, batch[0])
    plan.apply(tanh, seed=0)
    finding = leading(tanh, batch)
    assert finding.kind == "symmetric-units"
    assert finding.severity == "error"


def test_unfilled_memory_is_named(batch):
    model = mlp()
    with torch.no_grad():
        model[2].weight[3, 5] = 1e37
    finding = leading(model, batch)
    assert finding.kind == "non-finite"
    assert finding.where[0] == "2.weight"


class Head(nn.Module):
    def __init__(self, outputs: int, last) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.last = mlp(depth=1)[:2], nn.Linear(64, outputs), last

    def forward(self, x):
        return self.last(self.head(self.body(x)))


MISMATCHES = {
    "softmax before cross_entropy": (10, lambda z: z.softmax(1), "cross_entropy"),
    "sigmoid before cross_entropy": (10, torch.sigmoid, "cross_entropy"),
    "relu before cross_entropy": (10, torch.relu, "cross_entropy"),
    "one class": (1, lambda z: z, "cross_entropy"),
    "softmax before nll_loss": (10, lambda z: z.softmax(1), functional.nll_loss),
    "sigmoid twice": (1, torch.sigmoid, "binary_cross_entropy"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_head_that_contradicts_its_loss_is_not_blamed_on_the_weights(case, batch):
    outputs, last, loss = MISMATCHES[case]
    target = batch[1] if outputs > 1 else torch.zeros(128, dtype=torch.long)
    if loss == "binary_cross_entropy":
        target = torch.ones(128, 1)
    finding = leading(Head(outputs, last), (batch[0], target), loss=loss)
    assert finding.kind == "head-mismatch"
    assert "the initialization is not to blame" in finding.cause


def test_log_softmax_fits_both_losses(batch):
    for loss in ("cross_entropy", functional.nll_loss):
        model = Head(10, lambda z: z.log_softmax(1))
        assert not fl.check(model, batch[0], target=batch[1], loss=loss).findings


def test_raw_pixels_are_an_error(batch):
    model = mlp()
    for scale, severity in ((200, "error"), (20, "warning"), (5, None)):
        kinds = {f.kind: f.severity for f in fl.check(model, scale * batch[0]).findings}
        assert kinds.get("input-scale") == severity
    normed = nn.Sequential(nn.BatchNorm1d(32), *mlp())
    assert "input-scale" not in [f.kind for f in fl.check(normed, 200 * batch[0]).findings]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: torch.optim.Adam(p, lr=1e-3), None),
        (lambda p: torch.optim.Adam(p, lr=0.1), "changes `"),
        (lambda p: torch.optim.SGD(p, lr=1e-2), None),
        (lambda p: torch.optim.SGD(p, lr=1e-9), "half of the weights"),
    ],
)
def test_the_learning_rate_is_judged_by_the_first_step(make, expected, batch):
    model = mlp()
    optimizer = make(model.parameters())
    checkup = fl.check(model, batch[0], target=batch[1], optimizer=optimizer)
    found = [f for f in checkup.findings if f.kind == "update-ratio"]
    assert bool(found) == (expected is not None)
    assert all(expected in f.evidence for f in found)
    assert not optimizer.state


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_the_update_ratio_is_that_of_a_real_step(optimizer, batch):
    model = mlp()
    made = optimizer(model.parameters(), lr=1e-2)
    readings = fl.check(model, batch[0], target=batch[1], optimizer=made).observation.parameters
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    functional.cross_entropy(model(batch[0]), batch[1]).backward()
    made.step()
    for reading in readings:
        if reading.update_ratio is None:
            continue
        name = reading.name
        moved = model.get_parameter(name).detach() - before[name]
        share = float(moved.norm() / before[name].norm()) / reading.update_ratio
        # Adam leaves the elements without gradient where they are; the ratio is its upper bound.
        low = 0.999 if optimizer is torch.optim.SGD else 0.6
        assert low < share < 1.001, name


def test_an_optimizer_of_another_model_is_refused(batch):
    other = torch.optim.SGD(mlp().parameters(), lr=0.1)
    with pytest.raises(fl.BadInputError, match="holds none of this model's parameters"):
        fl.check(mlp(), batch[0], optimizer=other)
    with pytest.raises(fl.BadInputError, match=r"expected a torch\.optim\.Optimizer, got float"):
        fl.check(mlp(), batch[0], optimizer=0.1)
