"""Singular values from input to output, against torch's own Jacobian and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.frameworks.torch import jacobian as room
from firstlight.frameworks.torch.jacobian import jacobian
from firstlight.records.codec import from_json, to_json


def linear_stack(depth: int, width: int, gain: float | None = None) -> nn.Sequential:
    """Orthogonal, or normal with variance gain²/width."""
    torch.manual_seed(0)
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    for layer in layers:
        if gain is None:
            nn.init.orthogonal_(layer.weight)
        else:
            nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(width))
    return nn.Sequential(*layers)


class Plain(nn.Module):
    """A small network with a bend, more inputs than outputs."""

    def __init__(self, inputs: int = 6, outputs: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, 9), nn.Tanh(), nn.Linear(9, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Normed(Plain):
    """Samples of a batch that depend on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.norm(x))


class Attending(nn.Module):
    """Attention without needed weights: a fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.unflatten(1, (3, 4))).flatten(1)


def reference(model: nn.Module, x: Tensor, sample: int) -> Tensor:
    """Singular values of one sample's block of the whole Jacobian."""
    whole = torch.autograd.functional.jacobian(model, x)
    block = whole[sample, :, sample]
    return torch.linalg.svdvals(block.double())


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, int]]] = {
    "more inputs": (Plain, (5, 6)),
    "more outputs": (lambda: Plain(4, 7), (5, 4)),
    "batch norm": (Normed, (5, 6)),
    "attention": (Attending, (5, 12)),
    "lstm": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (3, 4)), Hidden(4, 5, batch_first=True), nn.Flatten(), nn.Linear(15, 3)
        ),
        (5, 12),
    ),
}


class Hidden(nn.LSTM):
    """An LSTM that returns its states alone."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


@pytest.mark.parametrize("case", CASES)
def test_small_nets_agree_with_torchs_jacobian(case: str) -> None:
    torch.manual_seed(3)
    build, shape = CASES[case]
    model, x = build(), torch.randn(shape)
    reading = jacobian(model, x)
    values = torch.stack([reference(model, x, i) for i in range(reading.samples)])
    assert reading.exact and reading.samples == (4 if case == "batch norm" else 5)
    assert (reading.inputs, reading.outputs) == (shape[1], model(x).shape[1])
    mean = values.mean(dim=0)
    assert reading.largest == pytest.approx(mean[:8].tolist(), rel=1e-4, abs=1e-6)
    assert reading.smallest == pytest.approx(float(mean[-1]), rel=1e-3, abs=1e-5)
    squares = (values**2).mean(dim=1)
    assert reading.mean_square.value == pytest.approx(float(squares.mean()), rel=1e-4)
    error = float(squares.std()) / math.sqrt(len(squares))
    assert reading.mean_square.standard_error == pytest.approx(error, rel=1e-2)


def test_orthogonal_stacks_are_isometries() -> None:
    reading = jacobian(linear_stack(30, 24), torch.randn(8, 24))
    assert reading.largest == pytest.approx([1.0] * 8, abs=1e-4)
    assert reading.smallest == pytest.approx(1.0, abs=1e-4)
    assert reading.condition == pytest.approx(1.0, abs=1e-4)
    assert reading.spread == pytest.approx(0.0, abs=1e-3)


def test_deep_normal_stacks_spread() -> None:
    """Var σ² = depth for unit gain (Saxe et al. 2014): two layers spread less than twenty."""
    x = torch.randn(4, 48)
    spreads = {depth: jacobian(linear_stack(depth, 48, 1.0), x) for depth in (1, 4, 20)}
    assert spreads[1].spread < spreads[4].spread < spreads[20].spread
    # One square normal matrix has E σ² = 1 and Var σ² = 1, exactly so in the limit of width.
    assert spreads[1].spread == pytest.approx(1.0, abs=0.15)
    assert spreads[20].condition > 1e4 * spreads[1].condition


def test_random_products_agree_with_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    model, x = nn.Sequential(nn.Linear(60, 50), nn.Tanh(), nn.Linear(50, 40)), torch.randn(16, 60)
    exact = jacobian(model, x)
    monkeypatch.setattr(room, "EXACT", 0)
    found = jacobian(model, x)
    assert exact.exact and not found.exact and found.smallest is None
    # 12 vectors of 40, 5 applications of JJᵀ: the first values stand out least in a flat spectrum.
    assert found.largest == pytest.approx(exact.largest, rel=0.05)
    # ‖Jᵀu‖² has relative variance 2·(1 + spread²)/40; 16 samples share 12 vectors.
    error = math.sqrt(2 * (1 + exact.spread**2) / 40 / 12)
    assert found.mean_square.value == pytest.approx(exact.mean_square.value, rel=4 * error)
    assert found.spread == pytest.approx(exact.spread, rel=0.3)


@pytest.mark.parametrize("case", ["more outputs", "batch norm", "attention", "lstm"])
def test_random_products_go_through_every_kernel(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve vectors fill these small spaces, so that the values are exact again."""
    torch.manual_seed(3)
    build, shape = CASES[case]
    model, x = build(), torch.randn(shape)
    exact = jacobian(model, x)
    monkeypatch.setattr(room, "EXACT", 0)
    found = jacobian(model, x)
    n = len(found.largest)
    assert n == len(exact.largest)
    assert found.largest == pytest.approx(exact.largest, rel=1e-3, abs=1e-4)


def test_one_row_for_a_batch_in_another_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "EXACT", 0)
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Flatten(0))
    nn.init.orthogonal_(model[0].weight)
    reading = jacobian(model, torch.randn(16, 8))
    assert (reading.samples, reading.inputs, reading.outputs) == (1, 128, 128)
    assert reading.largest == pytest.approx([1.0] * 8, abs=1e-4)
    assert reading.mean_square.standard_error is not None
    error = 4 * math.sqrt(2 / 128 / 12)
    assert reading.mean_square.value == pytest.approx(1.0, abs=error)


def test_tokens_are_varied_at_their_embedding() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(11, 6), nn.Flatten(), nn.Linear(18, 5))
    reading = jacobian(model, torch.randint(11, (7, 3)))
    values = torch.linalg.svdvals(model[2].weight.detach())
    assert reading.largest == pytest.approx(values.tolist(), rel=1e-4)
    assert (reading.inputs, reading.outputs) == (18, 5)


def test_an_output_that_forgets_its_input_has_no_singular_values() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias.expand(len(x), 3) * 2

    reading = jacobian(Forgetful(), torch.randn(4, 5))
    assert (reading.largest, reading.spread, reading.condition) == ((0.0,) * 3, None, None)


def test_nothing_to_vary_is_one_clear_line() -> None:
    inner = nn.Linear(3, 2)

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.bool() * torch.ones(3))

    with pytest.raises(BadInputError, match="neither floating inputs nor embeddings"):
        jacobian(Counting(), torch.ones(4, 3, dtype=torch.long))


def test_check_shows_it_on_request_and_only_then() -> None:
    model, x = linear_stack(3, 12), torch.randn(16, 12)
    before = [p.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    checkup = fl.check(model, x, jacobian=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert "Jacobian, input to output" in str(checkup)
    assert from_json(to_json(checkup)) == checkup
    plain = fl.check(model, x)
    assert plain.observation.jacobian is None and "Jacobian" not in str(plain)
    with pytest.raises(BadInputError, match="step hides"):
        fl.check(model, x, step=lambda m, b: m(b).sum(), jacobian=True)
