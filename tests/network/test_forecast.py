"""Forecasts against numbers worked out by hand, and against simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.network.attending import causal_moments
from firstlight.network.axes import ordered, reshaped
from firstlight.network.mixing import softmax_moments
from firstlight.network.signals import independent
from firstlight.network.stepping import run
from firstlight.planning.forecasting import compare, forecast
from firstlight.records.checkup import Observation
from firstlight.records.codec import from_json, to_json
from firstlight.records.law import Constant, Law, Mirrored, Normal
from firstlight.records.plan import Forecast, PlanEntry
from firstlight.reporting.forecast import forecast_remark
from firstlight.verbs.apply import apply
from firstlight.verbs.initialize import initialize
from firstlight.verbs.plan import plan as make_plan


def observed(model: nn.Module, batch: Tensor) -> Observation:
    return TorchAdapter().observe(model, batch)


def entries(seen: Observation, law: Law) -> list[PlanEntry]:
    """All weights from one law, biases and shifts zero, scales one."""
    fixed = {"bias": 0.0, "norm-shift": 0.0, "norm-scale": 1.0}
    return [
        PlanEntry(
            name=p.name,
            action="draw",
            law=Constant(value=fixed[p.kind]) if p.kind in fixed else law,
            layout=p.layout,
            rule="",
            reason="",
            source="",
        )
        for p in seen.network.parameters
    ]


def expected(model: nn.Module, batch: Tensor, law: Law) -> dict[str, Forecast]:
    seen = observed(model, batch)
    return {f.name: f for f in forecast(seen.network, entries(seen, law), seen)}


def centred(*shape: int) -> Tensor:
    """Independent numbers of mean square one."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return values / values.square().mean().sqrt()


def test_a_perceptron_by_hand() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Dropout(0.2), nn.Linear(30, 5))
    found = expected(model, centred(8, 20), Normal(std=0.5))
    first = 20 * 0.25
    squares = [first, first / 2, first / 2 / 0.8, 30 * 0.25 * first / 2 / 0.8]
    assert [found[str(i)].second_moment for i in range(4)] == pytest.approx(squares, rel=1e-5)
    # Backwards from the head: its five weights per unit, dropout's 1/0.8, ReLU's half.
    after = 5 * 0.25 * 30 / 5  # ‖Wᵀδ‖² = Σ w² over 30 inputs for each of the outputs
    deltas = [after / 0.8 / 2, after / 0.8, after, 1.0]
    assert [found[str(i)].delta_square_per_sample for i in range(4)] == pytest.approx(
        deltas, rel=1e-5
    )


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.branch(x))


def test_a_residual_addition_adds_second_moments_and_gradients() -> None:
    found = expected(nn.Sequential(nn.Linear(16, 16), Residual()), centred(8, 16), Normal(std=0.25))
    assert found["1.add"].second_moment == pytest.approx(1.5, rel=1e-5)
    assert found["0"].delta_square_per_sample == pytest.approx(1.5, rel=1e-5)


@pytest.mark.parametrize(
    ("stride", "padding", "share"),
    [
        (1, 0, 1.0),
        (1, 1, (22 / 24) ** 2),  # of 8 · 3 taps on an axis, two hang over an end
        (2, 1, (11 / 12) ** 2),  # of 4 · 3 taps, the first
    ],
)
def test_padding_thins_a_convolution(stride: int, padding: int, share: float) -> None:
    model = nn.Conv2d(4, 6, 3, stride=stride, padding=padding)
    found = expected(model, centred(8, 4, 8, 8), Normal(std=1 / 6))
    conv = next(f for f in found.values() if f.name != "input")
    assert conv.second_moment == pytest.approx(36 / 36 * share, rel=1e-5)


def test_a_transposed_convolution_spreads_its_taps() -> None:
    found = expected(nn.ConvTranspose2d(4, 6, 2, stride=2), centred(8, 4, 8, 8), Normal(std=0.5))
    conv = next(f for f in found.values() if f.name != "input")
    assert conv.second_moment == pytest.approx(4 * 0.25, rel=1e-5)


