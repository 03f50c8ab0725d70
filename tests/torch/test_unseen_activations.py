"""Activations that no table names: found in the trace, computed with, planned like any other."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.network.graph import Graph
from firstlight.records.law import Constant
from firstlight.records.network import ActivationRef, Network
from firstlight.theory.activations import activation
from firstlight.theory.gains import moments
from firstlight.theory.odd_part import odd_part

WIDTH = 32


class Snake(nn.Module):
    """x + sin²(αx)/α, with α learned or 1."""

    def __init__(self, alpha: float | None = None) -> None:
        super().__init__()
        self.alpha = None if alpha is None else nn.Parameter(torch.tensor(alpha))

    def forward(self, x: Tensor) -> Tensor:
        if self.alpha is None:
            return x + torch.sin(x) ** 2
        return x + torch.sin(self.alpha * x) ** 2 / self.alpha


class Between(nn.Module):
    """A function of the user's between two weights."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.function(self.up(x)))


def batch() -> Tensor:
    return torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(1))


def seen(model: nn.Module) -> Network:
    return fl.check(model, batch()).network


def names(function: Callable[[Tensor], Tensor]) -> list[str]:
    """The activations of a model, those that are parts of others left out."""
    operations = seen(Between(function)).operations
    return [str(op.activation) for op in operations if op.activation and op.part_of is None]


def gelu_by_hand(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tanh_by_hand(x: Tensor) -> Tensor:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
    return 0.5 * x * (1.0 + torch.tanh(inner))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (gelu_by_hand, "gelu"),
        (gelu_tanh_by_hand, "gelu_tanh"),
        (lambda x: x * torch.sigmoid(1.702 * x), "quick_gelu"),
        (lambda x: functional.relu(x) ** 2, "relu_squared"),
        (lambda x: torch.where(x > 0, x, 0.1 * x), "leaky_relu(0.1)"),
        (lambda x: torch.maximum(x, 0.2 * x), "leaky_relu(0.2)"),
        (lambda x: x * (x > 0).float(), "relu"),
        (lambda x: x * functional.relu6(x + 3) / 6, "hardswish"),
        (lambda x: x / (1 + x.abs()), "softsign"),
        (lambda x: torch.sin(30 * x), "sin(30)"),
        (lambda x: x.mul(2).sin_(), "sin(2)"),
    ],
)
def test_a_known_function_spelled_out_bears_its_name(function, name):
    assert names(function) == [name]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Snake(), "custom:Snake"),
        (Snake(0.5), "custom:Snake(0.5)"),
        (lambda x: torch.sin(x) ** 2 + x, "custom:sin·pow·add"),
        (lambda x: x * torch.sigmoid(1.7 * x), "custom:mul·sigmoid·mul"),
        (nn.Hardtanh(-2, 2), "custom:hardtanh(-2, 2)"),
        (nn.Threshold(0.1, 0.5), "custom:threshold(0.1, 0.5)"),
        (lambda x: x.clamp(-1, 2), "custom:clamp(-1, 2)"),
        (torch.cos, "custom:cos"),
        (lambda x: functional.relu(x) * 1.5, "custom:relu·mul"),
    ],
)
def test_an_unknown_function_is_named_after_what_it_does(function, name):
    assert names(function) == [name]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.PReLU(init=0.3), "prelu(0.3)"),
        (nn.PReLU(WIDTH, init=0.1), "prelu(0.1)"),
        (nn.CELU(0.7), "celu(0.7)"),
        (nn.Softshrink(0.3), "softshrink(0.3)"),
    ],
)
def test_tabled_activations_have_their_present_parameter(module, name):
    assert names(module) == [name]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2 * x - 1,  # a straight line
        lambda x: x.clamp(-100, 100),  # a straight line where signals are
        torch.log,  # not finite
        torch.exp,  # a scale that no law of second moments holds
        torch.sign,  # passes no gradient
        lambda x: functional.rrelu(x, training=True) * 0 + x,  # random
        lambda x: x * torch.arange(WIDTH) / 7,  # not one number for all
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),  # a norm
        lambda x: x - x.max(),
    ],
)
def test_what_is_no_activation_stays_as_it_is(function):
    operations = seen(Between(function)).operations
    assert all(op.activation is None or op.activation.name == "rrelu" for op in operations)
    assert all(op.part_of is None and not op.operands for op in operations)


