"""Residual streams, attention logits, positions, tied heads: what each weight is asked to make."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.records.law import Normal
from firstlight.records.plan import Plan

WIDTH, SAMPLES = 64, 64


class Stream(nn.Module):
    """Residual layers, with a norm before, after, or nowhere."""

    def __init__(self, blocks: int, norm: str = "") -> None:
        super().__init__()
        self.norm = norm
        self.up = nn.ModuleList(nn.Linear(WIDTH, 2 * WIDTH) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in range(blocks))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(blocks if norm else 0))
        self.head = nn.Linear(WIDTH, 10)
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = [float(x.detach().square().mean())]
        for index, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            norm = self.norms[index] if self.norm else None
            y = x if norm is None or self.norm == "after" else norm(x)
            x = x + down(functional.gelu(up(y)))
            if norm is not None and self.norm == "after":
                x = norm(x)
            self.seen.append(float(x.detach().square().mean()))
        return self.head(x)


@pytest.mark.parametrize("norm", ["", "before", "after"])
@pytest.mark.parametrize("blocks", [4, 24])
def test_a_residual_stream_grows_by_e_at_most(norm: str, blocks: int) -> None:
    model, x = Stream(blocks, norm), torch.randn(SAMPLES, WIDTH)
    plan = fl.plan(model, x)
    plan.apply(model, seed=0)
    model(x)
    # (1 + 1/n)^n; one draw of each branch spreads it by about √(2/64)/√n.
    expected = 1.0 if norm == "after" else (1 + 1 / blocks) ** blocks
    assert model.seen[-1] / model.seen[0] == pytest.approx(expected, rel=0.25)
    words = {"": "without a norm", "before": "pre-norm", "after": "post-norm"}[norm]
    entry = plan["down.0.weight"]
    assert entry.rule == "residual branch" and f"one of {blocks} residual branches ({words})" in (
        entry.reason
    )
    assert entry.target == pytest.approx(model.seen[0] / blocks, rel=0.02)


def std_of(plan: Plan, name: str) -> float:
    law = plan[name].law
    assert isinstance(law, Normal)
    return law.std


class Attention(nn.Module):
    """Single-headed, with the scale of its logits as asked."""

    def __init__(self, scale: float | None, *, by_hand: bool) -> None:
        super().__init__()
        self.scale, self.by_hand = scale, by_hand
        self.norm = nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = self.q(y), self.k(y), self.v(y)
        if self.by_hand:
            logits = q @ k.transpose(1, 2)
            if self.scale is None:
                logits = logits / math.sqrt(WIDTH)
            y = logits.softmax(-1) @ v
        else:
            y = functional.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.head((x + self.o(y)).mean(dim=1))

    def logits_variance(self, x: Tensor) -> float:
        """Measured beside the pass that is read."""
        with torch.no_grad():
            logits = self.q(self.norm(x)) @ self.k(self.norm(x)).transpose(1, 2)
            return float(logits.var()) * (1 / WIDTH if self.scale is None else self.scale**2)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_attention_logits_have_unit_variance(scale: float | None, by_hand: bool) -> None:
    model, x = Attention(scale, by_hand=by_hand), torch.randn(SAMPLES, 16, WIDTH)
    plan = fl.plan(model, x)
    assert (plan["q.weight"].rule == "query") is (scale is not None)
    variances = []
    for seed in range(3):
        plan.apply(model, seed=seed)
        variances.append(model.logits_variance(x))
    # Unscaled, and not planned for, the variance would be 64.
    assert sum(variances) / 3 == pytest.approx(1, rel=0.3)


class Tokens(nn.Module):
    """Embeddings of tokens and places; the head may be tied."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, WIDTH), nn.Embedding(12, WIDTH)
        self.raw = nn.Parameter(torch.randn(1, 12, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 50, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1])) + self.raw
        return self.head(self.norm(x))


def test_positions_stay_below_tokens_and_tied_tables_make_moderate_logits() -> None:
    ids = torch.randint(50, (SAMPLES, 12))
    free = fl.plan(Tokens(tied=False), ids)
    assert std_of(free, "tokens.weight") == 1
    assert free["places.weight"].rule == free["raw"].rule == "positions"
    assert std_of(free, "places.weight") ** 2 == pytest.approx(1 / 2)
    assert std_of(free, "raw") ** 2 == pytest.approx(1 / 2)
    model = Tokens(tied=True)
    tied = fl.plan(model, ids)
    name = next(e.name for e in tied if e.rule == "embedding")
    assert std_of(tied, name) == pytest.approx(0.4 / 8)
    assert std_of(tied, "places.weight") ** 2 == pytest.approx(0.16 / 64 / 2)
    tied.apply(model, seed=0)
    assert float(model(ids).detach().std()) == pytest.approx(
        0.5, rel=0.4
    )  # a token finds itself again


def test_predictions_of_a_regression_start_small() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 16))
    x, y = torch.randn(256, WIDTH), torch.randn(256, 16)
    plan = fl.plan(model, x, target=y)
    assert plan["2.weight"].target == pytest.approx(0.01 * float(y.square().mean()), rel=1e-3)
    plan.apply(model, seed=0)
    loss = float(functional.mse_loss(model(x).detach(), y))
    assert loss == pytest.approx(float(y.square().mean()), rel=0.05)


def test_a_router_has_not_made_up_its_mind() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(WIDTH, 4)
            self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            shares = self.gate(x).softmax(dim=-1)
            outs = torch.stack([torch.relu(e(x)) for e in self.experts], dim=-1)
            return self.head((outs * shares[:, None]).sum(dim=-1))

    plan = fl.plan(Experts(), torch.randn(SAMPLES, WIDTH))
    assert plan["gate.weight"].rule == "router" and plan["gate.weight"].target == pytest.approx(
        0.09
    )


def test_a_flow_starts_near_the_identity() -> None:
    class Coupling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(WIDTH // 2, WIDTH)
            self.scale, self.shift = (nn.Linear(WIDTH, WIDTH // 2) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            a, b = x.chunk(2, dim=-1)
            hidden = torch.relu(self.body(a))
            b = b * torch.tanh(self.scale(hidden)).exp() + self.shift(hidden)
            return torch.cat([b, a], dim=-1)

    model, x = nn.Sequential(*(Coupling() for _ in range(12))), torch.randn(256, WIDTH)
    plan = fl.plan(model, x)
    assert plan["0.scale.weight"].rule == "log scale"
    assert plan["0.scale.weight"].target == pytest.approx(0.01)
    plan.apply(model, seed=0)
    with torch.no_grad():
        # Log scales of std 1 would multiply the second moment by e² in each of twelve couplings.
        assert float(model(x).square().mean()) < 30
