"""Measurements against independent computations with plain torch, and how a batch gets in."""

from __future__ import annotations

import gc
import math
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import models as zoo
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import firstlight as fl
from firstlight.frameworks.torch.observing import observe
from firstlight.records.checkup import Observation, Reading

# Sums of up to 128 · 64 float32 products in another order: 1e-7 · √8192.
CLOSE = 1e-5


def named_readings(seen: Observation) -> dict[str, Reading]:
    return {reading.name: reading for reading in seen.readings}


def expected(value: Tensor, delta: Tensor) -> dict[str, float]:
    """Second moment, δ² per sample and per element, spread, each from its definition.

    The mean is in units of the root mean square, and counted from one, since it may be zero.
    """
    value, delta = value.detach().double(), delta.double()
    return {
        "mean": 1 + float(value.mean() / (value**2).mean().sqrt()),
        "second moment": float((value**2).mean()),
        "second moment error": float((value**2).flatten(1).mean(1).std() / math.sqrt(len(value))),
        "spread": float(((value - value.mean(0)) ** 2).mean()),
        "delta per sample": float((delta**2).flatten(1).sum(1).mean()),
        "delta mean square": float((delta**2).mean()),
    }


def measured(reading: Reading) -> dict[str, float | None]:
    square, delta = reading.second_moment, reading.delta_square_per_sample
    assert square and delta and reading.delta_mean_square
    return {
        "mean": 1 + (reading.mean or 0.0) / math.sqrt(square.value),
        "second moment": square.value,
        "second moment error": square.standard_error,
        "spread": reading.sample_spread,
        "delta per sample": delta.value,
        "delta mean square": reading.delta_mean_square.value,
    }


def with_gradients(outputs: dict[str, Tensor], loss: Tensor) -> dict[str, dict[str, float]]:
    deltas = torch.autograd.grad(loss, list(outputs.values()))
    return {
        name: expected(output, delta)
        for (name, output), delta in zip(outputs.items(), deltas, strict=True)
    }


def assert_readings(seen: Observation, wanted: dict[str, dict[str, float]]) -> None:
    readings = named_readings(seen)
    for name, numbers in wanted.items():
        assert measured(readings[name]) == pytest.approx(numbers, rel=CLOSE, abs=1e-12), name


def test_moments_and_deltas_of_an_mlp() -> None:
    model, x, y = zoo.mlp(3), zoo.vectors(0), zoo.labels(0)
    seen = observe(model, x, loss="cross_entropy", target=y)
    outputs: dict[str, Tensor] = {}
    hidden = x
    for name, module in model.named_children():
        hidden = outputs[name] = module(hidden)
    loss = functional.cross_entropy(hidden, y)
    assert seen.loss == pytest.approx(float(loss.detach()), rel=1e-6)
    assert seen.input_second_moment == pytest.approx(float((x**2).mean()), rel=1e-6)
    assert seen.logits_std == pytest.approx(float(hidden.detach().std()), rel=1e-6)
    gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
        reading = next(r for r in seen.parameters if r.name == name)
        rms = (float((parameter.detach() ** 2).mean().sqrt()), float((gradient**2).mean().sqrt()))
        assert (reading.value_rms, reading.gradient_rms) == pytest.approx(rms, rel=CLOSE)
    assert_readings(seen, with_gradients(outputs, loss))


def test_deltas_around_an_in_place_relu() -> None:
    """The hook of an in-place operation must get its own gradient, not that of its input."""
    model, x, y = zoo.FunctionalMLP(), zoo.vectors(0), zoo.labels(0)
    seen = observe(model, x, loss="cross_entropy", target=y)
    outputs = {"fc1": model.fc1(x)}
    outputs["relu"] = outputs["fc1"].relu()
    outputs["fc2"] = model.fc2(outputs["relu"])
    outputs["relu#2"] = outputs["fc2"].relu()  # relu_ in the model
    outputs["head"] = model.head(outputs["relu#2"])
    loss = functional.cross_entropy(outputs["head"], y)
    assert_readings(seen, with_gradients(outputs, loss))


@pytest.mark.parametrize("inplace", [False, True])
def test_deltas_of_a_convolution_under_batch_norm(inplace: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace),
        nn.Flatten(),
        nn.Linear(288, zoo.CLASSES),
    )
    x, y = zoo.images(0), zoo.labels(0)
    seen = observe(model, x, target=y)
    model[2].inplace = False
    outputs: dict[str, Tensor] = {}
    hidden = x
    for name, module in model.named_children():
        hidden = module(hidden)
        if name not in ("1", "3"):  # norms and changes of shape are not measured
            outputs[name] = hidden
    assert_readings(seen, with_gradients(outputs, functional.cross_entropy(hidden, y)))