def test_a_mirrored_weight_sees_the_odd_part_alone() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    seen = observed(model, centred(8, 16))
    plan = [
        replace(e, law=Mirrored(gain=1.0, inputs=e.name == "2.weight"))
        if e.name.endswith("weight")
        else e
        for e in entries(seen, Normal(std=1.0))
    ]
    found = {f.name: f for f in forecast(seen.network, plan, seen)}
    # Eight twins of norm ‖x‖²/16 · 8 … the isometry of half the rows keeps 8 of 16 directions.
    assert found["2"].second_moment == pytest.approx(found["0"].second_moment, rel=1e-6)
    apply(model, replace(make_plan(model, centred(8, 16)), entries=tuple(plan)), seed=0)
    after = observed(model, centred(8, 16))
    first, last = (after.reading(f.operation) for f in (found["0"], found["2"]))
    assert first and last and first.second_moment and last.second_moment
    assert last.second_moment.value == pytest.approx(first.second_moment.value, rel=1e-5)


class ByHand(nn.Module):
    """A GELU's neighbour and an RMS norm, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 64)
        self.outer = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        x = x * torch.sigmoid(x)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        result: Tensor = self.outer(x)
        return result


def test_functions_written_out_are_seen_as_what_they_are() -> None:
    found = expected(ByHand(), centred(8, 16), Normal(std=0.25))
    swish = expected(nn.Sequential(nn.Linear(16, 64), nn.SiLU()), centred(8, 16), Normal(std=0.25))
    assert found["mul"].second_moment == pytest.approx(swish["1"].second_moment, rel=1e-9)
    assert found["outer"].second_moment == pytest.approx(64 / 16, rel=1e-5)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))


def test_attention_averages_the_values() -> None:
    found = expected(Attention(), centred(64, 8, 16), Normal(std=0.25))
    # Logits of unit variance: an average over eight tokens, tilted in one direction of sixteen.
    squares, tilt = softmax_moments(1.0, 8.0)
    assert found["scaled_dot_product_attention"].second_moment == pytest.approx(
        squares + (tilt - squares) / 16, rel=0.05
    )
    same = centred(64, 1, 16).expand(64, 8, 16).contiguous()
    found = expected(Attention(), same, Normal(std=0.25))
    assert found["scaled_dot_product_attention"].second_moment == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("variance", [0.25, 1.0, 9.0])
@pytest.mark.parametrize("count", [2, 16])
def test_the_evenness_of_a_softmax_by_simulation(variance: float, count: int) -> None:
    logits = math.sqrt(variance) * np.random.default_rng(0).standard_normal((20_000, count))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    squares = (weights**2).sum(axis=1)
    tilts = (weights * logits).sum(axis=1) ** 2 / variance
    for expected_mean, values in zip(
        softmax_moments(variance, float(count)), (squares, tilts), strict=True
    ):
        error = values.std() / math.sqrt(len(values))
        assert abs(expected_mean - values.mean()) < 4 * error + 1e-4


def test_a_causal_softmax_of_equal_logits() -> None:
    squares, _, overlap = causal_moments(0.0, 4)
    assert squares == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, rel=1e-9)
    assert overlap == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) * 2 / 12, rel=1e-9)


def test_pooling_keeps_what_positions_have_in_common() -> None:
    model = nn.Sequential(nn.Conv2d(4, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(64, 3))
    found = expected(model, centred(64, 4, 8, 8), Normal(std=0.5))
    assert found["3"].second_moment == pytest.approx(64 * 0.25 / 64, rel=0.1)
    flat = centred(64, 4, 1, 1).expand(64, 4, 8, 8).contiguous()
    found = expected(model, flat, Normal(std=0.5))
    assert found["3"].second_moment == pytest.approx(64 * 0.25, rel=1e-4)


def test_a_convolutional_network_by_simulation() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.GELU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )
    batch = centred(32, 3, 16, 16)
    plan = make_plan(model, batch)
    measured: dict[int, list[float]] = {}
    for seed in range(6):
        apply(model, plan, seed=seed)
        for reading in observed(model, batch).readings:
            if reading.second_moment is not None:
                measured.setdefault(reading.operation, []).append(reading.second_moment.value)
    told = {f.operation: f.second_moment for f in plan.forecast}
    assert len(measured) == 5
    for operation, values in measured.items():
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        mean = float(np.mean(values))
        # What theory leaves out here (likenesses within pooling windows) is below a twentieth.
        assert told[operation] == pytest.approx(mean, abs=0.05 * mean + 3 * error)


def test_a_recurrent_layer_is_bounded_and_grows_with_its_steps() -> None:
    first = run("lstm", 1, (1.0, 0.0, 0.0, 0.0), 1.0, (0.0, 0.0)).state[1]
    later = run("lstm", 20, (1.0, 0.0, 0.0, 0.0), 1.0, (0.0, 0.0)).state[1]
    # One step from zero: E σ(o)² tanh(σ(i) tanh(g))².
    numbers = np.random.default_rng(1).standard_normal((3, 1_000_000))
    sigmoid = 1 / (1 + np.exp(-numbers[:2]))
    exact = float(((sigmoid[0] * np.tanh(sigmoid[1] * np.tanh(numbers[2]))) ** 2).mean())
    assert first == pytest.approx(exact, rel=0.08)  # 192 · 48 numbers of relative spread 1.6: 5 σ
    assert first < later < 1


def test_what_theory_misses_is_measured() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    seen = observed(model, centred(8, 16))
    told = make_plan(model, centred(8, 16)).forecast
    value = next(r for r in seen.readings if r.name == "0").second_moment
    assert value is not None
    near = tuple(replace(f, second_moment=1.05 * value.value) for f in told if f.name == "0")
    assert compare(near, seen) == near
    far = tuple(replace(f, second_moment=1.5 * value.value) for f in near)
    found = compare(far, seen)[0]
    assert found.how == "measured"
    assert found.second_moment == value.value
    silent = tuple(replace(f, second_moment=None) for f in near)
    assert compare(silent, seen)[0].second_moment == value.value


def test_an_unknown_function_is_not_guessed() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.outer(torch.special.i0(self.inner(x)))
            return result

    found = expected(Odd(), centred(8, 8), Normal(std=0.3))
    assert found["outer"].second_moment is None
    assert found["outer"].how == "measured"
    assert found["inner"].how == "theory"


def test_axes_are_followed_through_reshapes() -> None:
    heads = reshaped(("batch", "position", "unit"), (2, 6, 8), (2, 6, 2, 4))
    assert ordered(heads, (0.0, 2.0, 1.0, 3.0)) == ("batch", "unit", "position", "unit")
    assert reshaped(("batch", "unit", "position", "unit"), (2, 2, 6, 4), (4, 6, 4)) == (
        "batch",
        "position",
        "unit",
    )
    assert independent(0.5, 1.0).variance == 0.75


def test_a_plan_carries_and_shows_its_forecast() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(8 * 64, 4))
    plan = make_plan(model, centred(8, 3, 8, 8))
    assert [f.operation for f in plan.forecast] == list(range(len(plan.network.operations)))
    assert from_json(to_json(plan)) == plan
    convolution = next(op for op in plan.network.operations if op.function == "conv2d")
    assert convolution.option("padding") == (1.0, 1.0)
    assert convolution.option("axes") == ()
    text = str(plan)
    assert "Forecast at 2 weighted operations" in text
    assert "expected forward RMS" in text
    assert "expected ‖δ‖" in text
    assert "measured" not in forecast_remark(plan)
    told = replace(plan, forecast=tuple(replace(f, how="measured") for f in plan.forecast))
    assert "2 measured" in forecast_remark(told)
    silent = replace(plan, forecast=tuple(replace(f, second_moment=None) for f in plan.forecast))
    assert "2 to be measured" in forecast_remark(silent)
    assert forecast_remark(replace(plan, forecast=())) == ""


def test_initialize_confirms_the_forecast() -> None:
    model = nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 4))
    receipt = initialize(model, centred(64, 16), seed=0)
    assert receipt.after is not None
    for told in receipt.plan.forecast:
        seen = receipt.after.observation.reading(told.operation)
        if seen is None or seen.second_moment is None:
            continue
        assert told.second_moment == pytest.approx(seen.second_moment.value, rel=0.1)
