"""How torch's parameters are read: names, ties, kinds, axes and fans, against hand-made answers.

Long because of the table of layers, which is easier to compare with the reader in one piece.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.layouts import describe_parameters, module_of, named_tensors
from firstlight.records.network import Fans, Parameter


def read(model: nn.Module) -> dict[str, Parameter]:
    return {p.name: p for p in describe_parameters(model)}


WEIGHTS: list[tuple[nn.Module, str, str, tuple[str, ...], tuple[int, ...], Fans]] = [
    (nn.Linear(3, 5), "weight", "weight", ("out", "in"), (5, 3), Fans(forward=3, backward=5)),
    (
        nn.Bilinear(3, 4, 5),
        "weight",
        "weight",
        ("out", "in"),
        (5, 12),
        # 3 elements get 5·4 terms, 4 elements 5·3: 120/7 on average.
        Fans(forward=12, backward=120 / 7),
    ),
    (
        nn.Conv1d(4, 6, 5),
        "weight",
        "weight",
        ("out", "in", "kernel"),
        (6, 4, 5),
        Fans(forward=20, backward=30),
    ),
    (
        nn.Conv2d(4, 6, (3, 5), stride=(1, 2), dilation=2),
        "weight",
        "weight",
        ("out", "in", "kernel", "kernel"),
        (6, 4, 3, 5),
        Fans(forward=60, backward=45),
    ),
    (
        nn.Conv2d(4, 6, 3, groups=2, padding="same"),
        "weight",
        "weight",
        ("group", "out", "in", "kernel", "kernel"),
        (2, 3, 2, 3, 3),
        Fans(forward=18, backward=27),
    ),
    (
        nn.Conv2d(4, 8, 3, groups=4),
        "weight",
        "weight",
        ("group", "out", "in", "kernel", "kernel"),
        (4, 2, 1, 3, 3),
        Fans(forward=9, backward=18),
    ),
    (
        nn.ConvTranspose2d(4, 6, 4, stride=2),
        "weight",
        "weight",
        ("in", "out", "kernel", "kernel"),
        (4, 6, 4, 4),
        Fans(forward=16, backward=96),
    ),
    (
        nn.ConvTranspose3d(4, 6, 2, groups=2),
        "weight",
        "weight",
        ("group", "in", "out", "kernel", "kernel", "kernel"),
        (2, 2, 3, 2, 2, 2),
        Fans(forward=16, backward=24),
    ),
    (
        nn.Embedding(7, 3),
        "weight",
        "embedding",
        ("index", "out"),
        (7, 3),
        Fans(forward=1, backward=3),
    ),
    (
        nn.LSTM(3, 5, bidirectional=True),
        "weight_ih_l0_reverse",
        "weight",
        ("gate", "out", "in"),
        (4, 5, 3),
        Fans(forward=3, backward=5),
    ),
    (
        nn.GRU(3, 5),
        "weight_hh_l0",
        "recurrent",
        ("gate", "out", "in"),
        (3, 5, 5),
        Fans(forward=5, backward=5),
    ),
    (
        nn.RNN(3, 5, num_layers=2),
        "weight_ih_l1",
        "weight",
        ("gate", "out", "in"),
        (1, 5, 5),
        Fans(forward=5, backward=5),
    ),
    (
        nn.LSTM(3, 5, proj_size=2),
        "weight_hh_l0",
        "recurrent",
        ("gate", "out", "in"),
        (4, 5, 2),
        Fans(forward=2, backward=5),
    ),
    (
        nn.LSTM(3, 5, proj_size=2),
        "weight_hr_l0",
        "weight",
        ("out", "in"),
        (2, 5),
        Fans(forward=5, backward=2),
    ),
    (
        nn.GRUCell(3, 5),
        "weight_hh",
        "recurrent",
        ("gate", "out", "in"),
        (3, 5, 5),
        Fans(forward=5, backward=5),
    ),
    (
        nn.MultiheadAttention(6, 2),
        "in_proj_weight",
        "weight",
        ("qkv", "out", "in"),
        (3, 6, 6),
        Fans(forward=6, backward=6),
    ),
    (
        nn.MultiheadAttention(6, 2, kdim=4, vdim=5),
        "v_proj_weight",
        "weight",
        ("out", "in"),
        (6, 5),
        Fans(forward=5, backward=6),
    ),
    (
        nn.MultiheadAttention(6, 2),
        "out_proj.weight",
        "weight",
        ("out", "in"),
        (6, 6),
        Fans(forward=6, backward=6),
    ),
]


@pytest.mark.parametrize(
    ("module", "name", "kind", "roles", "view", "spread"),
    WEIGHTS,
    ids=[f"{type(w[0]).__name__}.{w[1]}-{i}" for i, w in enumerate(WEIGHTS)],
)
def test_weights(
    module: nn.Module,
    name: str,
    kind: str,
    roles: tuple[str, ...],
    view: tuple[int, ...],
    spread: Fans,
) -> None:
    parameter = read(module)[name]
    assert (parameter.kind, parameter.layout.roles) == (kind, roles)
    assert parameter.layout.view == view
    assert parameter.layout.shape == tuple(module.get_parameter(name).shape)
    assert parameter.fans is not None
    assert (parameter.fans.forward, parameter.fans.backward) == pytest.approx(
        (spread.forward, spread.backward)
    )


@pytest.mark.parametrize("module", [w[0] for w in WEIGHTS if w[1] == "weight"][:-1])
def test_fans_count_the_terms_that_really_reach_an_output(module: nn.Module) -> None:
    """With weights and inputs of one, an interior output is its number of terms."""
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.fill_(0.0)
        module.weight.fill_(1.0)
    spread = read(module)["weight"].fans
    assert spread is not None
    if isinstance(module, nn.Bilinear):
        y = module(torch.ones(1, 3), torch.ones(1, 4))
        assert torch.all(y == spread.forward)
        return
    size = 24
    if isinstance(module, nn.Linear):
        x = torch.ones(1, module.in_features)
    else:
        x = torch.ones(1, module.in_channels, *[size] * len(module.kernel_size))
    x.requires_grad_()
    y = module(x)
    y.sum().backward()
    assert x.grad is not None

    def middle(t: torch.Tensor) -> float:
        """Mean over a block in the middle that holds every phase of the stride equally."""
        spots = [slice(n // 2 - 2, n // 2 + 2) for n in t.shape[2:]]
        return t[(slice(None), slice(None), *spots)].mean().item()

    assert middle(y.detach()) == pytest.approx(spread.forward)
    assert middle(x.grad) == pytest.approx(spread.backward)


def test_views_of_grouped_and_transposed_weights_are_the_layers_own_groups() -> None:
    """Cutting one group out of the view gives the layer that acts on that group of channels."""
    for cls in (nn.Conv1d, nn.ConvTranspose1d):
        whole = cls(4, 6, 3, groups=2, bias=False)
        view = whole.weight.detach().reshape(read(whole)["weight"].layout.view)
        part = cls(2, 3, 3, bias=False)
        with torch.no_grad():
            part.weight.copy_(view[1])
        x = torch.randn(1, 4, 8)
        assert torch.allclose(whole(x)[:, 3:], part(x[:, 2:]), atol=1e-6)


@pytest.mark.parametrize(
    ("module", "name", "kind", "roles", "view"),
    [
        (nn.Linear(3, 5), "bias", "bias", ("out",), (5,)),
        (nn.Conv2d(3, 5, 3), "bias", "bias", ("out",), (5,)),
        (nn.Bilinear(3, 4, 5), "bias", "bias", ("out",), (5,)),
        (nn.LSTM(3, 5), "bias_hh_l0", "bias", ("gate", "out"), (4, 5)),
        (nn.LSTMCell(3, 5), "bias_ih", "bias", ("gate", "out"), (4, 5)),
        (nn.MultiheadAttention(6, 2), "in_proj_bias", "bias", ("qkv", "out"), (3, 6)),
        (nn.BatchNorm2d(5), "weight", "norm-scale", ("out",), (5,)),
        (nn.BatchNorm1d(5), "bias", "norm-shift", ("out",), (5,)),
        (nn.InstanceNorm2d(5, affine=True), "weight", "norm-scale", ("out",), (5,)),
        (nn.GroupNorm(2, 6), "bias", "norm-shift", ("out",), (6,)),
        (nn.LayerNorm((4, 6)), "weight", "norm-scale", ("out", "out"), (4, 6)),
        (nn.RMSNorm(6), "weight", "norm-scale", ("out",), (6,)),
        (nn.PReLU(4), "weight", "other", ("out",), (4,)),
        (
            nn.MultiheadAttention(6, 2, add_bias_kv=True),
            "bias_k",
            "other",
            ("index", "out", "out"),
            (1, 1, 6),
        ),
    ],
)
def test_vectors_and_others_have_no_fans(
    module: nn.Module, name: str, kind: str, roles: tuple[str, ...], view: tuple[int, ...]
) -> None:
    parameter = read(module)[name]
    assert (parameter.kind, parameter.layout.roles, parameter.layout.view) == (kind, roles, view)
    assert parameter.fans is None


def test_every_parameter_once_in_the_models_order() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    described = describe_parameters(model)
    assert [p.name for p in described] == [name for name, _ in model.named_parameters()]
    assert {p.kind for p in described} == {"weight", "bias", "norm-scale", "norm-shift"}
    assert all(p.layout.shape == tuple(named_tensors(model)[p.name].shape) for p in described)


class Tied(nn.Module):
    def __init__(self, padding: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4, padding_idx=padding)
        self.body = nn.Linear(4, 4)
        self.again = self.body
        self.decode = nn.Linear(4, 9, bias=False)
        self.decode.weight = self.embed.weight


def test_ties_take_the_first_name_in_sorted_order() -> None:
    model = Tied(padding=2)
    described = read(model)
    assert list(described) == ["decode.weight", "again.weight", "again.bias"]
    assert described["again.weight"].ties == ("body.weight",)
    tied = described["decode.weight"]
    assert tied.ties == ("embed.weight",)
    # An embedding by its padding row, with the fans of the product in which it serves as well.
    assert (tied.kind, tied.module, tied.padding_index) == ("embedding", "Embedding", 2)
    assert tied.fans == Fans(forward=4, backward=9)
    assert named_tensors(model)["decode.weight"] is model.embed.weight
    assert module_of(model, "again.weight") is model.body


def test_the_order_of_registration_does_not_change_a_tied_name() -> None:
    class Other(Tied):
        def __init__(self) -> None:
            super().__init__()
            self._modules = dict(reversed(self._modules.items()))

    assert set(read(Other())) == set(read(Tied()))


class Wrapper(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.module = inner


def test_wrappers_do_not_change_names_or_layouts() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2)))
    plain = describe_parameters(model)
    assert describe_parameters(Wrapper(model)) == plain
    compiled = torch.compile(nn.Sequential(model[0], Wrapper(model[1])), backend="eager")
    assert describe_parameters(compiled) == plain
    assert "1.0.weight" in named_tensors(compiled)
    assert module_of(compiled, "1.0.weight") is model[1][0]


def test_tensors_that_only_a_wrappers_name_tells_apart_stay_apart() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2, bias=False)
            self.module = nn.Module()
            self.module.fc = nn.Linear(3, 3, bias=False)

    model = Both()
    shapes = {name: tuple(t.shape) for name, t in named_tensors(model).items()}
    assert shapes == {"fc.weight": (2, 2), "module.fc.weight": (3, 3)}
    assert [p.name for p in describe_parameters(model)] == list(shapes)


class Conv1D(nn.Module):
    """As in the transformers library: a dense layer that stores (in, out)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.empty(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf))


