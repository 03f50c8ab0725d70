"""What the variances are for: the second moment that comes out of a real layer.

Inputs N(0, 1) (or what an activation makes of them), outputs of the interior, where no padding and
no border takes terms away; four draws of weights and inputs each. The standard error has three
parts: that of the mean over samples, which are independent given the weights; √(2/n) of the n
weights; and, where inputs have a mean m, the row sums of the weights, of which there are only as
many as units: m²/E[x²] · √(2/units).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from shared_cases import CASES, SIGMAS, Case, draw_into
from torch import Tensor, nn
from torch.nn.functional import gelu, relu

from firstlight.initializers import technique

SEEDS = range(4)
SAMPLES = {"expanding": 256, "contracting": 256, "grouped": 6, "transposed": 8}
UNITS = {"expanding": 400, "contracting": 150, "grouped": 256, "transposed": 32 * 4}
"""Rows of weights with sums of their own; a stride of 2 × 2 has four sets of taps per channel."""

Measured = tuple[float, float]
Fill = Callable[[int], object]


def inputs(layer: str, seed: int) -> Tensor:
    module, n = CASES[layer].layer, SAMPLES[layer]
    generator = torch.Generator().manual_seed(seed)
    if isinstance(module, nn.Linear):
        return torch.randn(n, module.in_features, generator=generator)
    size = 10 if isinstance(module, nn.ConvTranspose2d) else 14
    return torch.randn(n, module.in_channels, size, size, generator=generator)


def interior(y: Tensor, margin: int) -> Tensor:
    return y[..., margin:-margin, margin:-margin] if y.ndim == 4 else y


def mean_over_draws(run: Callable[[int], Tensor], weights: int) -> Measured:
    """Mean square and its standard error, but for what the inputs' mean adds."""
    squares = [run(seed).double().square().flatten(1).mean(1) for seed in SEEDS]
    mean = float(np.mean([s.mean() for s in squares]))
    over_samples = float(np.mean([s.var() / len(s) for s in squares]))
    return mean, ((over_samples + 2 / weights * mean**2) / len(SEEDS)) ** 0.5


def same_for_all(name: str, layer: str, **options: Any) -> Fill:
    return lambda seed: draw_into(technique(name), CASES[layer].layer, seed=seed, **options)


@torch.no_grad()
def forward(layer: str, fill: Fill, feed: Callable[[Tensor], Tensor] = lambda x: x) -> Measured:
    module = CASES[layer].layer
    # Outputs nearer to the border than the kernel's size miss some of their terms.
    margin = 3 if isinstance(module, nn.ConvTranspose2d) else 1

    def run(seed: int) -> Tensor:
        fill(seed)
        return interior(module(feed(inputs(layer, seed))), margin)

    mean, error = mean_over_draws(run, module.weight.numel())
    x = feed(inputs(layer, 0))
    from_mean = mean * float(x.mean() ** 2 / x.square().mean()) * (2 / UNITS[layer]) ** 0.5
    return mean, (error**2 + from_mean**2 / len(SEEDS)) ** 0.5


def backward(layer: str, fill: Fill) -> Measured:
    """Second moment of the input's gradient for an output gradient of N(0, 1)."""
    module = CASES[layer].layer
    margin = 1 if isinstance(module, nn.ConvTranspose2d) else 2

    def run(seed: int) -> Tensor:
        fill(seed)
        x = inputs(layer, seed).requires_grad_()
        y = module(x)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(100 + seed)))
        assert x.grad is not None
        return interior(x.grad, margin)

    return mean_over_draws(run, module.weight.numel())


def agrees(measured: Measured, expected: float) -> bool:
    return abs(measured[0] - expected) < SIGMAS * measured[1]


FORWARD: list[tuple[str, dict[str, Any], Callable[[Tensor], Tensor], float]] = [
    ("he_normal", {}, relu, 1.0),
    ("he_uniform", {}, relu, 1.0),
    ("he_truncated_normal", {}, relu, 1.0),
    ("he_normal", {}, lambda x: x, 2.0),
    ("he_normal", {"slope": 0.5}, lambda x: nn.functional.leaky_relu(x, 0.5), 1.0),
    ("lecun_normal", {}, lambda x: x, 1.0),
    ("lecun_uniform", {}, lambda x: x, 1.0),
    ("lecun_truncated_normal", {}, lambda x: x, 1.0),
    ("lecun_normal", {}, nn.functional.selu, 1.0),
    ("activation_gain", {"activation": "gelu"}, gelu, 1.0),
    ("activation_gain", {"activation": "silu"}, nn.functional.silu, 1.0),
    ("orthogonal", {"preserve": True}, lambda x: x, 1.0),
]


