"""Learning rates by length: the substitution that they come from, and when a plan asks for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import firstlight as fl
from firstlight.planning.rates import bias_rate, relative_rate
from firstlight.records.network import ActivationRef

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import ten_thousand as benchmark

LENGTH, WIDTH, DEPTH = 0.01, 8, 6


def _forward(parameters, x, phi):
    *inner, last, last_bias = parameters
    h = x
    for weight, bias in zip(inner[::2], inner[1::2], strict=True):
        h = phi(functional.linear(h, weight, bias))
    return functional.linear(h, last, last_bias)


def _kinds():
    for layer in range(DEPTH):
        yield "first weight" if layer == 0 else "inner weight"
        yield "bias"
    yield "last weight"
    yield None  # its bias is no part of the chain: logits are in no unit of length


def _train(parameters, phi, rates, optimizer, steps=8):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(16, WIDTH, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (16,), generator=generator)
    groups = [{"params": [p], "lr": r} for p, r in zip(parameters, rates, strict=True)]
    options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {"eps": 1e-30}
    stepper = optimizer(groups, **options)
    for _ in range(steps):
        stepper.zero_grad()
        functional.cross_entropy(_forward(parameters, x, phi), y).backward()
        stepper.step()
    return _forward(parameters, x, phi).detach()


@pytest.mark.parametrize(
    ("optimizer", "rate"), [(torch.optim.SGD, 0.05), (torch.optim.Adam, 0.01)], ids=["sgd", "adam"]
)
def test_with_these_rates_a_short_signal_trains_as_one_of_unit_length(optimizer, rate):
    """Both networks are trained for real; their logits stay equal to rounding."""
    generator = torch.Generator().manual_seed(0)
    shapes = [s for _ in range(DEPTH) for s in ((WIDTH, WIDTH), (WIDTH,))] + [(3, WIDTH), (3,)]
    unit = [torch.randn(s, generator=generator, dtype=torch.float64) / WIDTH**0.5 for s in shapes]
    root = LENGTH**0.5
    factors = {"first weight": root, "inner weight": 1, "bias": root, "last weight": 1 / root}
    short = [p * factors.get(kind, 1) for p, kind in zip(unit, _kinds(), strict=True)]
    adaptive = optimizer is torch.optim.Adam
    rates = [
        rate if kind is None else rate * relative_rate(kind, LENGTH, adaptive=adaptive)
        for kind in _kinds()
    ]
    leaves = [[p.clone().requires_grad_() for p in ps] for ps in (unit, short, short)]
    wanted = _train(leaves[0], lambda z: torch.tanh(root * z) / root, [rate] * len(unit), optimizer)
    got = _train(leaves[1], torch.tanh, rates, optimizer)
    at_one_rate = _train(leaves[2], torch.tanh, [rate] * len(unit), optimizer)
    assert torch.allclose(got, wanted, rtol=0, atol=1e-9)
    assert (at_one_rate - wanted).abs().max() > 1e-2


def test_biases_outgrow_weights_as_the_length_falls():
    """‖∂b‖ / ‖∂W‖ for one sample is 1/√(n·q): the threshold's reason, measured with torch."""
    model = benchmark.network(benchmark.Task(activation="tanh", biases=True), 40)
    x, y, *_ = benchmark.digits()
    fl.plan(model, x[:64]).apply(model, seed=0)
    for factor in (1.0, 0.01):
        with torch.no_grad():
            model[0].weight.mul_(factor)
        h = model[:40](x[:1]).detach()
        model.zero_grad()
        functional.cross_entropy(model(x[:1]), y[:1]).backward()
        ratio = model[40].bias.grad.norm() / model[40].weight.grad.norm()
        assert ratio.item() == pytest.approx(1 / h.norm().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "depth", "fan_in", "asked"),
    [
        ("tanh", 10_000, 64, True),
        ("tanh", 1000, 64, False),
        ("tanh", 1000, 16, True),
        ("relu", 10_000, 64, False),
        ("sigmoid", 10_000, 2, False),
    ],
)
def test_only_where_biases_would_take_most_of_a_step(name, depth, fan_in, asked):
    rate = bias_rate(ActivationRef(name=name), depth, fan_in)
    assert (rate < 1 / fan_in) if asked else (rate == 1)


@pytest.mark.parametrize(("biases", "trainable"), [(True, True), (False, True), (True, False)])
def test_a_plan_says_so_where_there_are_such_biases(biases, trainable):
    layers = [m for _ in range(60) for m in (nn.Linear(4, 4, bias=biases), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(4, 2))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable or not name.endswith("bias"))
    plan = fl.plan(model, torch.randn(16, 4))
    length = bias_rate(ActivationRef(name="tanh"), 60, 4)
    asked = [r for r in plan.remarks if f"lr × {length:.2g}" in r]
    assert len(asked) == (biases and trainable)
    assert len(plan.rates) == 59 * (biases and trainable)
    groups = plan.param_groups("sgd", model, lr=0.5)
    slow = [g for g in groups if g["lr"] != 0.5]
    assert [len(g["params"]) for g in slow] == [59] * (biases and trainable)
    assert all(g["lr"] == pytest.approx(0.5 * length) for g in slow)


def test_300_plain_relu_layers_learn_and_hes_start_does_not():
    data = benchmark.digits()
    task, reached = benchmark.Task(activation="relu", biases=True), {}
    for start, steps in (("plan", 40), ("he_normal", 10)):
        model = benchmark.started(task, 300, start, data[0], seed=0)
        looks = benchmark.train(
            model, data, rate=0.01, bias_rate=1.0, steps=steps, seconds=float("inf"), seed=0
        )
        reached[start] = list(looks)[-1].accuracy
    # Chance is 10 %; 450 held-out digits have a standard deviation of 1.4 points there.
    assert reached["he_normal"] < 0.3
    assert reached["plan"] > 0.7
