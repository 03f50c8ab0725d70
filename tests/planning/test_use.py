"""What a raw parameter is, read from its use; parametrised weights; recurrences; gates."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import firstlight as fl
from firstlight.records.law import Constant, Identity, Normal, Orthogonal

SAMPLES, WIDTH = 256, 64


class Raw(nn.Module):
    """One bare parameter and the product in which it stands."""

    def __init__(self, shape: tuple[int, ...], product: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape) * 7)
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.weight)


PRODUCTS = {
    "x @ w": ((WIDTH, 48), lambda x, w: x @ w),
    "x @ w.T": ((48, WIDTH), lambda x, w: x @ w.T),
    "linear": ((48, WIDTH), functional.linear),
    "w @ x.T": ((48, WIDTH), lambda x, w: (w @ x.T).T),
    "einsum heads": ((WIDTH, 4, 12), lambda x, w: torch.einsum("bd,dhe->bhe", x, w)),
    "einsum out": (
        (4, WIDTH // 4, 48),
        lambda x, w: torch.einsum("bhe,hed->bd", x.view(-1, 4, 16), w),
    ),
    "stacked": ((3, WIDTH, 48), lambda x, w: torch.bmm(x.expand(3, -1, -1), w)),
    "one of a stack": ((3, WIDTH, 48), lambda x, w: x @ w[1]),
    "flattened": ((48, 8, WIDTH // 8), lambda x, w: functional.linear(x, w.flatten(1))),
    "kernel": ((48, WIDTH, 3), lambda x, w: functional.conv1d(x[:, :, None].expand(-1, -1, 9), w)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_raw_weight_is_scaled_by_the_terms_of_its_sums(name: str) -> None:
    shape, product = PRODUCTS[name]
    x = torch.randn(SAMPLES, WIDTH)
    model = nn.Sequential(Raw(shape, product), nn.Flatten(), nn.Tanh(), nn.LazyLinear(3))
    model(x)
    plan = fl.plan(model, x)
    entry = plan["0.weight"]
    terms = WIDTH * (3 if name == "kernel" else 1)
    assert isinstance(entry.law, Normal)
    measured = float(x.square().mean())
    assert entry.law.std == pytest.approx(1 / math.sqrt(terms * measured), rel=1e-6)
    plan.apply(model, seed=0)
    with torch.no_grad():
        second_moment = float(model[0](x).square().mean())
    # 48 or more outputs of one draw; a wrong axis would be off by 64/48 or by a factor of 3 or 4.
    assert second_moment == pytest.approx(1, abs=4 * math.sqrt(2 / 48) / math.sqrt(3))


def test_the_names_of_lora_mean_nothing_but_its_zero_does() -> None:
    class LoRA(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
            self.a = nn.Parameter(torch.randn(4, WIDTH))
            self.b = nn.Parameter(torch.zeros(WIDTH, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + x @ self.a.T @ self.b.T

    model = nn.Sequential(LoRA(), nn.ReLU(), nn.Linear(WIDTH, 3))
    plan = fl.plan(model, torch.randn(SAMPLES, WIDTH))
    assert plan["0.b"].rule == "zero branch" and plan["0.b"].law == Constant(value=0)
    assert plan["0.base.weight"].rule == "frozen"
    assert isinstance(plan["0.a"].law, Normal)
    assert plan["0.a"].law.std == pytest.approx(1 / 8, rel=0.05)


def _old(norm: Any) -> Any:
    def wrapped(layer: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its old norms
            return norm(layer)

    return wrapped


WEIGHT_NORMS = {
    "new": parametrizations.weight_norm,
    "old": _old(nn.utils.weight_norm),
    "whole": lambda layer: parametrizations.weight_norm(layer, dim=None),
}


@pytest.mark.parametrize("name", WEIGHT_NORMS)
def test_a_weight_norm_gets_the_length_of_its_rows(name: str) -> None:
    layers = [nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    for index in (0, 2):
        layers[index] = WEIGHT_NORMS[name](layers[index])
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 3))
    x = torch.randn(SAMPLES, WIDTH)
    fl.plan(model, x).apply(model, seed=0)
    with torch.no_grad():
        for depth in (1, 3):
            second_moment = float(model[:depth](x).square().mean())
            assert second_moment == pytest.approx(1, abs=4 * math.sqrt(2 / WIDTH)), depth


def test_a_spectral_norm_gets_equal_singular_values() -> None:
    norm = parametrizations.spectral_norm
    model = nn.Sequential(norm(nn.Linear(WIDTH, WIDTH)), nn.ReLU(), nn.Linear(WIDTH, 3))
    plan = fl.plan(model, torch.randn(SAMPLES, WIDTH))
    assert plan["0.parametrizations.weight.original"].law == Orthogonal()


class Unrolled(nn.Module):
    """A recurrence written out."""

    def __init__(self, activation: Any, gates: int = 1) -> None:
        super().__init__()
        self.activation, self.gates = activation, gates
        self.input = nn.Linear(8, gates * WIDTH)
        self.recurrent = nn.Linear(WIDTH, gates * WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = memory = x.new_zeros(len(x), WIDTH)
        for t in range(x.shape[1]):
            total = self.input(x[:, t]) + self.recurrent(state)
            if self.gates == 1:
                state = self.activation(total)
            else:
                i, f, g, o = total.chunk(4, dim=1)
                memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
                state = o.sigmoid() * memory.tanh()
        return self.head(state)


def test_unrolled_recurrences_keep_their_state() -> None:
    x = torch.randn(SAMPLES, 20, 8)
    tanh = fl.plan(Unrolled(torch.tanh), x)
    assert tanh["recurrent.weight"].law == Orthogonal()
    relu = fl.plan(Unrolled(torch.relu), x)
    assert relu["recurrent.weight"].law == Identity()
    assert relu["input.weight"].target == pytest.approx(1 / 20)
    lstm = Unrolled(None, gates=4)
    plan = fl.plan(lstm, x)
    assert plan["recurrent.weight"].layout.stacks == (("gate", 4),)
    plan.apply(lstm, seed=0)
    for block in lstm.recurrent.weight.detach().chunk(4):
        assert torch.allclose(block @ block.T, torch.eye(WIDTH), atol=1e-5)


def test_a_weight_that_all_layers_share_is_no_recurrence() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(6):
                x = x + self.down(torch.relu(self.up(x)))
            return self.head(x)

    plan = fl.plan(Shared(), torch.randn(SAMPLES, WIDTH))
    assert {plan[f"{name}.weight"].rule for name in ("up", "down")} == {
        "variance scaling",
        "residual branch",
    }


def test_biases_that_open_gates_stay_and_others_do_not() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate = nn.Linear(8, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.transform, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
            nn.init.constant_(self.gate.bias, -2.0)
            nn.init.constant_(self.transform.bias, -2.0)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            opened = torch.sigmoid(self.gate(x))
            return self.head(opened * torch.relu(self.transform(x)) + (1 - opened) * x)

    model = Gated()
    plan = fl.plan(model, torch.randn(SAMPLES, 8))
    assert plan["gate.bias"].action == "keep" and plan["gate.bias"].rule == "own constant"
    assert plan["transform.bias"].law == Constant(value=0)
    nn.init.constant_(model.gate.bias, -50.0)  # nobody means that
    assert fl.plan(model, torch.randn(SAMPLES, 8))["gate.bias"].law == Constant(value=0)
