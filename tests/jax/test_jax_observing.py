"""Measurements of JAX models against those of the same network in torch, and how losses are known.

The torch room is tested against plain definitions; here the same weights and the same batch go
through both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from jax import Array
from torch import nn

from firstlight.errors import BadInputError, ModelRaisedError
from firstlight.frameworks.jax.adapter import JaxAdapter
from firstlight.frameworks.torch.observing import observe as observe_torch
from firstlight.records.checkup import Observation, ParameterReading, Reading
from firstlight.verdicts.findings import judge

SAMPLES, WIDTH, CLASSES = 128, 24, 5

# Sums of up to 128 · 24 float32 products in another order, squared: 1e-7 · √3072 · 2.
CLOSE = 2e-5


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def labels(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, CLASSES, SAMPLES).astype(np.int32)


def observe(model: Any, batch: Any, **how: Any) -> Observation:
    return JaxAdapter().observe(model, batch, **how)


# The same network twice --------------------------------------------------------------------------


class Mlp(nnx.Module):
    def __init__(self, depth: int = 3) -> None:
        rngs = nnx.Rngs(0)
        widths = [WIDTH] * (depth + 1)
        pairs = pairwise(widths)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairs])
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        for number, layer in enumerate(self.layers):
            x = layer(x)
            x = jnp.tanh(x) if number == 0 else nnx.relu(x)
        return self.head(x)


def torch_mlp(depth: int = 3) -> nn.Module:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(WIDTH, WIDTH), nn.Tanh() if number == 0 else nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES))


class Residual(nnx.Module):
    """Convolutions, a batch norm, an addition, a mean over positions."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.stem = nnx.Conv(3, 8, (3, 3), padding="SAME", rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.conv = nnx.Conv(8, 8, (3, 3), padding="SAME", rngs=rngs)
        self.head = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.norm(self.stem(x)))
        x = x + self.conv(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class TorchResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.conv(x)
        return self.head(x.mean(dim=(2, 3)))


def fill(model: nnx.Module, other: nn.Module, change: Callable[[Any, str], Any]) -> None:
    """The same weights in both, changed by (values, name) → values."""
    adapter = JaxAdapter()
    values = [(name, change(value, name)) for name, value in adapter.values(model)]
    adapter.write(model, values)
    owners = [m for m in other.modules() if getattr(m, "weight", None) is not None]
    seen = dict(adapter.values(model))
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in seen))
    with torch.no_grad():
        for name, owner in zip(modules, owners, strict=True):
            weight = seen.get(f"{name}.kernel", seen.get(f"{name}.scale"))
            if weight.ndim == 2:
                weight = weight.T
            elif weight.ndim == 4:
                weight = weight.transpose(3, 2, 0, 1)
            owner.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
            owner.bias.copy_(torch.from_numpy(seen[f"{name}.bias"]))


def as_they_are(values: Any, _name: str) -> Any:
    return values


def pair(
    kind: str, change: Callable[[Any, str], Any] = as_they_are, scale: float = 1.0, **how: Any
) -> tuple[Observation, Observation]:
    """The same network, weights and batch, seen by both rooms."""
    model: nnx.Module
    if kind == "mlp":
        model, other = Mlp(), torch_mlp()
        x = normal(SAMPLES, WIDTH) * np.float32(scale)
        given = x
    else:
        model, other = Residual(), TorchResidual()
        x = normal(SAMPLES, 6, 6, 3) * np.float32(scale)
        given = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    fill(model, other, change)
    y = labels()
    mine = observe(model, x, target=y, **how)
    theirs = observe_torch(other, torch.from_numpy(given), target=torch.from_numpy(y).long(), **how)
    return mine, theirs


def numbers(reading: Reading) -> dict[str, float]:
    """What is the same in every framework; the mean in units of the root mean square."""
    square, delta, each = (
        reading.second_moment,
        reading.delta_square_per_sample,
        reading.delta_mean_square,
    )
    assert square and delta and each
    found = {
        "mean": 1 + (reading.mean or 0.0) / math.sqrt(square.value or 1.0),
        "second moment": square.value,
        "its error": square.standard_error,
        "spread": reading.sample_spread,
        "delta": delta.value,
        "delta's error": delta.standard_error,
        "delta each": each.value,
        "dead": reading.dead_fraction,
        "saturated": reading.saturated_fraction,
        "twins": reading.twin_units,
        "not finite": reading.non_finite + reading.non_finite_delta,
        "raw": reading.raw_mean_square,
    }
    return {name: -1.0 if number is None else number for name, number in found.items()}


