"""Every technique of the registry, drawn into real torch layers, against its formula.

The expectations are written from hand-counted fans. A technique without an expectation fails
`test_every_technique_has_an_expectation`, so that registering one means testing it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from shared_cases import CASES, P_LIMIT, Case, disagreements, draw_into, normal, truncated, uniform
from torch import nn

from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import technique, techniques
from firstlight.laws.draw import draw
from firstlight.laws.moments import moments

GELU_SECOND_MOMENT = 0.42522148  # E[gelu(z)²], z ~ N(0, 1): checked in test_forward_moment

ELEMENTWISE: list[tuple[str, dict[str, Any], Callable[[Case], Any]]] = [
    ("random_normal", {}, lambda c: stats.norm(0, 0.05)),
    ("random_normal", {"mean": 0.1, "std": 0.3}, lambda c: stats.norm(0.1, 0.3)),
    ("random_uniform", {}, lambda c: stats.uniform(-0.05, 0.1)),
    ("random_uniform", {"low": 0.0, "high": 2.0}, lambda c: stats.uniform(0, 2)),
    ("truncated_normal", {}, lambda c: truncated(0.05**2)),
    ("glorot_normal", {}, lambda c: normal(2 / (c.fan_in + c.fan_out))),
    ("glorot_normal", {"gain": 5 / 3}, lambda c: normal(50 / 9 / (c.fan_in + c.fan_out))),
    ("glorot_uniform", {}, lambda c: uniform(2 / (c.fan_in + c.fan_out))),
    ("glorot_truncated_normal", {}, lambda c: truncated(2 / (c.fan_in + c.fan_out))),
    ("xavier_fan_in_normal", {}, lambda c: normal(1 / c.fan_in)),
    ("xavier_fan_in_uniform", {}, lambda c: uniform(1 / c.fan_in)),
    ("he_normal", {}, lambda c: normal(2 / c.fan_in)),
    ("he_normal", {"mode": "fan_out"}, lambda c: normal(2 / c.fan_out)),
    ("he_normal", {"mode": "fan_avg"}, lambda c: normal(4 / (c.fan_in + c.fan_out))),
    ("he_normal", {"slope": 0.5}, lambda c: normal(2 / 1.25 / c.fan_in)),
    ("he_uniform", {}, lambda c: uniform(2 / c.fan_in)),
    ("he_truncated_normal", {}, lambda c: truncated(2 / c.fan_in)),
    ("lecun_normal", {}, lambda c: normal(1 / c.fan_in)),
    ("lecun_uniform", {}, lambda c: uniform(1 / c.fan_in)),
    ("lecun_truncated_normal", {}, lambda c: truncated(1 / c.fan_in)),
    ("variance_scaling", {}, lambda c: truncated(1 / c.fan_in)),
    (
        "variance_scaling",
        {"scale": 3.0, "mode": "fan_out", "distribution": "uniform"},
        lambda c: uniform(3 / c.fan_out),
    ),
    ("activation_gain", {}, lambda c: normal(1 / GELU_SECOND_MOMENT / c.fan_in)),
    (
        "activation_gain",
        {"activation": "relu", "direction": "backward"},
        lambda c: normal(2 / c.fan_out),
    ),
    (
        "activation_gain",
        {"activation": "relu", "direction": "balanced", "distribution": "uniform"},
        lambda c: uniform(4 / (c.fan_in + c.fan_out)),
    ),
    ("keras_dense", {}, lambda c: uniform(2 / (c.keras_in + c.keras_out))),
    ("flax_dense", {}, lambda c: truncated(1 / c.keras_in)),
]

FOR_SOME_LAYERS: list[tuple[str, str, Callable[[Case], Any]]] = [
    ("torch_linear", "expanding", lambda c: uniform(1 / 3 / c.torch_in)),
    ("torch_linear", "contracting", lambda c: uniform(1 / 3 / c.torch_in)),
    ("torch_conv", "grouped", lambda c: uniform(1 / 3 / c.torch_in)),
    ("torch_conv", "transposed", lambda c: uniform(1 / 3 / c.torch_in)),
    (
        "torch_multihead_packed",
        "expanding",
        lambda c: uniform(2 / (c.torch_in + c.torch_out)),
    ),
]

OWN_LAYERS: list[tuple[str, nn.Module, str, Any]] = [
    ("torch_embedding", nn.Embedding(800, 64), "weight", stats.norm(0, 1)),
    ("keras_embedding", nn.Embedding(800, 64), "weight", stats.uniform(-0.05, 0.1)),
    ("flax_embed", nn.Embedding(800, 64), "weight", normal(1 / 64)),
    ("torch_bilinear", nn.Bilinear(30, 40, 50), "weight", uniform(1 / 90)),
    ("torch_rnn", nn.LSTM(40, 96), "weight_ih_l0", uniform(1 / 288)),
    ("torch_rnn", nn.LSTM(40, 96), "weight_hh_l0", uniform(1 / 288)),
    ("torch_rnn", nn.LSTM(40, 96, proj_size=80), "weight_hr_l0", uniform(1 / 288)),
    ("torch_rnn", nn.GRU(40, 2000), "bias_ih_l0", uniform(1 / 6000)),
    ("torch_rnn", nn.RNNCell(40, 300), "weight_hh", uniform(1 / 900)),
    ("torch_multihead_packed", nn.MultiheadAttention(96, 4), "in_proj_weight", uniform(1 / 192)),
    (
        "torch_multihead_packed",
        nn.MultiheadAttention(96, 4, kdim=160),
        "k_proj_weight",
        uniform(2 / 256),
    ),
]

ELSEWHERE = {
    **dict.fromkeys(("zeros", "ones", "constant"), "test_constants"),
    **dict.fromkeys(("orthogonal", "delta_orthogonal", "mirrored"), "test_structured"),
    **dict.fromkeys(("identity", "dirac", "sparse", "keras_recurrent"), "test_structured"),
    **dict.fromkeys(("forget_bias", "chrono"), "test_gates"),
    **dict.fromkeys(("zero_hadamard", "idinit", "idinit_zero", "sinusoidal"), "test_patterned"),
    "mimetic": "test_mimetic",
    "torch_bias": "test_framework_defaults",
}


def test_every_technique_has_an_expectation() -> None:
    tested = {entry[0] for entry in (*ELEMENTWISE, *FOR_SOME_LAYERS, *OWN_LAYERS)} | set(ELSEWHERE)
    assert {t.name for t in techniques()} == tested


@pytest.mark.parametrize("layer", CASES)
@pytest.mark.parametrize(
    ("name", "options", "law"), ELEMENTWISE, ids=[f"{n}-{len(o)}" for n, o, _ in ELEMENTWISE]
)
def test_elementwise(
    name: str, options: dict[str, Any], law: Callable[[Case], Any], layer: str
) -> None:
    case = CASES[layer]
    values = draw_into(technique(name), case.layer, **options)
    assert disagreements(values, law(case)) == []


@pytest.mark.parametrize(("name", "layer", "law"), FOR_SOME_LAYERS)
def test_framework_default_of_a_layer(name: str, layer: str, law: Callable[[Case], Any]) -> None:
    assert disagreements(draw_into(technique(name), CASES[layer].layer), law(CASES[layer])) == []


@pytest.mark.parametrize(("name", "layer", "tensor", "law"), OWN_LAYERS)
def test_framework_default_of_its_own_layer(
    name: str, layer: nn.Module, tensor: str, law: Any
) -> None:
    parameter = next(p for p in describe_parameters(layer) if p.name == tensor)
    drawn = draw(
        technique(name).law_for(parameter.layout, parameter.fans),
        parameter.layout,
        name=tensor,
        seed=0,
    )
    assert disagreements(drawn, law) == []


def test_asymmetric_truncation_realises_its_moments() -> None:
    options = {"mean": 0.2, "std": 0.3, "low_sigma": -0.5, "high_sigma": 3.0}
    unit = stats.truncnorm(-0.5, 3.0)
    sigma = 0.3 / unit.std()
    expected = stats.truncnorm(-0.5, 3.0, loc=0.2 - sigma * unit.mean(), scale=sigma)
    values = draw_into(technique("truncated_normal"), CASES["expanding"].layer, **options)
    assert disagreements(values, expected) == []


# The nearest wrong law to each right one: every one of them must be told apart in every layer.
WRONG: list[tuple[str, str, Callable[[Case], Any]]] = [
    ("He taken for LeCun", "he_normal", lambda c: normal(1 / c.fan_in)),
    ("LeCun taken for He", "lecun_normal", lambda c: normal(2 / c.fan_in)),
    ("fan_in taken for fan_out", "he_normal", lambda c: normal(2 / c.fan_out)),
    ("Glorot taken for 1/fan_in", "glorot_normal", lambda c: normal(1 / c.fan_in)),
    ("1/fan_in taken for Glorot", "lecun_uniform", lambda c: uniform(2 / (c.fan_in + c.fan_out))),
    ("normal taken for uniform", "he_normal", lambda c: uniform(2 / c.fan_in)),
    ("uniform taken for normal", "he_uniform", lambda c: normal(2 / c.fan_in)),
    ("truncated taken for normal", "he_truncated_normal", lambda c: normal(2 / c.fan_in)),
    (
        "std before the cut taken for the realised one",
        "truncated_normal",
        lambda c: truncated((0.05 * 0.8796) ** 2),
    ),
    ("bound taken for std", "lecun_uniform", lambda c: uniform(1 / 3 / c.fan_in)),
]


@pytest.mark.parametrize("layer", CASES)
@pytest.mark.parametrize(("mistake", "name", "law"), WRONG, ids=[w[0] for w in WRONG])
def test_a_wrong_formula_is_seen(
    mistake: str, name: str, law: Callable[[Case], Any], layer: str
) -> None:
    values = draw_into(technique(name), CASES[layer].layer)
    assert disagreements(values, law(CASES[layer])) != [], mistake


@pytest.mark.parametrize("layer", ["grouped", "transposed"])
def test_fans_off_the_stored_shape_are_seen(layer: str) -> None:
    """torch's own fans, where they differ from the effective ones, do not pass for them."""
    case = CASES[layer]
    values = draw_into(technique("he_normal"), case.layer, mode="fan_out")
    assert disagreements(values, normal(2 / case.torch_out)) != []