def test_conv1d_of_transformers() -> None:
    described = read(Conv1D(12, 4))
    assert described["weight"].layout.roles == ("in", "out")
    assert described["weight"].fans == Fans(forward=4, backward=12)
    assert described["bias"].kind == "bias"
    stored_otherwise = Conv1D(12, 4)
    stored_otherwise.weight = nn.Parameter(torch.empty(12, 4))
    assert read(stored_otherwise)["weight"].kind == "other"


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(6, 4))
        self.bias = nn.Parameter(torch.empty(6))
        self.gain = nn.Parameter(torch.empty(6), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.table = nn.Parameter(torch.empty(1, 5, 4))


def test_unknown_modules_are_not_guessed() -> None:
    described = read(Own())
    assert {n: p.kind for n, p in described.items()} == {
        "weight": "other",
        "bias": "bias",
        "gain": "other",
        "scale": "other",
        "table": "other",
    }
    assert all(p.fans is None and "in" not in p.layout.roles for p in described.values())
    assert described["scale"].layout.shape == ()
    assert (described["scale"].dtype, described["weight"].dtype) == ("float64", "float32")
    assert not described["gain"].trainable and described["weight"].trainable


def test_subclasses_are_read_as_their_parents_unless_they_store_otherwise() -> None:
    class Mine(nn.Linear):
        pass

    class Turned(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 5)
            self.weight = nn.Parameter(torch.empty(3, 5))

    mine = read(Mine(3, 5))["weight"]
    assert (mine.kind, mine.module, mine.fans) == ("weight", "Mine", Fans(forward=3, backward=5))
    turned = read(Turned())
    assert (turned["weight"].kind, turned["weight"].fans) == ("other", None)
    assert turned["bias"].kind == "bias"


@pytest.mark.parametrize(
    ("wrap", "kinds"),
    [
        (parametrizations.weight_norm, {"original0": "magnitude", "original1": "weight"}),
        (parametrizations.orthogonal, {"original": "other"}),
        (parametrizations.spectral_norm, {"original": "weight"}),
    ],
)
def test_parametrizations_are_opened_where_they_are_known(wrap: Any, kinds: dict[str, str]) -> None:
    described = read(wrap(nn.Linear(4, 6)) if "original0" in kinds else wrap(nn.Linear(4, 4)))
    assert set(described) == {"bias", *(f"parametrizations.weight.{name}" for name in kinds)}
    assert (described["bias"].kind, described["bias"].module) == ("bias", "Linear")
    for name, kind in kinds.items():
        parameter = described[f"parametrizations.weight.{name}"]
        assert (parameter.kind, parameter.module) == (kind, "Linear")
        assert parameter.parametrization == (
            {"original0": "weight_norm", "original1": "weight_norm"}.get(name)
            or ("Orthogonal" if kind == "other" else "spectral_norm")
        )
        assert (parameter.fans is None) is (kind != "weight")
        if kind == "weight":
            assert parameter.fans is not None and parameter.fans.forward == 4


def test_pruned_weights_are_other() -> None:
    from torch.nn.utils import prune

    layer = nn.Linear(4, 4)
    prune.random_unstructured(layer, "weight", 0.5)
    assert read(layer)["weight_orig"].kind == "other"


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_parameters_are_refused_with_a_remedy() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(BadInputError, match=r"^0\.weight: a lazy parameter .* run the model once"):
        describe_parameters(model)


def test_empty_weights_have_no_fans() -> None:
    layer = nn.Module()
    layer.fc = nn.Linear(3, 2)
    layer.fc.in_features = 0
    layer.fc.weight = nn.Parameter(torch.empty(2, 0))
    assert read(layer)["fc.weight"].fans is None


def test_unknown_names_are_corrected() -> None:
    with pytest.raises(BadInputError, match=r"no parameter 'fc\.wight'; did you mean"):
        module_of(nn.ModuleDict({"fc": nn.Linear(2, 2)}), "fc.wight")


def test_reading_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    model[1].eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    describe_parameters(model)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
