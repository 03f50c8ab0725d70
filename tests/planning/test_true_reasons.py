"""What ends a chain, what multiplies noise, and what is left alone: starts that must stay true."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import firstlight as fl


def chain(depth: int, *between: nn.Module, width: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), *between]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def images(channels: int) -> torch.Tensor:
    return torch.randn(64, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def vectors(width: int = 64) -> torch.Tensor:
    return torch.randn(128, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU])
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_convolutions_are_healthy_after_initialize(activation, channels):
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, padding=1), activation()]
    for _ in range(11):
        layers += [nn.Conv2d(16, 16, 3, padding=1), activation()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    assert not fl.initialize(model, images(channels), seed=0).after.findings


def test_dropout_divides_the_gain():
    """Inverted dropout makes E φ² larger by 1/(1 − p); twenty layers of it must stay in range."""
    model = chain(20, nn.ReLU(), nn.Dropout(0.5))
    plan = fl.plan(model, vectors())
    assert plan["3.weight"].law.std == pytest.approx((2 * 0.5 / 64) ** 0.5, rel=0.03)
    assert "dropout (50%)" in plan["3.weight"].reason
    assert fl.initialize(model, vectors(), seed=0).after.healthy


def test_dropout_of_nothing_is_no_noise():
    plan = fl.plan(chain(20, nn.ReLU(), nn.Dropout(0.0)), vectors())
    assert plan["3.weight"].rule == "mirrored chain"


def test_groups_end_a_chain():
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(4, 8, 3, padding=1)]
    for _ in range(9):
        layers += [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
    receipt = fl.initialize(model, images(4), seed=0)
    assert all(entry.rule != "mirrored chain" for entry in receipt.plan)
    assert receipt.after.healthy


def test_a_kept_weight_leaves_its_chain_to_the_other_rules():
    model = chain(20, nn.ReLU())
    plan = fl.plan(model, vectors(), keep=["4.weight"])
    assert all(entry.rule != "mirrored chain" for entry in plan)
    model[6].weight.requires_grad_(False)
    assert all(entry.rule != "mirrored chain" for entry in fl.plan(model, vectors()))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.ReLU6(), "relu6"),
        (nn.Hardtanh(), "hardtanh"),
        (nn.LogSigmoid(), "logsigmoid"),
        (nn.Softplus(beta=5), "softplus(5)"),
        (nn.Softplus(), "softplus"),
    ],
)
def test_activations_are_read_with_their_bounds(module, name):
    model = chain(2, module)
    network = fl.check(model, vectors()).network
    found = [str(op.activation) for op in network.operations if op.kind == "activation"]
    assert found == [name, name]


def test_other_bounds_are_not_taken_for_a_known_activation():
    network = fl.check(chain(2, nn.Hardtanh(-3, 2)), vectors()).network
    found = {str(op.activation) for op in network.operations if op.kind == "activation"}
    assert found == {"custom:hardtanh(-3, 2)"}


@pytest.mark.parametrize("module", [nn.ReLU6(), nn.LogSigmoid(), nn.Softplus(beta=5)])
def test_twenty_layers_of_them_are_healthy_after_initialize(module):
    assert fl.initialize(chain(20, module), vectors(), seed=0).after.healthy


@pytest.mark.parametrize("module", [nn.Tanhshrink(), nn.Softshrink()])
def test_activations_that_pass_nothing_at_first_order_are_planned_without_a_chain(module):
    plan = fl.plan(chain(20, module), vectors())
    assert {entry.rule for entry in plan} == {"variance scaling", "head", "bias"}


def test_prelu_keeps_its_slope():
    model = chain(3, nn.PReLU())
    receipt = fl.initialize(model, vectors(), seed=0)
    assert receipt.plan["1.weight"].rule == "own constant"
    assert model[1].weight.item() == 0.25
    assert receipt.after.healthy
