"""Techniques that shape the whole matrix: what must hold exactly, in real layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from shared_cases import CASES, P_LIMIT, draw_into
from torch import nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import technique
from firstlight.laws.draw import draw

EXACT = 2e-5  # float32 elements of orthonormal rows, up to a few hundred terms


def groups_of(layer: nn.Module) -> list[np.ndarray]:
    """Each group's (out, in, kernel) array, sliced by hand from the stored weight."""
    w = layer.weight.detach().numpy()
    if isinstance(layer, nn.ConvTranspose2d):
        return [np.swapaxes(part, 0, 1) for part in np.split(w, layer.groups, axis=0)]
    return np.split(w, getattr(layer, "groups", 1), axis=0)


def is_isometry(matrix: np.ndarray, gain: float) -> bool:
    """Whether rows (of a wide matrix) or columns are orthogonal and of length ``gain``."""
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    return bool(np.allclose(gram, gain**2 * np.eye(min(rows, columns)), atol=EXACT * gain**2))


@pytest.mark.parametrize("layer", CASES)
def test_orthogonal_in_each_group(layer: str) -> None:
    module = CASES[layer].layer
    draw_into(technique("orthogonal", gain=1.5), module)
    for group in groups_of(module):
        assert is_isometry(group.reshape(group.shape[0], -1), 1.5)
    assert not is_isometry(groups_of(module)[0].reshape(group.shape[0], -1)[::2, ::2], 1.5)


def test_orthogonal_is_uniform_over_rotations() -> None:
    """Any coordinate of a Haar column follows the Beta law of the sphere."""
    layer = nn.Linear(60, 60, bias=False)
    values = draw_into(technique("orthogonal"), layer).astype(np.float64)
    # (1 + w)/2 ~ Beta((n − 1)/2, (n − 1)/2); elements of one matrix are weakly dependent, by
    # 1/n, which makes the test conservative.
    half = (60 - 1) / 2
    assert stats.kstest((1 + values.ravel()) / 2, stats.beta(half, half).cdf).pvalue > P_LIMIT


def test_orthogonal_corner_has_either_sign() -> None:
    """QR without the correction of signs would give the first element the same sign always."""
    layer = nn.Linear(6, 6, bias=False)
    corners = [draw_into(technique("orthogonal"), layer, seed=s)[0, 0] for s in range(60)]
    positive = sum(corner > 0 for corner in corners)
    assert abs(positive - 30) < 5 * (60 / 4) ** 0.5  # Binomial(60, ½)


@pytest.mark.parametrize(
    ("layer", "kept"), [("expanding", 150 / 400), ("contracting", 1.0), ("grouped", 1.0)]
)
def test_orthogonal_passes_the_share_that_fits(layer: str, kept: float) -> None:
    case = CASES[layer]
    plain = draw_into(technique("orthogonal"), case.layer).astype(np.float64)
    # E[y²] for unit inputs = fan_in · mean(w²), exact for an isometry.
    assert case.fan_in * (plain**2).mean() == pytest.approx(kept, rel=1e-5)


@pytest.mark.parametrize("layer", CASES)
def test_preserve_keeps_the_second_moment_whatever_the_shape(layer: str) -> None:
    case = CASES[layer]
    values = draw_into(technique("orthogonal", preserve=True), case.layer).astype(np.float64)
    assert case.fan_in * (values**2).mean() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("kernel", [3, 4])
def test_delta_orthogonal(kernel: int) -> None:
    layer = nn.Conv2d(24, 40, kernel, bias=False)
    values = draw_into(technique("delta_orthogonal", gain=2.0), layer)
    centre = kernel // 2
    assert is_isometry(values[:, :, centre, centre], 2.0)
    values[:, :, centre, centre] = 0
    assert not values.any()


def test_delta_orthogonal_convolution_keeps_every_norm() -> None:
    layer = nn.Conv1d(8, 8, 3, padding=1, padding_mode="circular", bias=False)
    draw_into(technique("delta_orthogonal"), layer)
    x = torch.randn(4, 8, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(layer(x).square().sum((1, 2)), x.square().sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Hardswish()])