def test_residual_additions_get_their_own_delta() -> None:
    model, x, y = zoo.ResNet(1, norm=False), zoo.images(0), zoo.labels(0)
    seen = observe(model, x, target=y)
    stem = functional.relu(model.stem(x))
    block = model.blocks[0]
    total = stem + block.conv2(functional.relu(block.conv1(stem)))
    logits = model.head(functional.relu(total).mean(dim=(2, 3)))
    loss = functional.cross_entropy(logits, y)
    assert_readings(seen, with_gradients({"blocks.0.add": total}, loss))


def test_deltas_behind_frozen_layers() -> None:
    model, x, y = zoo.mlp(2), zoo.vectors(0), zoo.labels(0)
    loss = functional.cross_entropy
    free = named_readings(observe(model, x, loss=loss, target=y))
    model[0].requires_grad_(False)
    frozen = observe(model, x, loss=loss, target=y)
    for name, reading in named_readings(frozen).items():
        assert measured(reading) == measured(free[name]), name
    assert next(p for p in frozen.parameters if p.name == "0.weight").gradient_rms is None


def test_no_loss_starts_from_a_unit_cotangent() -> None:
    model, x = nn.Linear(zoo.FEATURES, 40, bias=False), zoo.vectors(0)
    seen = observe(model, x)
    delta = seen.readings[0].delta_square_per_sample
    assert seen.cotangent == "random" and seen.loss is None and delta is not None
    assert delta.value * zoo.SAMPLES == pytest.approx(1.0, rel=CLOSE)


def test_a_zero_head_restarts_from_its_input() -> None:
    model = zoo.mlp(2)
    nn.init.zeros_(model[-1].weight)
    seen = observe(model, zoo.vectors(0), target=zoo.labels(0))
    assert seen.cotangent == "head-input"
    deltas = [r.delta_square_per_sample for r in seen.readings if r.name != "4"]
    assert all(delta is not None and delta.value > 0 for delta in deltas)
    woken = {p.name: p.zero_gradient_at_start_only for p in seen.parameters}
    assert woken["0.weight"] and woken["2.bias"] and not woken["4.weight"]


@pytest.mark.parametrize("zero", [True, False])
def test_one_step_tells_a_lora_from_a_dead_end(zero: bool) -> None:
    model = zoo.lora()
    if zero:
        for layer in (model[0], model[2], model[4]):
            nn.init.zeros_(layer.a)
    seen = observe(model, zoo.vectors(0), target=zoo.labels(0))
    reading = next(p for p in seen.parameters if p.name == "0.a")
    assert reading.gradient_rms == 0 and reading.zero_gradient_at_start_only is (not zero)


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "mean": (functional.cross_entropy, math.log(10)),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), zoo.SAMPLES * math.log(10)),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), math.log(10)),
    "log-probabilities": (
        lambda output, target: functional.nll_loss(output.log_softmax(dim=1), target),
        math.log(10),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_undecided_loss_has_the_options_of_the_loss(name: str) -> None:
    loss, undecided = LOSSES[name]
    seen = observe(zoo.mlp(1), zoo.vectors(0), loss=loss, target=zoo.labels(0))
    assert seen.undecided_loss == pytest.approx(undecided, rel=1e-6)
    assert (seen.task, seen.classes) == ("classification", 10)


def test_binary_and_regression_are_told_apart() -> None:
    model, x = nn.Linear(zoo.FEATURES, 1), zoo.vectors(0)
    binary = observe(model, x, loss="binary_cross_entropy", target=torch.ones(zoo.SAMPLES, 1))
    assert (binary.task, binary.undecided_loss) == ("binary", pytest.approx(math.log(2)))
    regression = observe(model, x, target=torch.ones(zoo.SAMPLES, 1))
    assert (regression.task, regression.undecided_loss) == ("regression", 1.0)


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, x: Any, scale: Any = 1.0) -> Tensor:
        if not isinstance(x, Tensor):
            x, scale = x.x, x.scale
        return self.fc(x) * scale


@dataclass
class _Data:
    x: Any
    scale: Any


_Named = namedtuple("_Named", ["x", "scale"])


def test_every_way_in_is_the_same_way() -> None:
    model, x, scale = _Pair(), zoo.vectors(0), torch.tensor(2.0)
    seen = observe(model, (x, scale), target=zoo.labels(0))
    ways: list[Any] = [
        [x, scale],
        {"x": x, "scale": scale},
        _Data(x, scale),
        _Named(x, scale),
        (x.numpy(), np.float32(2.0)),
    ]
    for way in ways:
        assert observe(model, way, target=zoo.labels(0)).loss == seen.loss, type(way)


