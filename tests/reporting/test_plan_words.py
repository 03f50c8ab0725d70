"""What a plan says besides its table: refusals first, then how starts compare."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.records.plan import Plan
from firstlight.reporting.files import save
from firstlight.reporting.text import to_text


class Square(nn.Module):
    """No start carries sixty of these."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) ** 2


@pytest.fixture(scope="module")
def refused() -> Plan:
    layers = [layer for _ in range(60) for layer in (nn.Linear(16, 16), Square())]
    return fl.plan(nn.Sequential(*layers, nn.Linear(16, 3)), torch.randn(32, 16))


def test_text_refuses_before_it_prescribes(refused: Plan) -> None:
    text = to_text(refused)
    assert text.index("No start can help 0 … 120") < text.index("rule and reason")
    assert "Starts by how even they are along the depth:" in text
    assert "plan: second moment even" in text and "lost along the depth" in text


def test_the_page_does_too(refused: Plan, tmp_path) -> None:
    save(refused, tmp_path / "plan.html")
    page = (tmp_path / "plan.html").read_text(encoding="utf-8")
    assert page.index("No start can help 0 … 120") < page.index("What each parameter starts as")
