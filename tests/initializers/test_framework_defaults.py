"""Framework defaults and named laws against torch itself, to nine digits.

What torch asks of its random generator is read where it is asked: at the operators `uniform_` and
`normal_`, whose bounds and std are compared with the law's, with no sampling error in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import technique
from firstlight.initializers.framework_defaults import keras_fans
from firstlight.records.law import Constant, Law, Normal, Uniform
from firstlight.records.network import Fans, Layout, Parameter, plain_layout

NINE_DIGITS = 5e-9


class Asked(TorchDispatchMode):
    """Records the last fill that each tensor received, as a law."""

    def __init__(self) -> None:
        super().__init__()
        self.laws: dict[int, Law] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name == "uniform_":
            low, high = (*args[1:], 0.0, 1.0)[:2] if len(args) > 1 else (0.0, 1.0)
            self.laws[args[0].data_ptr()] = Uniform(low=low, high=high)
        elif name == "normal_":
            mean, std = (*args[1:], 0.0, 1.0)[:2] if len(args) > 2 else (0.0, 1.0)
            self.laws[args[0].data_ptr()] = Normal(mean=mean, std=std)
        elif name in ("fill_", "zero_"):
            self.laws[args[0].data_ptr()] = Constant(value=args[1] if len(args) > 1 else 0.0)
        return func(*args, **(kwargs or {}))


def same(ours: Law, theirs: Law) -> None:
    assert type(ours) is type(theirs)
    for field, value in vars(theirs).items():
        assert getattr(ours, field) == pytest.approx(value, rel=NINE_DIGITS), field


DEFAULTS: list[tuple[Callable[[], nn.Module], dict[str, str]]] = [
    (lambda: nn.Linear(30, 50), {"weight": "torch_linear", "bias": "torch_bias"}),
    (lambda: nn.Linear(50, 30), {"weight": "torch_linear", "bias": "torch_bias"}),
    (lambda: nn.Conv1d(6, 10, 3), {"weight": "torch_conv", "bias": "torch_bias"}),
    (lambda: nn.Conv2d(8, 12, 3, groups=4), {"weight": "torch_conv", "bias": "torch_bias"}),
    (lambda: nn.Conv2d(8, 16, 5, groups=8), {"weight": "torch_conv", "bias": "torch_bias"}),
    (lambda: nn.Conv3d(2, 3, (1, 2, 3)), {"weight": "torch_conv", "bias": "torch_bias"}),
    (lambda: nn.ConvTranspose2d(8, 12, 4, stride=2), {"weight": "torch_conv"}),
    (lambda: nn.ConvTranspose1d(8, 12, 3, groups=2), {"weight": "torch_conv"}),
    (lambda: nn.Bilinear(5, 7, 3), {"weight": "torch_bilinear"}),
    (lambda: nn.Embedding(9, 5), {"weight": "torch_embedding"}),
    (lambda: nn.EmbeddingBag(9, 5), {"weight": "torch_embedding"}),
    *(
        (
            lambda cls=cls, extra=extra: cls(7, 11, num_layers=2, **extra),  # type: ignore[misc]
            {"": "torch_rnn"},
        )
        for cls, extra in (
            (nn.RNN, {}),
            (nn.GRU, {"bidirectional": True}),
            (nn.LSTM, {}),
            (nn.LSTM, {"proj_size": 5}),
        )
    ),
    (lambda: nn.LSTMCell(7, 11), {"": "torch_rnn"}),
    (lambda: nn.MultiheadAttention(12, 3), {"in_proj_weight": "torch_multihead_packed"}),
    (
        lambda: nn.MultiheadAttention(12, 3, kdim=8, vdim=6),
        {f"{each}_proj_weight": "torch_multihead_packed" for each in "qkv"},
    ),
]


@pytest.mark.parametrize(("build", "names"), DEFAULTS)
def test_defaults_are_what_torch_asks_for(
    build: Callable[[], nn.Module], names: dict[str, str]
) -> None:
    with Asked() as asked:
        layer = build()
    compared = 0
    fans_of_weight = next((p.fans for p in describe_parameters(layer) if p.name == "weight"), None)
    for parameter in describe_parameters(layer):
        name = names.get(parameter.name, names.get(""))
        if name is None:
            continue
        spread = fans_of_weight if name == "torch_bias" else parameter.fans
        theirs = asked.laws[layer.get_parameter(parameter.name).data_ptr()]
        same(technique(name).law_for(parameter.layout, spread), theirs)
        compared += 1
    assert compared == len(names) or "" in names


def test_bias_of_a_transposed_convolution_needs_torchs_own_fan() -> None:
    with Asked() as asked:
        layer = nn.ConvTranspose2d(8, 12, 4, stride=2)
    weight, bias = describe_parameters(layer)
    theirs = asked.laws[layer.bias.data_ptr()]
    same(technique("torch_bias", fan_in=12 * 16).law_for(bias.layout), theirs)
    effective = technique("torch_bias").law_for(bias.layout, weight.fans)
    assert effective.high != pytest.approx(theirs.high, rel=0.01)  # type: ignore[union-attr]
    with pytest.raises(BadInputError, match="needs the fan_in of the weight beside it; pass"):
        technique("torch_bias").law_for(bias.layout)


def weight_of(layer: nn.Module) -> Parameter:
    return next(p for p in describe_parameters(layer) if p.name == "weight")


REFERENCE: list[tuple[str, dict[str, Any], Callable[[torch.Tensor], object]]] = [
    ("glorot_normal", {}, nn.init.xavier_normal_),
    ("glorot_uniform", {"gain": 5 / 3}, lambda w: nn.init.xavier_uniform_(w, gain=5 / 3)),
    ("he_normal", {}, nn.init.kaiming_normal_),
    ("he_normal", {"slope": 0.2}, lambda w: nn.init.kaiming_normal_(w, a=0.2)),
    ("he_uniform", {}, nn.init.kaiming_uniform_),
    ("he_uniform", {"mode": "fan_out"}, lambda w: nn.init.kaiming_uniform_(w, mode="fan_out")),
    ("lecun_normal", {}, lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear")),
    (
        "activation_gain",
        {"activation": "leaky_relu", "parameter": 0.3},
        lambda w: nn.init.kaiming_normal_(w, a=0.3),
    ),
]


@pytest.mark.parametrize("layer", [nn.Linear(30, 50), nn.Linear(50, 30), nn.Conv2d(6, 10, 3)])
@pytest.mark.parametrize(("name", "options", "reference"), REFERENCE)
def test_same_laws_as_torch_where_its_fans_are_right(
    name: str,
    options: dict[str, Any],
    reference: Callable[[torch.Tensor], object],
    layer: nn.Module,
) -> None:
    with Asked() as asked:
        reference(layer.weight)
    ours = technique(name).law_for(weight_of(layer).layout, weight_of(layer).fans, **options)
    same(ours, asked.laws[layer.weight.data_ptr()])


@pytest.mark.parametrize(
    ("layer", "name", "options", "reference", "ratio"),
    [
        # Depthwise: torch's fan_out does not divide by the 16 groups, so its std is √16 smaller.
        (
            nn.Conv2d(16, 16, 3, groups=16),
            "he_normal",
            {"mode": "fan_out"},
            lambda w: nn.init.kaiming_normal_(w, mode="fan_out"),
            4.0,
        ),
        # Transposed, stride 2: torch 32·16, effective 96·16/4.
        (
            nn.ConvTranspose2d(96, 32, 4, stride=2),
            "he_normal",
            {},
            nn.init.kaiming_normal_,
            (512 / 384) ** 0.5,
        ),
    ],
)
def test_where_torchs_fans_differ_they_do_so_by_the_counted_factor(
    layer: nn.Module, name: str, options: dict[str, Any], reference: Any, ratio: float
) -> None:
    with Asked() as asked:
        reference(layer.weight)
    ours = technique(name).law_for(weight_of(layer).layout, weight_of(layer).fans, **options)
    theirs = asked.laws[layer.weight.data_ptr()]
    assert ours.std / theirs.std == pytest.approx(ratio, rel=1e-8)  # type: ignore[union-attr]


def test_glorot_takes_packed_projections_apart_and_torch_does_not() -> None:
    attention = nn.MultiheadAttention(64, 4)
    packed = next(p for p in describe_parameters(attention) if p.name == "in_proj_weight")
    single = technique("glorot_uniform").law_for(packed.layout, Fans(forward=64, backward=64))
    theirs = technique("torch_multihead_packed").law_for(packed.layout, packed.fans)
    assert single.high / theirs.high == pytest.approx(2**0.5, rel=1e-8)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (plain_layout((50, 30)), (30, 50)),
        # Conv2D in Keras's storage and the same layer in torch's.
        (
            Layout(
                shape=(3, 3, 8, 16), view=(3, 3, 8, 16), roles=("kernel", "kernel", "in", "out")
            ),
            (72, 144),
        ),
        (plain_layout((16, 8, 3, 3)), (72, 144)),
        # groups = 2: Keras stores (3, 3, in/2, out) and takes all outputs for the fan_out.
        (
            Layout(
                shape=(16, 4, 3, 3),
                view=(2, 8, 4, 3, 3),
                roles=("group", "out", "in", "kernel", "kernel"),
            ),
            (36, 144),
        ),
        # DepthwiseConv2D: (3, 3, channels, multiplier); fan_in takes the channels for inputs.
        (
            Layout(
                shape=(3, 3, 8, 2),
                view=(3, 3, 8, 1, 2),
                roles=("kernel", "kernel", "group", "in", "out"),
            ),
            (72, 18),
        ),
        # LSTM kernel (in, 4 · hidden).
        (Layout(shape=(5, 28), view=(5, 4, 7), roles=("in", "gate", "out")), (5, 28)),
    ],
)
def test_keras_fans(layout: Layout, expected: tuple[int, int]) -> None:
    """Expected values are keras.initializers.compute_fans on the stored shape, by hand."""
    assert keras_fans(layout) == expected
