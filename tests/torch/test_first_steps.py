"""The first step of torch's optimizers, by the formula and by taking it."""

import copy

import pytest
import torch
from torch import nn

import firstlight as fl

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.0),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
    "rmsprop 0.9": lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.9),
    "rmsprop centred": lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-3),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_what_is_told_is_what_the_step_does(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 3))
    inputs, target = torch.randn(256, 20), torch.randint(0, 3, (256,))
    stepped = copy.deepcopy(model)
    seen = fl.check(model, inputs, target=target, optimizer=OPTIMIZERS[name](model.parameters()))
    optimizer = OPTIMIZERS[name](stepped.parameters())
    nn.functional.cross_entropy(stepped(inputs), target).backward()
    optimizer.step()
    for reading, old, new in zip(
        seen.observation.parameters, model.parameters(), stepped.parameters(), strict=True
    ):
        moved = float((new - old).detach().norm() / old.detach().norm())
        assert reading.update_ratio == pytest.approx(moved, rel=1e-3), reading.name
