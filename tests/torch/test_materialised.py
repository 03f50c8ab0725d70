"""A model on the meta device gets memory: ties, buffers, flags and loaded values as they were."""

from __future__ import annotations

import pytest
import tiny_transformers
import torch
from torch import nn

import firstlight as fl
from firstlight.torch import materialise


@pytest.mark.parametrize("name", ["OPT", "BERT", "Llama", "Gemma", "T5", "ViT"])
def test_materialised_and_drawn_is_the_real_model(name: str) -> None:
    real = tiny_transformers.build(name)
    with torch.device("meta"):
        meta = tiny_transformers.build(name)
    plan = fl.plan(meta)
    assert materialise(meta) == ()
    fl.apply(meta, plan, seed=4)
    fl.apply(real, plan, seed=4)
    names = [n for n, _ in real.named_parameters()]  # each tie once, on both sides
    assert [n for n, _ in meta.named_parameters()] == names
    wanted = real.state_dict() | dict(real.named_buffers())
    found = meta.state_dict() | dict(meta.named_buffers())
    assert found.keys() == wanted.keys()
    for key, tensor in found.items():
        assert torch.equal(tensor, wanted[key]), key


def test_what_has_values_stays() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, device="meta"))
    model[1].bias.requires_grad_(False)
    model[1].weight.marked = True  # type: ignore[assignment]
    first = model[0].weight
    assert materialise(model) == ()
    assert model[0].weight is first
    assert not model[1].bias.requires_grad and not model[1].bias.is_meta
    assert model[1].weight.marked


def test_a_buffer_that_nothing_rebuilds_is_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.register_buffer("drawn", torch.rand(3) + self.fc.weight.sum())

    with torch.device("meta"):
        model = nn.Sequential(Odd())
    assert materialise(model) == ("0.drawn",)