def test_noise_ends_an_activation():
    assert names(lambda x: functional.dropout(torch.sin(x), 0.3) * 0.5) == ["sin"]


def test_a_scaled_gate_stays_a_sigmoid():
    assert names(lambda x: -8 * torch.sigmoid(x)) == ["sigmoid"]


def test_theory_computes_with_what_was_read():
    operations = seen(Between(Snake())).operations
    (ref,) = (op.activation for op in operations if op.activation and op.part_of is None)
    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(activation(ref).function(x), x + np.sin(x) ** 2, rtol=1e-14)
    got = moments(ref)
    # E sin² = (1 − e⁻²)/2, E sin⁴ = (3 − 4e⁻² + e⁻⁸)/8; φ′ = 1 + sin 2x.
    sin4 = (3 - 4 * math.exp(-2) + math.exp(-8)) / 8
    assert got.mean == pytest.approx((1 - math.exp(-2)) / 2, rel=1e-9)
    assert got.second_moment == pytest.approx(1 + sin4, rel=1e-9)
    assert got.derivative_second_moment == pytest.approx(1 + (1 - math.exp(-8)) / 2, rel=1e-9)
    assert odd_part(ref).linear and odd_part(ref).slope == pytest.approx(2, rel=1e-9)


def test_two_functions_of_one_class_stay_apart():
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return torch.cos(self.factor * x)

    squares = []
    for factor in (1.0, 2.0):
        (found,) = (o.activation for o in seen(Between(Scaled(factor))).operations if o.activation)
        assert found.name == "custom:Scaled"
        squares.append(moments(found).second_moment)
    assert squares == pytest.approx([(1 + math.exp(-2)) / 2, (1 + math.exp(-8)) / 2], rel=1e-9)


def test_a_gate_of_two_signals_is_no_activation():
    class SwiGLU(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.out = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            return self.out(a * torch.sigmoid(a) * self.b(x))

    operations = seen(SwiGLU()).operations
    assert [str(op.activation) for op in operations if op.activation and op.part_of is None] == [
        "silu"
    ]
    product = operations[-2]
    assert product.kind == "multiply" and len(product.inputs) == 2


def test_residual_additions_stay():
    class Residual(nn.Module):
        def __init__(self, activation: nn.Module) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
            self.activation, self.head = activation, nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.activation(self.layers[0](x))
            for layer in self.layers[1:]:
                x = x + self.activation(layer(x))
            return self.head(x)

    plain, custom = (Graph(seen(Residual(module))) for module in (nn.ReLU(), Snake()))
    assert len(plain.branches) == len(custom.branches) == 3
    assert [len(stream) for stream in custom.streams] == [3]


def chain(module: Callable[[], nn.Module], depth: int = 30) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(WIDTH, WIDTH), module()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 3))


def through(model: nn.Sequential) -> tuple[float, float]:
    """Second moment of the last pre-activations over the first, ‖δ‖² of the first over the last.

    By torch alone.
    """
    linear = [module for module in model if isinstance(module, nn.Linear)][:-1]
    results: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, result: Tensor) -> None:
        result.retain_grad()
        results.append(result)

    hooks = [module.register_forward_hook(keep) for module in linear]
    out = model(batch())
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for hook in hooks:
        hook.remove()
    forward = [float(r.detach().pow(2).mean()) for r in results]
    back = [float(r.grad.pow(2).sum()) for r in results if r.grad is not None]
    return forward[-1] / forward[0], back[0] / back[-1]


