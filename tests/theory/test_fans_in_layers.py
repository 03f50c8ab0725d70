"""Fans against simulation through real layers, forward and backward."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fan_layouts import grouped, transposed

from firstlight.records.network import Layout, plain_layout
from firstlight.theory.fans import fans

torch = pytest.importorskip("torch")
nn = torch.nn

DRAWS = 24


def layer_cases():
    no = {"bias": False}
    return {
        "linear expanding": (nn.Linear(24, 96, **no), (24,), plain_layout((96, 24))),
        "linear contracting": (nn.Linear(96, 24, **no), (96,), plain_layout((24, 96))),
        "conv1d": (nn.Conv1d(8, 24, 5, **no), (8, 60), plain_layout((24, 8, 5))),
        "conv2d": (nn.Conv2d(24, 8, 3, **no), (24, 18, 18), plain_layout((8, 24, 3, 3))),
        "conv3d": (nn.Conv3d(4, 12, 3, **no), (4, 10, 10, 10), plain_layout((12, 4, 3, 3, 3))),
        "strided": (nn.Conv2d(8, 24, 4, 2, **no), (8, 26, 26), plain_layout((24, 8, 4, 4))),
        "strided, k odd": (nn.Conv2d(8, 16, 3, 2, **no), (8, 31, 31), plain_layout((16, 8, 3, 3))),
        "dilated": (nn.Conv1d(8, 24, 3, dilation=2, **no), (8, 60), plain_layout((24, 8, 3))),
        "grouped": (nn.Conv2d(8, 32, 3, groups=4, **no), (8, 18, 18), grouped(4, 8, 2, 3, 3)),
        "depthwise": (nn.Conv2d(16, 64, 3, groups=16, **no), (16, 18, 18), grouped(16, 4, 1, 3, 3)),
        "transposed": (nn.ConvTranspose2d(24, 8, 3, **no), (24, 9, 9), transposed(1, 24, 8, 3, 3)),
        "transposed, s 2": (
            nn.ConvTranspose2d(24, 8, 4, 2, **no), (24, 14, 14), transposed(1, 24, 8, 4, 4)),
        "transposed, k odd": (
            nn.ConvTranspose2d(8, 8, 3, 2, **no), (8, 16, 16), transposed(1, 8, 8, 3, 3)),
        "transposed, grouped": (
            nn.ConvTranspose1d(32, 16, 4, 2, groups=4, **no), (32, 50), transposed(4, 8, 4, 4)),
    }  # fmt: skip


def interior(array, margin, period):
    """Away from the borders, and a whole number of stride periods."""
    for axis in range(2, array.ndim):
        length = (array.shape[axis] - 2 * margin) // period * period
        array = np.take(array, np.arange(margin, margin + length), axis=axis)
    return array


def simulate(layer, shape, margin, period):
    """Mean squares of interior outputs and input gradients: mean and standard error over draws."""
    outputs, gradients = [], []
    for seed in range(DRAWS):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            layer.weight.normal_(generator=generator)
        x = torch.randn(8, *shape, generator=generator, requires_grad=True)
        y = layer(x)
        delta = torch.randn(y.shape, generator=generator)
        (gradient,) = torch.autograd.grad(y, x, delta)
        outputs.append(np.mean(interior(y.detach().numpy(), margin, period) ** 2))
        gradients.append(np.mean(interior(gradient.numpy(), margin, period) ** 2))
    return [(np.mean(v), np.std(v, ddof=1) / math.sqrt(DRAWS)) for v in (outputs, gradients)]


@pytest.mark.parametrize("name", layer_cases())
def test_real_layers(name):
    layer, shape, layout = layer_cases()[name]
    stride = tuple(getattr(layer, "stride", ()))
    back = "Transpose" in type(layer).__name__
    rule = fans(layout, stride=stride, transposed=back)
    step = stride[0] if stride else 1
    margin = 0 if not stride else (layout.kernel[0] - 1) * layer.dilation[0]
    (forward, forward_error), (backward, backward_error) = simulate(layer, shape, margin, step)
    assert abs(forward - rule.forward) < 4.5 * forward_error
    assert abs(backward - rule.backward) < 4.5 * backward_error
    # Counter-tests: the tolerance must refuse swapped fans, and a forgotten stride or group.
    wrong = [(rule.backward, rule.forward)] if rule.forward != rule.backward else []
    stacked, phases = layout.matrix[0], math.prod(stride)
    if phases > 1:
        wrong.append((rule.forward * phases, rule.backward * phases))
    if stacked > 1:
        wrong.append((rule.forward * stacked, rule.backward * stacked))
    for forward_wrong, backward_wrong in wrong:
        assert (
            abs(forward - forward_wrong) > 4.5 * forward_error
            or abs(backward - backward_wrong) > 4.5 * backward_error
        )
    assert 4.5 * forward_error < 0.2 * forward
    assert 4.5 * backward_error < 0.2 * backward


def test_embedding_looks_one_row_up():
    rule = fans(Layout(shape=(50, 400), view=(50, 400), roles=("index", "out")))
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 400, generator=generator)
    one_hot = torch.nn.functional.one_hot(torch.arange(50)).float().requires_grad_()
    y = one_hot @ weight
    (gradient,) = torch.autograd.grad(y, one_hot, torch.randn(y.shape, generator=generator))
    # χ² of 20,000 values; the gradient's 2,500 entries are sums over 400 products.
    assert y.square().mean().item() == pytest.approx(rule.forward, rel=5 * math.sqrt(2 / 20_000))
    assert gradient.square().mean().item() == pytest.approx(rule.backward, rel=0.25)
