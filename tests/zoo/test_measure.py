"""The independent measure of starts: torch alone, against values written out by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from zoo.measure import measure

SAMPLES = 16


def _square(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().sum() / 2


def _x(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _second(value: Tensor) -> float:
    return float(value.detach().double().square().mean())


def test_an_mlp_by_hand() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), _x(SAMPLES, 5)
    seen = measure(model, x, _square)
    first, last = (layer.weight.detach() for layer in (model[0], model[2]))
    z = x @ first.T + model[0].bias.detach()
    out = z.clamp(min=0) @ last.T + model[2].bias.detach()
    delta = (out @ last) * (z > 0)
    assert seen.loss == pytest.approx(float(out.square().sum() / 2), rel=1e-5)
    assert seen.moments == pytest.approx({"0.weight": _second(z), "2.weight": _second(out)}, 1e-5)
    assert not seen.at_additions
    rms = sorted(math.sqrt(_second(d)) for d in (delta, out))
    assert seen.delta_range == pytest.approx(rms[1] / rms[0], rel=1e-5)
    norms = sorted(float(d.norm()) for d in (delta, out))
    assert seen.delta_norm_range == pytest.approx(norms[1] / norms[0], rel=1e-5)


class Skips(nn.Module):
    """x + W₂ tanh(W₁ x), twice, the second branch's end times a scalar; a head."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down[0](torch.tanh(self.up[0](x)))
        x = x + self.scale * self.down[1](torch.tanh(self.up[1](x)))
        return self.head(x)


def test_a_residual_network_by_hand() -> None:
    torch.manual_seed(0)
    model, x = Skips(), _x(SAMPLES, 4)
    seen = measure(model, x, _square)
    assert seen.at_additions and [len(stage) for stage in seen.deltas] == [2]
    up, down, head = model.up[1].weight, model.down[1].weight, model.head.weight
    stream = (x + model.down[0](torch.tanh(model.up[0](x)))).detach()
    hidden = torch.tanh(stream @ up.T)
    end = stream + 3 * hidden @ down.T
    late = end @ head.T @ head
    early = late + 3 * (late @ down) * (1 - hidden.square()) @ up
    rms = sorted(math.sqrt(_second(d)) for d in (early, late))
    assert seen.delta_range == pytest.approx(rms[1] / rms[0], rel=1e-5)
    assert seen.moments["down.1.weight"] == pytest.approx(_second(hidden @ down.T), rel=1e-5)


def test_a_zero_head_is_measured_from_its_input() -> None:
    model = Skips()
    nn.init.zeros_(model.head.weight)
    seen = measure(model, _x(SAMPLES, 4), _square)
    assert seen.zeros == {"head.weight"} and "head.weight" not in seen.moments
    assert 1 <= seen.delta_range < 100  # without another start all δ are zero


def _gated(x: Tensor, gate: Tensor, other: Tensor) -> Tensor:
    return gate * other + (1 - gate) * x


@pytest.mark.parametrize(
    ("join", "residual"),
    [
        (lambda x, a, b: x + b(torch.tanh(a(x))), True),
        (lambda x, a, b: b(torch.tanh(a(x))) + x, True),
        (lambda x, a, b: torch.tanh(x + b(a(x))), True),
        (lambda x, a, b: a(x) + b(torch.tanh(a(x))), True),  # a projection around two layers
        (lambda x, a, b: a(x) + b(x), False),  # two branches of one depth
        (lambda x, a, b: functional.gelu(a(x)) + 0.1 * b(x) ** 3, False),
        (lambda x, a, b: x + functional.layer_norm(x, (4,)), True),
        (lambda x, a, b: x + 0.1 * x**3, False),  # an activation written out
        (lambda x, a, b: _gated(x, torch.sigmoid(a(x)), b(x)), False),
    ],
)
def test_what_a_residual_addition_is(join, residual) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.a, self.b, self.c, self.d = (nn.Linear(4, 4) for _ in range(5))

        def forward(self, x: Tensor) -> Tensor:
            return join(join(self.first(x), self.a, self.b), self.c, self.d)

    assert measure(Joined(), _x(SAMPLES, 4), _square).at_additions is residual


def test_a_projection_is_a_skip_and_begins_a_stage() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.skip, self.a, self.b = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = x + torch.relu(self.a(x))[:, :4]
            x = self.skip(x) + self.b(torch.relu(self.a(x)))
            return x + self.b(torch.relu(x))

    seen = measure(Projected(), _x(SAMPLES, 4), _square)
    assert [len(stage) for stage in seen.deltas] == [1, 2]


