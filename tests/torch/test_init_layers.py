"""Realised laws in real torch layers: torch's own where it is right, the effective fan elsewhere.

Each row of `WRONG` is a case of docs/drop_ins.md: what torch's function makes of the layer's signal
or gradient, and what ours makes of it once it is told about the layer.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import init as torch_init

import firstlight.torch as init

P_LIMIT = 1e-4
SIGMAS = 5


def _alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Mean, variance, fourth moment and KS of two samples of one law, within what chance allows."""
    a, b = (w.detach().flatten().double() for w in (ours, theirs))
    assert a.shape == b.shape
    for power in (1, 2, 4):
        x, y = a**power, b**power
        noise = math.sqrt(float(x.var() + y.var()) / len(a))
        assert abs(float(x.mean() - y.mean())) < SIGMAS * noise, power
    assert stats.ks_2samp(a.numpy(), b.numpy()).pvalue > P_LIMIT


LAYERS = {
    "Linear": lambda: nn.Linear(300, 200),
    "Conv1d": lambda: nn.Conv1d(40, 60, 5),
    "Conv2d": lambda: nn.Conv2d(30, 40, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(40, 30, 3),
    "depthwise": lambda: nn.Conv2d(400, 400, 7, groups=400),
}
LAWS = {
    "uniform_": {"a": -0.1, "b": 0.3},
    "normal_": {"mean": 0.1, "std": 0.02},
    "trunc_normal_": {"std": 0.02, "a": -0.04, "b": 0.03},
    "xavier_uniform_": {"gain": 1.3},
    "xavier_normal_": {},
    "kaiming_uniform_": {"a": math.sqrt(5)},
    "kaiming_normal_": {"mode": "fan_out", "nonlinearity": "relu"},
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", LAWS)
def test_the_law_is_torchs_where_nothing_is_said_of_the_layer(layer, name):
    ours, theirs = LAYERS[layer]().weight, LAYERS[layer]().weight
    _alike(getattr(init, name)(ours, **LAWS[name]), getattr(torch_init, name)(theirs, **LAWS[name]))


def test_another_law_would_be_seen():
    weight = torch.empty(200, 300)
    with pytest.raises(AssertionError):
        _alike(init.kaiming_normal_(weight.clone(), a=0.3), torch_init.kaiming_normal_(weight))


@pytest.mark.parametrize("layer", ["Linear", "Conv1d", "Conv2d"])
def test_torchs_own_start_of_a_layer_can_be_drawn(layer):
    ours, theirs = LAYERS[layer](), LAYERS[layer]()
    default = init.torch_linear_ if layer == "Linear" else init.torch_conv_
    _alike(default(ours.weight), theirs.weight)


def test_orthogonal_and_sparse_through_a_layer():
    ours, theirs = nn.Linear(120, 90), nn.Linear(120, 90)
    for name, options in (("orthogonal_", {"gain": 2.0}), ("sparse_", {"sparsity": 0.3})):
        getattr(init, name)(ours.weight, **options)
        getattr(torch_init, name)(theirs.weight, **options)
        one, two = (float((layer.weight.detach() ** 2).sum()) for layer in (ours, theirs))
        assert one == pytest.approx(two, rel=SIGMAS * 2 / math.sqrt(ours.weight.numel()))


def _forward(layer, shape):
    """E y² over E x² away from the borders, x white."""
    with torch.no_grad():
        y = layer(torch.randn(16, layer.in_channels, *shape))
    inner = y[(..., *(slice(8, -8) for _ in shape))]
    return float(inner.square().mean())


def _backward(layer, shape):
    """E g² of the input over that of the output."""
    x = torch.zeros(16, layer.in_channels, *shape, requires_grad=True)
    y = layer(x)
    y.backward(torch.randn(y.shape))
    return float(x.grad[(..., *(slice(8, -8) for _ in shape))].square().mean())


LINEAR = {"nonlinearity": "linear"}
BACK = {"nonlinearity": "linear", "mode": "fan_out"}
WRONG = {
    "depthwise, fan_out: torch divides by all channels (pytorch#23854, timm#84)": (
        lambda: nn.Conv2d(256, 256, 3, groups=256, bias=False),
        BACK,
        {"groups": 256},
        partial(_backward, shape=(24, 24)),
        1 / 256,
    ),
    "grouped, fan_out": (
        lambda: nn.Conv1d(128, 256, 5, groups=4, bias=False),
        BACK,
        {"groups": 4},
        partial(_backward, shape=(64,)),
        1 / 4,
    ),
    "transposed, fan_in: torch divides by the outputs (pytorch#7865)": (
        lambda: nn.ConvTranspose1d(256, 64, 4, bias=False),
        LINEAR,
        {"transposed": True},
        partial(_forward, shape=(64,)),
        256 / 64,
    ),
    "transposed with a stride: each output has kernel/stride taps": (
        lambda: nn.ConvTranspose2d(96, 96, 4, stride=2, bias=False),
        LINEAR,
        {"transposed": True, "stride": 2},
        partial(_forward, shape=(24, 24)),
        1 / 4,
    ),
    "a strided convolution, fan_out": (
        lambda: nn.Conv1d(128, 128, 4, stride=2, bias=False),
        BACK,
        {"stride": 2},
        partial(_backward, shape=(64,)),
        1 / 2,
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_torch_gets_wrong_of_convolutions(what):
    make, options, told, measure, torchs = WRONG[what]
    layer = make()
    # One weight matrix decides: its squares average to within √(2/n), products of x to less.
    tolerance = SIGMAS * 2 * math.sqrt(2 / min(layer.weight.numel(), 16 * 256))
    torch_init.kaiming_normal_(layer.weight, **options)
    assert measure(layer) == pytest.approx(torchs, rel=tolerance)
    init.kaiming_normal_(layer.weight, **options, **told)
    assert measure(layer) == pytest.approx(1, rel=tolerance)


def test_packed_projections_of_attention():
    """torch's Glorot counts 3E outputs (pytorch#166378): std √(1/2E) instead of √(1/E)."""
    width = 256
    attention = nn.MultiheadAttention(width, 8)
    weight = attention.in_proj_weight
    tolerance = SIGMAS * math.sqrt(2 / weight.numel())
    assert float(weight.detach().square().mean()) * width == pytest.approx(1 / 2, rel=tolerance)
    init.xavier_uniform_(weight, packed="qkv")
    assert float(weight.detach().square().mean()) * width == pytest.approx(1, rel=tolerance)
    separate = nn.MultiheadAttention(width, 8, kdim=width, vdim=width + 1)
    _alike(weight[:width], separate.q_proj_weight)


def test_packed_isometries_are_one_for_each_matrix():
    weight = init.orthogonal_(torch.empty(48, 16), packed="qkv").double()
    for part in weight.split(16):
        assert torch.allclose(part @ part.T, torch.eye(16).double(), atol=1e-6)
    lumped = torch_init.orthogonal_(torch.empty(48, 16))[:16]
    assert not torch.allclose(lumped @ lumped.T, torch.eye(16), atol=0.1)


def test_truncation_that_leaves_less_than_was_asked():
    """trunc_normal_ keeps torch's law on purpose; `corrected` gives the std that is named."""
    w = torch.empty(400, 500)
    tolerance = SIGMAS / math.sqrt(2 * w.numel())
    for module in (torch_init, init):
        std = float(module.trunc_normal_(w, std=0.02, a=-0.04, b=0.04).std())
        assert std / 0.02 == pytest.approx(0.8796256610, rel=tolerance)
        assert float(module.trunc_normal_(w, std=0.02).abs().max()) > 0.08  # ±2 is ±100σ
    corrected = init.trunc_normal_(w, std=0.02, corrected=True)
    assert float(corrected.std()) / 0.02 == pytest.approx(1, rel=tolerance)
    assert float(init.truncated_normal_(w, std=0.02).std()) / 0.02 == pytest.approx(
        1, rel=tolerance
    )
