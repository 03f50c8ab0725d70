"""Constant techniques fill tensors of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import technique
from firstlight.laws.draw import draw

MODEL = nn.Sequential(
    nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.LSTM(8, 4), nn.Embedding(5, 3)
)


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [("zeros", {}, 0), ("ones", {}, 1), ("constant", {"value": -4.595}, np.float32(-4.595))],
)
def test_every_element_of_every_tensor(name: str, options: dict[str, float], value: float) -> None:
    for parameter in describe_parameters(MODEL):
        law = technique(name, **options).law_for(parameter.layout, parameter.fans)
        drawn = draw(law, parameter.layout, name=parameter.name, seed=0)
        assert drawn.shape == parameter.layout.shape
        assert (drawn == value).all()