def test_the_outputs_own_loss_is_used() -> None:
    specimen = zoo.TRICKY["dict output"]()
    seen = observe(specimen.model, specimen.batch)
    loss = specimen.model(**specimen.batch)["loss"]
    assert seen.cotangent == "loss" and seen.loss == pytest.approx(float(loss.detach()), rel=1e-6)


def test_a_step_may_bring_its_own_data() -> None:
    model = zoo.FunctionalMLP()

    def step(module: nn.Module, batch: Any) -> Tensor:
        return functional.cross_entropy(module(zoo.vectors(3)), zoo.labels(3))

    seen = observe(model, None, step=step)
    same = observe(model, zoo.vectors(3), target=zoo.labels(3))
    assert seen.loss == same.loss and seen.network == same.network


def test_a_sample_without_a_batch_axis() -> None:
    seen = observe(zoo.FunctionalMLP(), zoo.vectors(0)[0])
    assert [r.name for r in seen.readings] == ["fc1", "relu", "fc2", "relu#2", "head"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_measured(dtype: torch.dtype) -> None:
    model, x = zoo.FunctionalMLP(), zoo.vectors(0)
    single = named_readings(observe(model, x))["fc1"].second_moment
    other = observe(model.to(dtype), x.to(dtype))
    reading = named_readings(other)["fc1"].second_moment
    # A weight, an input and a result are rounded to 8 bits at worst: 3 · 2⁻⁹, squared twice that.
    assert single and reading and reading.value == pytest.approx(single.value, rel=6 * 2**-9)
    assert other.dtype == str(dtype).removeprefix("torch.")


def test_dead_and_saturated_shares() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(8, 4).abs())
        model[0].bias.copy_(torch.tensor([-100.0] * 3 + [100.0] * 5))
        model[2].weight.zero_()
        model[2].bias.copy_(torch.tensor([50.0] * 2 + [0.0] * 6))
    readings = named_readings(observe(model, torch.randn(64, 4)))
    assert readings["1"].dead_fraction == 3 / 8
    assert readings["3"].saturated_fraction == 2 / 8


def test_dead_units_are_not_twins() -> None:
    model = zoo.scaled(zoo.mlp(2), zoo.HE)
    nn.init.constant_(model[0].bias[:20], -50.0)
    with torch.no_grad():
        model[2].weight[:, :20] = 0.1  # equal zeros going forward, equal gradients coming back
    readings = named_readings(observe(model, zoo.vectors(0), target=zoo.labels(0)))
    assert (readings["0"].twin_units, readings["1"].twin_units) == (0, 0)


def test_twins_are_counted_and_named() -> None:
    model = zoo.scaled(zoo.mlp(2), zoo.HE)
    with torch.no_grad():
        for one, other in ((3, 40), (5, 41), (5, 42)):
            model[0].weight[other] = model[0].weight[one]
            model[2].weight[:, other] = model[2].weight[:, one]
    reading = named_readings(observe(model, zoo.vectors(0), target=zoo.labels(0)))["0"]
    assert reading.twin_units == 5
    assert reading.twin_example in {(3, 40), (5, 41), (5, 42), (41, 42)}


def test_a_check_leaves_no_tensor_to_the_garbage_collector() -> None:
    """A cycle would keep copies of all weights until the next collection: memory doubles."""
    model, x, target = zoo.mlp(2), zoo.vectors(0), zoo.labels(0)
    observe(model, x, target=target)
    gc.collect()
    gc.disable()
    try:
        before = sum(type(o) is Tensor for o in gc.get_objects())
        observe(model, x, target=target)
        assert sum(type(o) is Tensor for o in gc.get_objects()) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_layers_get_their_gradients(reentrant: bool) -> None:
    """A reentrant checkpoint refuses `torch.autograd.grad`; the gradients are those without one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Linear(12, 3))
    x, labels = torch.randn(64, 6), torch.randint(3, (64,))

    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.body[0](x))
            x = checkpoint(self.body[2], x, use_reentrant=reentrant)
            return self.body[3](x)

    saving = Saving()
    kept = torch.ones(3)
    model[3].bias.grad = kept
    checkup = fl.check(saving, x, target=labels)
    plain = fl.check(model, x, target=labels)
    ours = [p.gradient_rms for p in checkup.observation.parameters]
    assert ours == pytest.approx([p.gradient_rms for p in plain.observation.parameters])
    assert all(r.delta_mean_square for r in checkup.layers if r.name in ("body.0", "body.3"))
    assert model[3].bias.grad is kept and model[0].weight.grad is None
    assert bool((kept == 1).all())