def test_mirrored_chain_is_exactly_linear(activation: nn.Module) -> None:
    """Outputs mirrored first, both sides inside, inputs last: norms pass 30 layers unchanged."""
    n, depth = 16, 30
    first = nn.Linear(n, 2 * n, bias=False)
    inner = [nn.Linear(2 * n, 2 * n, bias=False) for _ in range(depth)]
    last = nn.Linear(2 * n, n, bias=False)
    draw_into(technique("mirrored", inputs=False), first)
    for seed, layer in enumerate(inner):
        draw_into(technique("looks_linear"), layer, seed=seed)
    draw_into(technique("mirrored", outputs=False), last, seed=99)
    x = torch.randn(10, n, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = first(x)
        for layer in inner:
            y = layer(activation(y))
        y = last(activation(y))
    # float32 rounding over 32 layers
    assert torch.allclose(y.square().sum(1), x.square().sum(1), rtol=1e-4)


def test_mirrored_blocks() -> None:
    w = draw_into(technique("mirrored", gain=3.0), nn.Linear(20, 30, bias=False))
    block = w[:15, :10]
    assert np.array_equal(w, np.block([[block, -block], [-block, block]]))
    assert is_isometry(block, 3.0)


def test_identity_and_dirac() -> None:
    w = draw_into(technique("identity", gain=0.5), nn.Linear(5, 7, bias=False))
    assert np.array_equal(w, 0.5 * np.eye(7, 5))
    layer = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False)
    ours = draw_into(technique("dirac"), layer)
    nn.init.dirac_(layer.weight, groups=2)
    assert np.array_equal(ours, layer.weight.detach().numpy())
    transposed = nn.ConvTranspose1d(4, 4, 3, padding=1, bias=False)
    draw_into(technique("identity"), transposed)
    x = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(transposed(x), x)


def test_sparse_keeps_an_equal_number_of_inputs_per_unit() -> None:
    w = draw_into(technique("sparse", zero_fraction=0.9, std=2.0), nn.Linear(200, 300, bias=False))
    assert set((w != 0).sum(axis=1)) == {20}
    kept = w[w != 0].astype(np.float64)
    assert stats.kstest(kept, stats.norm(0, 2).cdf).pvalue > P_LIMIT
    # How often an input is used: Binomial(300, 1/10) counts, the largest of 200 within 5 σ.
    counts = (w != 0).sum(axis=0)
    assert abs(counts - 30).max() < 5.5 * np.sqrt(300 * 0.1 * 0.9)


def test_keras_recurrent_is_an_isometry_of_the_fused_kernel() -> None:
    lstm = nn.LSTM(8, 32)
    parameter = next(p for p in describe_parameters(lstm) if p.name == "weight_hh_l0")
    law = technique("keras_recurrent").law_for(parameter.layout, parameter.fans)
    fused = draw(law, parameter.layout, name="w", seed=0)
    assert fused.shape == (128, 32)
    assert is_isometry(fused, 1.0)
    assert is_isometry(fused[:32], 0.5)  # the input gate alone


@pytest.mark.parametrize(
    ("name", "layer", "words"),
    [
        ("orthogonal", nn.LayerNorm(8), "orthogonal: needs a matrix with axes out and in"),
        ("mirrored", nn.Embedding(9, 4), "mirrored: needs a matrix with axes out and in"),
        ("sparse", nn.PReLU(8), r"sparse: needs a matrix .* use zeros, ones, constant"),
        ("identity", nn.LayerNorm(8), r"a tensor of shape \(8,\) with axes \(out\)"),
        ("dirac", nn.Linear(3, 3), r"dirac: needs a convolution kernel.*use identity for dense"),
        ("delta_orthogonal", nn.Linear(3, 3), "use orthogonal for dense weights"),
        ("delta_orthogonal", nn.Conv1d(8, 4, 3), "got 8 in and 4 out; use orthogonal"),
    ],
)
def test_what_does_not_apply_is_refused(name: str, layer: nn.Module, words: str) -> None:
    parameter = describe_parameters(layer)[0]
    with pytest.raises(BadInputError, match=words):
        technique(name).law_for(parameter.layout, parameter.fans)