@pytest.mark.parametrize("layer", CASES)
@pytest.mark.parametrize(
    ("name", "options", "feed", "expected"),
    FORWARD,
    ids=[f"{f[0]}-{i}" for i, f in enumerate(FORWARD)],
)
def test_forward(
    name: str,
    options: dict[str, Any],
    feed: Callable[[Tensor], Tensor],
    expected: float,
    layer: str,
) -> None:
    measured = forward(layer, same_for_all(name, layer, **options), feed)
    assert agrees(measured, expected), measured
    # The test has the power to see the nearest wrong gain: GELU's 1.534 for ReLU's √2, 18 % in
    # the second moment.
    assert not agrees(measured, expected * 1.17)
    assert not agrees(measured, expected / 1.17)


@pytest.mark.parametrize("layer", CASES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("variance_scaling", {"scale": 1.0, "mode": "fan_out"}),
        ("activation_gain", {"activation": "linear", "direction": "backward"}),
    ],
)
def test_backward(name: str, options: dict[str, Any], layer: str) -> None:
    measured = backward(layer, same_for_all(name, layer, **options))
    assert agrees(measured, 1.0), measured
    assert not agrees(measured, 1.17)


@pytest.mark.parametrize("layer", CASES)
def test_glorot_holds_the_harmonic_mean_of_both_directions(layer: str) -> None:
    """fan_in · v and fan_out · v with v = 2/(fan_in + fan_out): they add to two."""
    case = CASES[layer]
    fill = same_for_all("glorot_normal", layer)
    there, back = forward(layer, fill), backward(layer, fill)
    assert agrees(there, 2 * case.fan_in / (case.fan_in + case.fan_out))
    assert agrees(back, 2 * case.fan_out / (case.fan_in + case.fan_out))


@pytest.mark.parametrize(
    ("mistake", "name", "options", "factor"),
    [
        ("LeCun for He", "lecun_normal", {}, lambda c: 1 / 2),
        ("fan_out for fan_in", "he_normal", {"mode": "fan_out"}, lambda c: c.fan_in / c.fan_out),
        (
            "fan_avg for fan_in",
            "he_normal",
            {"mode": "fan_avg"},
            lambda c: 2 * c.fan_in / (c.fan_in + c.fan_out),
        ),
    ],
)
@pytest.mark.parametrize("layer", CASES)
def test_a_wrong_law_is_seen_in_the_output(
    mistake: str, name: str, options: dict[str, Any], factor: Callable[[Case], float], layer: str
) -> None:
    measured = forward(layer, same_for_all(name, layer, **options), relu)
    assert not agrees(measured, 1.0), mistake
    assert agrees(measured, factor(CASES[layer]))


def test_torchs_own_fans_miss_in_a_transposed_convolution() -> None:
    layer = CASES["transposed"].layer

    def fill(seed: int) -> None:
        nn.init.kaiming_normal_(layer.weight, generator=torch.Generator().manual_seed(seed))

    measured = forward("transposed", fill, relu)
    assert not agrees(measured, 1.0)
    assert agrees(measured, 384 / 512)


def test_orthogonal_without_preserve_loses_what_widening_adds() -> None:
    measured = forward("expanding", same_for_all("orthogonal", "expanding"))
    assert agrees(measured, 150 / 400)
    assert not agrees(measured, 1.0)


def test_gelu_moment_of_the_contract() -> None:
    """E[gelu(z)²] by a trapezoid on ±12: the constant that test_contract uses."""
    from test_contract import GELU_SECOND_MOMENT

    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / (2 * torch.pi) ** 0.5
    assert torch.trapezoid(gelu(z) ** 2 * density, z).item() == pytest.approx(
        GELU_SECOND_MOMENT, abs=1e-8
    )


@pytest.mark.parametrize("q", [0.25, 4.0])
def test_activation_gain_at_another_operating_point(q: float) -> None:
    """Pre-activations of second moment q come back as pre-activations of second moment q."""

    def feed(x: Tensor) -> Tensor:
        return torch.tanh(q**0.5 * x)

    fill = same_for_all("activation_gain", "expanding", activation="tanh", q=q)
    measured = forward("expanding", fill, feed)
    assert agrees(measured, q)
    assert not agrees(measured, q * 1.17)
    at_one = same_for_all("activation_gain", "expanding", activation="tanh", q=1.0)
    assert not agrees(forward("expanding", at_one, feed), q)


def test_activation_gain_takes_a_function() -> None:
    def activation(x: Any) -> Any:
        return 3 * x**3

    fill = same_for_all("activation_gain", "contracting", activation=activation)
    measured = forward("contracting", fill, activation)
    assert agrees(measured, 1.0)
    assert not agrees(measured, 1.17)
