"""Which start is the most even, and where none can help."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.records.plan import Ranked

WIDTH, DEPTH = 64, 20


def chain(activation: type[nn.Module], depth: int = DEPTH) -> nn.Sequential:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(WIDTH, WIDTH), activation())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


BATCH = torch.randn(128, WIDTH, generator=torch.Generator().manual_seed(0))


def places(ranking: tuple[Ranked, ...]) -> dict[str, Ranked]:
    return {place.technique: place for place in ranking}


def test_starts_are_ranked_by_what_depth_makes_of_them() -> None:
    ranking = fl.plan(chain(nn.ReLU), BATCH).ranking
    found = places(ranking)
    assert list(ranking) == sorted(ranking, key=lambda place: place.unevenness)
    assert ranking[0].technique in ("plan", "he_normal")
    # Half of the signal is lost at each ReLU under σ_w² = 1: 2^19 over 20 layers.
    assert found["glorot_normal"].forward_ratio == pytest.approx(2**19, rel=0.01)
    assert found["glorot_normal"].delta_ratio == pytest.approx(2**19, rel=0.01)
    assert found["plan"].delta_ratio == pytest.approx(1, abs=0.01)
    assert "× 5.24e+05" in str(found["glorot_normal"])


def test_initialize_ranks_what_it_measured() -> None:
    found = places(fl.initialize(chain(nn.ReLU), BATCH, seed=0).plan.ranking)
    assert found["plan"].how == found["own start"].how == "measured"
    assert found["plan"].delta_ratio < 1.1
    # torch's σ_w² = 1/3 leaves 1/6 of ‖δ‖² a layer.
    assert math.log(found["own start"].delta_ratio) == pytest.approx(19 * math.log(6), rel=0.2)


class Square(nn.Module):
    """Its odd part is zero: nothing of first order passes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) ** 2


class Sign(nn.Module):
    """No gradient passes at all."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


def test_a_chain_that_no_start_carries_is_refused_with_what_would_help() -> None:
    shallow, deep = (fl.plan(chain(Square, depth), BATCH).refusals for depth in (6, 60))
    assert shallow == ()
    (sentence,) = deep
    assert sentence.startswith("0 … 120: ") and "\n" not in sentence
    assert any(word in sentence for word in ("norm", "skip", "activation"))
    assert any(character.isdigit() for character in sentence.split(": ", 1)[1])


def test_what_the_refusal_proposes_works() -> None:
    """60 squared ReLUs lose or explode ‖δ‖²; the same with layer norms and skips do not."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.linear(torch.relu(self.norm(x)) ** 2)

    plain = chain(Square, 60)
    cured = nn.Sequential(*(Block() for _ in range(60)), nn.Linear(WIDTH, 10))
    for model, healthy in ((plain, False), (cured, True)):
        receipt = fl.initialize(model, BATCH, seed=0)
        assert receipt.after is not None and receipt.after.healthy is healthy
        assert bool(receipt.plan.refusals) is not healthy
