"""Fused and separate matrices, stacked and single experts: equal numbers under other addresses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.laws.draw import draw
from firstlight.records.network import Fans, Layout

WIDTH = 24
BATCH = torch.randn(8, 5, WIDTH, generator=torch.Generator().manual_seed(0))


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)[0]


class Apart(nn.Module):
    """The same attention with a matrix for each of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("q", "k", "v", "out"):
            setattr(self, name, nn.Linear(WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [
            layer(x).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        ]
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return self.out(mixed.transpose(1, 2).flatten(-2))


FUSED = {
    **{f"{n}.weight": f"attention.in_proj_weight[qkv={i}]" for i, n in enumerate("qkv")},
    "out.weight": "attention.out_proj.weight",
}


@pytest.mark.parametrize("technique", ["lecun_normal", "glorot_uniform", "orthogonal"])
def test_apart_as_fused(technique):
    fused, apart = Fused(), Apart()
    fl.apply(fused, fl.plan(fused, BATCH, technique=technique), seed=3)
    plan = fl.plan(apart, BATCH, technique=technique)
    fl.apply(apart, plan, seed=3)
    packed = fused.attention.in_proj_weight.detach()
    assert not torch.equal(apart.q.weight, packed[:WIDTH])  # under its own name
    fl.apply(apart, plan.addressed(FUSED), seed=3)
    for i, name in enumerate("qkv"):
        rows = packed[i * WIDTH : (i + 1) * WIDTH]
        assert torch.equal(getattr(apart, name).weight, rows)
    assert torch.equal(apart.out.weight, fused.attention.out_proj.weight)


def test_addresses_stay_with_a_plan(tmp_path):
    plan = fl.plan(Apart(), BATCH, technique="lecun_normal").addressed(FUSED)
    plan.save(tmp_path / "plan.json")
    assert fl.load(tmp_path / "plan.json") == plan
    assert plan["k.weight"].address == "attention.in_proj_weight[qkv=1]"
    with pytest.raises(BadInputError, match=r"key\.weight"):
        plan.addressed({"key.weight": "w"})


@pytest.mark.parametrize("role", ["expert", "gate", "head", "group"])
@pytest.mark.parametrize("technique", ["he_normal", "orthogonal"])
def test_one_of_a_stack(role, technique):
    stacked = Layout(shape=(5, 8, 6), view=(5, 8, 6), roles=(role, "out", "in"))
    single = Layout(shape=(8, 6), view=(8, 6), roles=("out", "in"))
    law = fl.technique(technique).law_for(single, Fans(forward=6.0, backward=8.0))
    whole = draw(law, stacked, name="experts.up", seed=1)
    for i in range(5):
        alone = draw(law, single, name=f"experts.up[{role}={i}]", seed=1)
        assert np.array_equal(whole[i], alone)