def ordered(seen: Observation) -> list[ParameterReading]:
    """Module by module, each one's bias last."""
    modules = list(dict.fromkeys(op.name for op in seen.network.operations if op.parameters))

    def place(reading: ParameterReading) -> tuple[int, bool]:
        module, _, leaf = reading.name.rpartition(".")
        return modules.index(module), leaf == "bias"

    return sorted(seen.parameters, key=place)


def assert_alike(mine: Observation, theirs: Observation, rel: float = CLOSE) -> None:
    assert len(mine.readings) == len(theirs.readings)
    for a, b in zip(mine.readings, theirs.readings, strict=True):
        assert numbers(a) == pytest.approx(numbers(b), rel=rel, abs=1e-30), (a.name, b.name)
    for p, q in zip(ordered(mine), ordered(theirs), strict=True):
        assert p.value_rms == pytest.approx(q.value_rms, rel=rel)
        assert p.gradient_rms == pytest.approx(q.gradient_rms, rel=10 * rel, abs=1e-9), p.name
        assert (p.constant, p.non_finite, p.largest) == (q.constant, q.non_finite, q.largest)
    for name in ("loss", "undecided_loss", "prior_loss", "logits_std", "input_second_moment"):
        assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=rel), name
    same = ("samples", "task", "classes", "cotangent", "best_constant", "dtype", "device", "mode")
    assert [getattr(mine, n) for n in same] == [getattr(theirs, n) for n in same]


def test_an_mlp_is_seen_as_in_torch() -> None:
    mine, theirs = pair("mlp")
    assert_alike(mine, theirs)
    [a], [b] = mine.inputs, theirs.inputs
    for name in ("mean", "second_moment", "near", "positions", "samples", "uneven"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-4, abs=1e-6), name


def test_a_residual_network_is_seen_as_in_torch() -> None:
    mine, theirs = pair("residual")
    assert [r.operation for r in mine.readings]  # stem, relu, conv, add, head
    kinds = [[s.network.operations[r.operation].kind for r in s.readings] for s in (mine, theirs)]
    assert kinds[0] == kinds[1]
    # The batch norm subtracts means of 128 · 36 numbers and divides: rounding grows tenfold.
    assert_alike(mine, theirs, rel=10 * CLOSE)


def test_values_and_deltas_whose_squares_leave_the_range_of_float32() -> None:
    """Without a loss, values grow with the first layer's weights, and gradients with the head's."""
    x = normal(SAMPLES, WIDTH)

    def seen(first: float, last: float) -> Observation:
        weights = {"a": jnp.asarray(first * normal(WIDTH, WIDTH), jnp.float32)}
        weights["b"] = jnp.asarray(last * normal(WIDTH, CLASSES, seed=1), jnp.float32)
        return observe((lambda p, x: nnx.relu(x @ p["a"]) @ p["b"], weights), x)

    plain = seen(1.0, 1.0).readings
    for first, last in ((1e-24, 1.0), (1e24, 1.0), (1.0, 1e-27), (1.0, 1e24)):
        for a, b in zip(seen(first, last).readings[:2], plain[:2], strict=True):
            assert a.second_moment and b.second_moment and a.sample_spread and b.sample_spread
            assert a.delta_mean_square and b.delta_mean_square
            assert a.second_moment.value == pytest.approx(first**2 * b.second_moment.value)
            assert a.sample_spread == pytest.approx(first**2 * b.sample_spread, rel=1e-4)
            assert a.delta_mean_square.value == pytest.approx(last**2 * b.delta_mean_square.value)
            assert (a.non_finite, a.non_finite_delta, a.dead_fraction) == (0, 0, b.dead_fraction)


# Faults ------------------------------------------------------------------------------------------


def zeros(values: Any, name: str) -> Any:
    return 0 * values


def constant(values: Any, name: str) -> Any:
    return 0 * values + np.float32(0.05 if "bias" not in name else 0)


def small(values: Any, name: str) -> Any:
    return values * np.float32(0.05)


def large(values: Any, name: str) -> Any:
    return values * np.float32(30)


def dead(values: Any, name: str) -> Any:
    return values - np.float32(20) if name == "layers.1.bias" else values


def broken(values: Any, name: str) -> Any:
    return values * np.float32(np.nan) if name == "layers.1.kernel" else values


def confident(values: Any, name: str) -> Any:
    return values * np.float32(40) if name == "head.kernel" else values


def zero_head(values: Any, name: str) -> Any:
    return 0 * values if name == "head.kernel" else values