def test_attention_in_one_kernel_is_opened() -> None:
    torch.manual_seed(0)
    model, x = nn.MultiheadAttention(8, 2, batch_first=True), _x(SAMPLES, 5, 8)
    seen = measure(model, x, lambda m, x: m(x, x, x, need_weights=False)[0].square().mean())
    packed = functional.linear(x, model.in_proj_weight, model.in_proj_bias)
    out = model(x, x, x, need_weights=False)[0]
    wanted = {"in_proj_weight": _second(packed), "out_proj.weight": _second(out)}
    assert seen.moments == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_kernels_are_opened(kind) -> None:
    torch.manual_seed(0)
    model, x = kind(3, 6, num_layers=2, batch_first=True, bidirectional=True), _x(SAMPLES, 7, 3)
    seen = measure(model, x, lambda m, x: m(x)[0].square().mean())
    states = model(x)[0].detach()
    assert len(seen.moments) == 8
    on = functional.linear(states[:, :-1, :6], model.weight_hh_l1, model.bias_hh_l1)
    back = functional.linear(states[:, 1:, 6:], model.weight_hh_l1_reverse)
    back = back + model.bias_hh_l1_reverse
    assert seen.moments["weight_hh_l1"] == pytest.approx(_second(on), rel=1e-5)
    assert seen.moments["weight_hh_l1_reverse"] == pytest.approx(_second(back), rel=1e-5)
    into = functional.linear(x, model.weight_ih_l0, model.bias_ih_l0)
    assert seen.moments["weight_ih_l0"] == pytest.approx(_second(into), rel=1e-5)


def test_uses_of_one_weight_are_pooled_and_empty_states_left_out() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.on = nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            state = torch.zeros_like(x)
            for _ in range(3):
                state = torch.tanh(x + self.on(state))
            return state

    torch.manual_seed(0)
    model, x = Loop(), _x(SAMPLES, 4)
    first = torch.tanh(x)
    products = [first @ model.on.weight.T]
    products.append(torch.tanh(x + products[0]) @ model.on.weight.T)
    mean = sum(map(_second, products)) / 2
    assert measure(model, x, _square).moments["on.weight"] == pytest.approx(mean, rel=1e-5)


def test_a_parametrized_weight_is_a_weight_and_a_lookup_is_none() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 4)
            self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))

        def forward(self, ids: Tensor) -> Tensor:
            return self.layer(self.table(ids))

    model, ids = Tokens(), torch.arange(9)
    seen = measure(model, ids, _square)
    assert list(seen.moments) == ["layer.parametrizations.weight.original1"]
    assert next(iter(seen.moments.values())) == pytest.approx(_second(model(ids)), rel=1e-5)


def test_learned_positions_are_fed_and_merged_weights_are_weights() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.layer = nn.Parameter(torch.randn(5, 4)), nn.Linear(4, 4)
            self.a, self.b = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 9))

        def forward(self, x: Tensor) -> Tensor:
            return (x + self.layer(self.places)) @ (self.a @ self.b)

    model, x = Positions(), _x(SAMPLES, 5, 4)
    seen = measure(model, x, _square)
    wanted = {"layer.weight": _second(model.layer(model.places)), "b": _second(model(x))}
    assert seen.moments == pytest.approx(wanted, rel=1e-5)


def test_the_larger_of_two_parameters_is_the_weight() -> None:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias, self.blocks = nn.Parameter(torch.randn(3, 1, 4)), nn.Parameter(_x(3, 5, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.baddbmm(self.bias, x, self.blocks)

    model, x = Stacked(), _x(3, SAMPLES, 5)
    assert measure(model, x, _square).moments == {
        "blocks": pytest.approx(_second(model(x)), rel=1e-5)
    }


def test_queries_keys_and_gates_are_left_out_where_there_are_no_skips() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.squeeze, self.gate = (nn.Linear(4, 4) for _ in range(5))

        def forward(self, x: Tensor) -> Tensor:
            weights = (self.q(x) @ self.k(x).T).softmax(dim=-1)
            gate = torch.sigmoid(self.gate(torch.relu(self.squeeze(x))))
            return gate * (weights @ self.v(x))

    seen = measure(Gated(), _x(SAMPLES, 4), _square)
    assert len(seen.moments) == 5 and [len(stage) for stage in seen.deltas] == [1]
    sigmoids = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 4))  # no gate
    assert [len(s) for s in measure(sigmoids, _x(SAMPLES, 4), _square).deltas] == [2]


def test_the_judge_imports_nothing_of_what_it_judges() -> None:
    for name in ("measure", "streams", "kernels"):
        assert "firstlight" not in Path(sys.modules[f"zoo.{name}"].__file__ or "").read_text()
