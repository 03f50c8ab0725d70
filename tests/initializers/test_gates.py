"""Biases of recurrent gates, through torch's own layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

import firstlight as fl
from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import technique
from firstlight.laws.draw import draw


def biases(layer: nn.Module, name: str, **options: float) -> np.ndarray:
    """The bias that a technique gives to a layer, gate by gate."""
    found = next(p for p in describe_parameters(layer) if p.name == "bias_ih_l0")
    law = technique(name, **options).law_for(found.layout, None)
    gates = dict(found.layout.stacks)["gate"]
    return draw(law, found.layout, name=found.name, seed=0).reshape(gates, -1)


def test_the_forget_gate_opens() -> None:
    assert biases(nn.LSTM(3, 8), "forget_bias")[:, 0].tolist() == [0, 1, 0, 0]
    assert biases(nn.GRU(3, 8), "forget_bias", value=2.0)[:, 7].tolist() == [0, 2, 0]


def test_an_lstm_with_open_gates_keeps_its_memory() -> None:
    layer = nn.LSTM(3, 8)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih_l0.copy_(torch.from_numpy(biases(layer, "forget_bias").reshape(-1)))
        start = torch.ones(1, 1, 8)
        _, (_, memory) = layer(torch.zeros(1, 1, 3), (start, start))
    assert np.allclose(memory.numpy(), expit(1.0), atol=1e-6)


def test_chrono_forgets_in_up_to_so_many_steps() -> None:
    bias = biases(nn.LSTM(3, 64), "chrono", steps=50.0)
    assert np.allclose(bias[0], -bias[1]) and not bias[2:].any()
    forget_in = 1 / (1 - expit(bias[1].astype(np.float64)))
    # σ(ln u) = u/(1 + u), so that 1/(1 − σ) = 1 + u with u even in (1, 49).
    assert np.allclose(np.sort(forget_in), 2 + 48 * (np.arange(64) + 0.5) / 64, rtol=1e-5)


@pytest.mark.parametrize("name", ["forget_bias", "chrono"])
def test_other_tensors_are_refused(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(fl.BadInputError, match="needs the biases of an LSTM"):
        fl.plan(model, torch.randn(8, 4), overrides={"0.bias": name})
    with pytest.raises(fl.BadInputError, match="steps: the longest dependence"):
        biases(nn.GRU(3, 8), "chrono", steps=2.0)