@pytest.mark.parametrize(
    "change", [as_they_are, zeros, constant, small, large, dead, broken, confident, zero_head]
)
def test_the_findings_are_those_of_torch(change: Callable[[Any, str], Any]) -> None:
    mine, theirs = pair("mlp", change)
    found = [(f.kind, f.severity, len(f.where)) for f in judge(mine)]
    assert found == [(f.kind, f.severity, len(f.where)) for f in judge(theirs)]
    assert bool(found) == (change not in (as_they_are, zero_head))
    assert mine.cotangent == theirs.cotangent == ("head-input" if change is zero_head else "loss")
    for a, b in zip(mine.readings, theirs.readings, strict=True):
        # JAX's relu has slope 0 where its input is NaN; torch's hands the gradient on.
        assert (a.non_finite, a.twin_units) == (b.non_finite, b.twin_units)
    assert mine.network.framework == "jax"


# Functions of parameters -------------------------------------------------------------------------


def applied(parameters: Any, x: Array) -> Array:
    hidden = jnp.tanh(x @ parameters["a"]["w"] + parameters["a"]["b"])
    return hidden @ parameters["b"]["w"]


def function_model(**changes: Any) -> Any:
    parameters = {
        "a": {"w": jnp.asarray(normal(WIDTH, WIDTH) / 5), "b": jnp.zeros(WIDTH)},
        "b": {"w": jnp.asarray(normal(WIDTH, CLASSES, seed=1) / 5)},
    }
    return applied, {**parameters, **changes}


def reading_of(seen: Observation, name: str) -> ParameterReading:
    return next(p for p in seen.parameters if p.name == name)


LOSSES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "optax": (optax.softmax_cross_entropy_with_integer_labels, "cross_entropy"),
    "by hand": (
        lambda o, t: -jnp.sum(jax.nn.log_softmax(o)[jnp.arange(len(t)), t]),
        "cross_entropy",
    ),
    "one-hot": (
        lambda o, t: optax.softmax_cross_entropy(o, jax.nn.one_hot(t, CLASSES)).mean(),
        "cross_entropy",
    ),
    "another": (lambda o, t: jnp.mean(jnp.max(o, axis=-1) - o[jnp.arange(len(t)), t]), ""),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_known_by_what_it_gives(name: str) -> None:
    loss, function = LOSSES[name]
    seen = observe(function_model(), normal(SAMPLES, WIDTH), loss=loss, target=labels())
    last = seen.network.operations[-1]
    assert last.kind == "loss"
    if not function:
        assert (seen.task, seen.undecided_loss) == ("unknown", None)
        return
    assert (last.function, seen.task, seen.classes) == (function, "classification", CLASSES)
    each = math.log(CLASSES)
    assert seen.undecided_loss == pytest.approx(SAMPLES * each if name == "by hand" else each)


@pytest.mark.parametrize(
    ("loss", "task"),
    [
        ("mse", "regression"),
        (optax.l2_loss, "regression"),
        ("binary_cross_entropy", "binary"),
        (lambda o, t: optax.sigmoid_binary_cross_entropy(o, t).mean(), "binary"),
        ("cross_entropy", "classification"),
    ],
)
def test_losses_of_targets_in_the_outputs_shape(loss: Any, task: str) -> None:
    target = np.eye(CLASSES, dtype=np.float32)[labels()]
    seen = observe(function_model(), normal(SAMPLES, WIDTH), loss=loss, target=target)
    assert seen.task == task
    mean = (target**2).mean() / (2 if loss is optax.l2_loss else 1)
    undecided = {"regression": mean, "binary": math.log(2), "classification": math.log(CLASSES)}
    assert seen.undecided_loss == pytest.approx(undecided[task], rel=1e-5)
    assert seen.prior_loss and seen.prior_loss < undecided[task]


def test_a_step_is_known_by_its_value() -> None:
    x, y = normal(SAMPLES, WIDTH), labels()

    def step(model: Any, batch: Any) -> Any:
        logits = model(batch["x"])
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(batch["y"], 5), -1))

    model = Mlp()
    seen = observe(model, {"x": x, "y": y}, step=step)
    plain = observe(model, x, target=y)
    assert seen.loss == pytest.approx(plain.loss, rel=1e-6)
    assert (seen.task, seen.classes) == ("classification", CLASSES)
    assert seen.undecided_loss == pytest.approx(math.log(CLASSES))
    assert seen.logits_std == pytest.approx(plain.logits_std, rel=1e-6)
    assert [op.function for op in seen.network.operations] == [
        op.function for op in plain.network.operations
    ]
    assert [f.kind for f in judge(seen)] == []