def odd_module() -> nn.Module:
    class Wave(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(2 * x) + 0.2 * x

    return Wave()


def clipped_module() -> nn.Module:
    return nn.Hardtanh(-1, 2)


@pytest.mark.parametrize(
    ("module", "rule", "forward", "backward"),
    [
        # φ(x) − φ(−x) = 2x exactly; ‖δ‖² is E φ′² over 64 · 16 pairs: 4 % of sampling noise. A gain
        # that is wrong by 1 % would give 1.8.
        (Snake, "mirrored chain", 1.001, 1.25),
        (lambda: Snake(0.5), "mirrored chain", 1.001, 1.25),
        # Bending: ‖δ‖² may grow by 3, and at width 32 a random isometry adds some of its own.
        (odd_module, "critical chain", 6.0, 6.0),
        (clipped_module, "mirrored chain", 6.0, 6.0),
    ],
)
def test_thirty_layers_keep_signal_and_gradient(module, rule, forward, backward):
    model = chain(module)
    receipt = fl.initialize(model, batch(), seed=0)
    assert receipt.after.healthy
    weights = [e for e in receipt.plan if e.name.endswith("weight")]
    assert {entry.rule for entry in weights} == {rule}
    signal, gradient = through(model)
    assert 1 / forward < signal < forward
    assert 1 / backward < gradient < backward


def test_a_gelu_by_hand_is_planned_as_torch_s_own():
    class Gelu(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return gelu_by_hand(x)

    by_hand, own = (fl.plan(chain(module, 12), batch()) for module in (Gelu, nn.GELU))
    assert [(e.law, e.rule, e.reason) for e in by_hand] == [(e.law, e.rule, e.reason) for e in own]
    short, own = (fl.plan(Between(module()), batch()) for module in (Gelu, nn.GELU))
    assert [(e.law, e.rule, e.reason) for e in short] == [(e.law, e.rule, e.reason) for e in own]


def test_a_learned_scalar_keeps_its_own_constant():
    plan = fl.plan(Between(Snake(0.5)), batch())
    entry = plan["function.alpha"]
    assert (entry.rule, entry.law) == ("own constant", Constant(value=0.5))


def test_flat_ends_are_a_fault_only_where_nothing_else_passes():
    """tanh(x)·1.7 is flat where tanh is; x·σ(1.7x) is not flat where σ is."""
    findings = {}
    for name, function in (
        ("scaled", lambda x: torch.tanh(x) * 1.7),
        ("gated", lambda x: x * torch.sigmoid(1.7 * x)),
    ):
        model = Between(function)
        with torch.no_grad():
            model.up.weight.mul_(200)
        findings[name] = {f.kind for f in fl.check(model, batch()).findings}
    assert "saturated-units" in findings["scaled"]
    assert "saturated-units" not in findings["gated"]


def test_a_soft_cap_on_the_logits_is_meant():
    class Capped(Between):
        def forward(self, x: Tensor) -> Tensor:
            return 30 * torch.tanh(super().forward(x) / 30)

    target = torch.arange(64) % 3
    checkup = fl.check(Capped(functional.relu), batch(), loss="cross_entropy", target=target)
    assert all(finding.kind != "head-mismatch" for finding in checkup.findings)


def test_records_of_another_process_are_read_and_judged(tmp_path):
    model = chain(Snake, 4)
    with torch.no_grad():
        model[2].weight.mul_(1e-3)
    fl.check(model, batch()).save(tmp_path / "checkup.json")
    fl.plan(model, batch()).save(tmp_path / "plan.json")
    code = """
import sys, firstlight as fl
from firstlight.verdicts.findings import judge
folder = sys.argv[1]
checkup, plan = fl.load(folder + "/checkup.json"), fl.load(folder + "/plan.json")
print(checkup), print(plan)
checkup.save(folder + "/checkup.html")
assert judge(checkup.observation)
assert any(str(op.activation) == "custom:Snake" for op in checkup.network.operations)
assert "torch" not in sys.modules
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "custom:Snake" in ran.stdout


def test_an_unknown_reference_is_refused_in_one_line():
    with pytest.raises(BadInputError, match="read from a model of another process"):
        moments(ActivationRef(name="custom:Nobody"))
