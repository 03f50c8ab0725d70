"""Drawing straight into torch's memory gives what copying gives, and torch learns of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.frameworks.torch.memory import has_memory, own_memory

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def network(dtype: torch.dtype) -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    layers += [nn.Flatten(), nn.Linear(8, 5)]
    return nn.Sequential(*layers).to(dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_same_values_as_by_copying(dtype, monkeypatch):
    drawn, copied = network(dtype), network(dtype)
    plan = fl.plan(network(torch.float32))
    fl.apply(drawn, plan, seed=3)
    monkeypatch.setattr(TorchAdapter, "memory", lambda self, model: {})
    fl.apply(copied, plan, seed=3)
    for (name, a), b in zip(drawn.named_parameters(), copied.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_memory_is_the_parameters_own():
    for dtype in TYPES:
        tensor = nn.Parameter(torch.ones(4, 3, dtype=dtype))
        own_memory(tensor)[1:3] = 0
        assert tensor.sum() == 6


def test_torch_notices_the_change():
    model = network(torch.float32)
    plan = fl.plan(model)
    loss = model(torch.ones(2, 3, 3, 3)).square().sum()
    fl.apply(model, plan, seed=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_has_no_memory_of_its_own_is_copied_into():
    with torch.inference_mode():
        of_inference = torch.ones(3, 3)
    last = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)
    others = (of_inference, last, torch.ones(3, 3, device="meta"), torch.ones(3).expand(2, 3))
    assert not any(map(has_memory, (*others, torch.ones(3, dtype=torch.int32))))
    plain, strided = network(torch.float32), network(torch.float32)
    strided.to(memory_format=torch.channels_last)
    plan = fl.plan(plain)
    for model in (plain, strided):
        fl.apply(model, plan, seed=1)
    assert torch.equal(plain[0].weight, strided[0].weight)
    assert strided[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_no_large_array_is_made_beside_the_parameter(monkeypatch):
    import tracemalloc

    from firstlight.laws import compiled

    model = nn.Sequential(nn.Linear(1500, 1500))
    plan = fl.plan(model)
    monkeypatch.setattr(compiled, "_PAYS_FROM", 0)
    adapter = TorchAdapter()
    from firstlight.verbs.apply import arrays

    memory = adapter.memory(model)
    adapter.write(model, arrays(adapter, model, plan, 0, "", memory))  # compiles
    tracemalloc.start()
    adapter.write(model, arrays(adapter, model, plan, 1, "", memory))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < np.dtype(np.float32).itemsize * 1500 * 1500 / 20