def test_a_shifted_mean_is_seen() -> None:
    values = draw_into(technique("he_normal"), CASES["expanding"].layer)
    off = values + 0.03 * values.std()
    assert any(line.startswith("mean") for line in disagreements(off, normal(2 / 150)))


def test_kolmogorov_smirnov_alone_tells_the_truncated_form_apart() -> None:
    """The shape test has power of its own: mean, std and a cropped range left aside."""
    case = CASES["expanding"]
    values = draw_into(technique("he_truncated_normal"), case.layer)
    right = stats.kstest(values.ravel(), truncated(2 / case.fan_in).cdf).pvalue
    wrong = stats.kstest(values.ravel(), normal(2 / case.fan_in).cdf).pvalue
    assert wrong < P_LIMIT < right


@pytest.mark.parametrize("entry", techniques(), ids=lambda t: t.name)
def test_law_moments_hold_in_the_layer(entry: Any) -> None:
    """`moments(law, layout)`, on which audits and receipts rely, agrees with what was drawn."""
    layer: nn.Module = CASES["expanding"].layer
    if entry.name in ("torch_conv", "delta_orthogonal", "dirac"):
        layer = CASES["grouped"].layer
    if entry.name == "torch_bilinear":
        layer = nn.Bilinear(30, 40, 50, bias=False)
    if entry.name == "flax_embed":
        layer = nn.Embedding(800, 64)
    if entry.name in ("forget_bias", "chrono"):
        layer = nn.LSTM(4, 2000)
    described = describe_parameters(layer)
    gates = (p for p in described if entry.name in ("forget_bias", "chrono") and p.kind == "bias")
    parameter = next(gates, described[0])
    layout, spread = parameter.layout, parameter.fans
    options = {}
    if entry.name == "torch_bias":
        layer = nn.Linear(100, 5000)
        layout, spread = describe_parameters(layer)[1].layout, None
        options = {"fan_in": 100}
    if entry.name == "mimetic":
        attention = describe_parameters(nn.MultiheadAttention(96, 4))
        layout = next(p for p in attention if p.name == "in_proj_weight").layout
        options = {"heads": 4}
    law = entry.law_for(layout, spread, **options)
    asked, values = moments(law, layout), draw(law, layout, name="w", seed=1).astype(np.float64)
    n = values.size
    if asked.std == 0:
        assert np.all(values == asked.mean)
        return
    # Independent elements of kurtosis 3 at most, or structured ones whose second moment is exact;
    # sparse ones have kurtosis 3/share.
    kurtosis = 3.0 if entry.name != "sparse" else 30.0
    assert values.std() == pytest.approx(asked.std, rel=5 * ((kurtosis - 1) / (4 * n)) ** 0.5)
    assert abs(values.mean() - asked.mean) < 5 * asked.std / n**0.5
    for bound, sign in ((asked.low, -1), (asked.high, 1)):
        if bound is not None:
            assert (sign * values <= sign * bound + 1e-6 * asked.std).all()