def test_a_step_whose_loss_is_smoothed_and_regularised_still_shows_its_head() -> None:
    def step(model: Any, batch: Any) -> Any:
        function, parameters = model
        soft = optax.smooth_labels(jax.nn.one_hot(batch[1], CLASSES), 0.1)
        loss = optax.softmax_cross_entropy(function(parameters, batch[0]), soft).mean()
        return loss + 1e-3 * jnp.sum(parameters["a"]["w"] ** 2)

    model = function_model()
    seen = observe(model, (normal(SAMPLES, WIDTH), labels()), step=step)
    penalty = 1e-3 * float(jnp.sum(model[1]["a"]["w"] ** 2))
    assert (seen.task, seen.classes, seen.prior_loss) == ("classification", CLASSES, None)
    assert seen.undecided_loss == pytest.approx(math.log(CLASSES) + penalty, rel=1e-5)
    assert [op.name for op in seen.network.operations][-2:] == ["b", "cross_entropy"]
    head = observe(model, normal(SAMPLES, WIDTH), target=labels()).logits_std
    assert seen.logits_std == pytest.approx(head, rel=1e-3)


def test_without_a_loss_a_random_direction_of_unit_length_comes_back() -> None:
    seen = observe(function_model(), normal(SAMPLES, WIDTH))
    delta = seen.readings[-1].delta_square_per_sample
    assert (seen.cotangent, seen.loss) == ("random", None)
    assert delta is not None and delta.value * SAMPLES == pytest.approx(1, rel=1e-5)


def test_parameters_that_nothing_reaches_and_those_that_wake() -> None:
    def run(parameters: Any, x: Array) -> Array:
        stopped = jax.lax.stop_gradient(x @ parameters["stopped"])
        low = x @ parameters["lora_a"] @ parameters["lora_b"]
        return (x @ parameters["w"] + low + stopped) @ parameters["head"]

    square = jnp.asarray(normal(WIDTH, WIDTH) / 5)
    parameters = {
        "w": square,
        "lora_a": square[:, :4],
        "lora_b": jnp.zeros((4, WIDTH)),
        "stopped": square + 0.1,
        "unused": square + 0.2,
        "head": square[:, :CLASSES],
    }
    seen = observe((run, parameters), normal(SAMPLES, WIDTH), target=labels())
    assert reading_of(seen, "unused").gradient_rms is None
    assert reading_of(seen, "stopped").gradient_rms is None
    assert reading_of(seen, "lora_a").gradient_rms == 0
    assert reading_of(seen, "lora_a").zero_gradient_at_start_only
    assert reading_of(seen, "lora_b").gradient_rms
    assert not reading_of(seen, "w").zero_gradient_at_start_only


@pytest.mark.parametrize(("optimizer", "ratio"), [(optax.sgd(0.1), None), (optax.adam(1e-3), 1e-3)])
def test_the_first_update_of_an_optimizer(optimizer: Any, ratio: float | None) -> None:
    seen = observe(function_model(), normal(SAMPLES, WIDTH), target=labels(), optimizer=optimizer)
    weight = reading_of(seen, "a.w")
    assert weight.gradient_rms and weight.update_ratio
    moved = 0.1 * weight.gradient_rms if ratio is None else ratio
    # Adam divides by |g| + 1e-8, and gradients are about 1e-3.
    assert weight.update_ratio == pytest.approx(moved / weight.value_rms, rel=1e-3)
    assert reading_of(seen, "a.b").update_ratio is None


# Types, compiling, touching ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits(dtype: str) -> None:
    function, parameters = function_model()
    halved = jax.tree.map(lambda a: a.astype(dtype), parameters)
    x, y = normal(SAMPLES, WIDTH), labels()
    full = observe((function, parameters), x, target=y)
    half = observe((function, halved), jnp.asarray(x, dtype), target=y)
    assert half.dtype == dtype
    for a, b in zip(half.readings, full.readings, strict=True):
        assert a.second_moment and b.second_moment and a.delta_mean_square and b.delta_mean_square
        # Eight bits of a number, averaged over thousands.
        assert a.second_moment.value == pytest.approx(b.second_moment.value, rel=1e-2)
        assert a.delta_mean_square.value == pytest.approx(b.delta_mean_square.value, rel=5e-2)


COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _seconds, **_: COMPILED.append(event) if "backend_compile" in event else None
)


