"""Batch norm's own growth of the gradient is told from that of a start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.records.checkup import Finding
from firstlight.verdicts.norm_growth import norm_growth, read_by_norms
from firstlight.verdicts.view import View

WIDTH, SAMPLES = 64, 128


def chain(depth: int, *, gain: float = 1.0) -> nn.Sequential:
    """Weight, batch norm, ReLU, ``depth`` times, and a head."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-3].weight, nonlinearity="relu")  # type: ignore[arg-type]
    nn.init.normal_(layers[0].weight, std=gain / math.sqrt(WIDTH))  # type: ignore[arg-type]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(SAMPLES, WIDTH, generator=generator), torch.arange(SAMPLES) % 10


def exploding(model: nn.Module) -> list[Finding]:
    batch, target = data()
    found = fl.check(model, batch, loss="cross_entropy", target=target).findings
    return [f for f in found if f.kind == "backward-exploding"]


@pytest.mark.parametrize(("depth", "severity"), [(8, None), (29, "warning"), (45, "error")])
def test_depth_decides_what_batch_norm_costs(depth: int, severity: str | None) -> None:
    found = exploding(chain(depth))
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert all("batch norms in a row" in f.evidence for f in found)


def test_the_growth_is_that_of_theory() -> None:
    batch, target = data()
    view = View(fl.check(chain(11), batch, loss="cross_entropy", target=target).observation)
    [rows] = view.profiles
    assert norm_growth(view, rows) == pytest.approx((math.pi / (math.pi - 1)) ** 5, rel=1e-6)
    assert norm_growth(view, rows[-1:]) == 1.0
    assert all(read_by_norms(view, view.graph.operations[row.operation]) for row in rows)


@pytest.mark.parametrize("gain", [1e-2, 1e2])
def test_scale_that_a_norm_undoes_is_no_explosion(gain: float) -> None:
    assert not exploding(chain(8, gain=gain))


def test_growth_without_norms_is_blamed_on_the_weights() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(20):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
        nn.init.normal_(layers[-2].weight, std=2.5 / math.sqrt(WIDTH))  # type: ignore[arg-type]
    [found] = exploding(nn.Sequential(*layers, nn.Linear(WIDTH, 10)))
    assert found.severity == "error" and "batch norms" not in found.evidence