def test_a_second_look_compiles_nothing() -> None:
    model, x, y = Mlp(), normal(SAMPLES, WIDTH), labels()
    adapter = JaxAdapter()
    first = observe(model, x, target=y)
    adapter.write(model, [(n, v * np.float32(1.5)) for n, v in adapter.values(model)])
    COMPILED.clear()
    second = observe(model, x, target=y)
    assert (len(COMPILED), second.loss == first.loss) == (0, False)
    observe(Mlp(depth=2), x, target=y)  # the test can fail: another network is compiled
    assert COMPILED


def test_rules_of_one_name_that_close_over_other_numbers_stay_apart() -> None:
    def reversal(factor: float) -> Any:
        @jax.custom_vjp
        def reverse(x: Array) -> Array:
            return x

        reverse.defvjp(lambda x: (x, None), lambda _, d: (factor * d,))

        def run(parameters: Any, x: Array) -> Array:
            return reverse(jnp.tanh(x @ parameters["a"])) @ parameters["b"]

        weights = {"a": jnp.asarray(normal(WIDTH, WIDTH)), "b": jnp.asarray(normal(WIDTH, 5))}
        return run, weights

    x, y = normal(SAMPLES, WIDTH), labels()
    rms = [reading_of(observe(reversal(f), x, target=y), "a").gradient_rms for f in (-1.0, -3.0)]
    assert rms[0] and rms[1] == pytest.approx(3 * rms[0], rel=1e-5)


def test_looking_does_not_touch() -> None:
    class Noisy(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.layer, self.norm = nnx.Linear(WIDTH, 16, rngs=rngs), nnx.BatchNorm(16, rngs=rngs)
            self.drop, self.head = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(16, 5, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            return self.head(self.drop(nnx.relu(self.norm(self.layer(x)))))

    model = Noisy(nnx.Rngs(0))
    model.eval()

    def state() -> list[Any]:
        leaves = [
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
            for leaf in jax.tree.leaves(nnx.state(model))
        ]
        held = [id(leaf) for leaf in jax.tree.leaves(nnx.state(model))]
        flags = [model.norm.use_running_average, model.drop.deterministic]
        return [np.asarray(leaf).tobytes() for leaf in leaves] + held[:1] + flags

    x, before = jnp.asarray(normal(SAMPLES, WIDTH)), state()
    first = observe(model, x, target=labels())
    again = observe(model, x, target=labels())
    lent = [(name, 2 * value) for name, value in JaxAdapter().values(model)]
    tried = JaxAdapter().trial(model, lent, x, target=labels())
    assert state() == before
    assert np.array_equal(x, normal(SAMPLES, WIDTH))
    assert first == again
    assert reading_of(tried, "layer.kernel").value_rms == pytest.approx(
        2 * reading_of(first, "layer.kernel").value_rms
    )


# Wrong input -------------------------------------------------------------------------------------


def broken_model(parameters: Any, x: Array) -> Array:
    if x.sum() > 0:
        return x @ parameters["w"]
    return x @ parameters["w"].T


@pytest.mark.parametrize(
    ("model", "how", "error", "words"),
    [
        (function_model(), {"target": np.full(SAMPLES, 9, np.int32)}, BadInputError, "class 9"),
        (function_model(), {"target": labels()[:7]}, BadInputError, "fits no loss"),
        (function_model(), {"loss": "mse", "target": labels()}, BadInputError, "does not fit"),
        (function_model(), {"loss": "msse", "target": labels()}, BadInputError, "did you mean"),
        (function_model(), {"loss": "mse"}, BadInputError, "target: missing"),
        (function_model(), {"loss": lambda o, t: o, "target": labels()}, BadInputError, "scalar"),
        (
            function_model(),
            {"loss": lambda o, t: o + jnp.ones(7), "target": labels()},
            BadInputError,
            "loss: raised",
        ),
        (function_model(), {"step": lambda m, b: b}, BadInputError, "step: must return a scalar"),
        (function_model(), {"target": labels(), "optimizer": 3}, BadInputError, "optax"),
        (function_model(a={"w": jnp.ones((3, 4))}), {}, ModelRaisedError, "raised"),
        ((broken_model, {"w": jnp.ones((WIDTH, WIDTH))}), {}, ModelRaisedError, "Tracer"),
    ],
)
def test_wrong_input_is_one_line(model: Any, how: Any, error: Any, words: str) -> None:
    with pytest.raises(error) as raised:
        observe(model, normal(SAMPLES, WIDTH), **how)
    assert words in str(raised.value) and "\n" not in str(raised.value)
