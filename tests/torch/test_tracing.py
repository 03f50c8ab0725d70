"""Operations as they are read: kinds, names, inputs, unit axes, what stays closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import models as zoo
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from firstlight.frameworks.torch.observing import observe
from firstlight.network.graph import Graph
from firstlight.records.network import ActivationRef, Network, Operation


def read(model: nn.Module, batch: Any, **options: Any) -> dict[str, Operation]:
    return operations(observe(model, batch, **options).network)


def operations(network: Network) -> dict[str, Operation]:
    named = {op.name: op for op in network.operations}
    assert len(named) == len(network.operations), "names are unique"
    assert all(source < op.index for op in network.operations for source in op.inputs)
    return named


def names_of(inputs: tuple[int, ...], named: dict[str, Operation]) -> list[str]:
    order = list(named)
    return [order[i] for i in inputs]


class _Wrapped(nn.Module):
    """Any function of modules and a tensor as a model."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def test_modules_functions_and_in_place_forms() -> None:
    named = read(zoo.FunctionalMLP(), zoo.vectors(0), target=zoo.labels(0))
    assert list(named) == ["input", "fc1", "relu", "fc2", "relu#2", "head", "cross_entropy"]
    kinds = ["input", "weighted", "activation", "weighted", "activation", "weighted", "loss"]
    assert [op.kind for op in named.values()] == kinds
    assert [op.in_place for op in named.values()] == [False] * 4 + [True] + [False] * 2
    assert [op.inputs for op in named.values()] == [(), (0,), (1,), (2,), (3,), (4,), (5,)]
    assert [op.units for op in named.values()][1:6] == [64, 64, 64, 64, 10]
    assert named["fc1"].parameters == ("fc1.weight", "fc1.bias")
    assert named["fc2"].shape == (zoo.SAMPLES, 64)


def test_a_convolutional_network() -> None:
    named = read(zoo.ConvNet(), zoo.images(0))
    kinds = {name: op.kind for name, op in named.items()}
    assert kinds == {
        "input": "input",
        "conv1": "weighted",
        "bn1": "norm",
        "relu": "activation",
        "conv2": "weighted",
        "bn2": "norm",
        "relu#2": "activation",
        "mean": "pool",
        "dropout": "dropout",
        "head": "weighted",
    }
    # ``inplace=True`` gives back the tensor that it was given: an operation all the same.
    assert named["relu"].in_place and names_of(named["conv2"].inputs, named) == ["relu"]
    axes = {name: op.unit_axis for name, op in named.items()}
    assert all(axes[name] == 1 for name in axes if name != "input")


def test_modules_called_twice() -> None:
    named = read(zoo.CalledTwice(), zoo.vectors(0))
    assert list(named) == ["input", "first", "act", "shared", "act#2", "shared#2", "head"]
    assert named["shared"].parameters == named["shared#2"].parameters
    assert names_of(named["shared#2"].inputs, named) == ["act#2"]


def test_residual_additions_have_two_inputs() -> None:
    named = read(zoo.ResNet(2), zoo.images(0))
    addition = named["blocks.1.add"]
    assert addition.kind == "add" and addition.unit_axis == 1
    assert names_of(addition.inputs, named) == ["blocks.0.relu#2", "blocks.1.bn2"]


def test_a_token_model_is_followed_from_its_embedding() -> None:
    specimen = zoo.HEALTHY["pre-norm transformer"](0)
    named = read(specimen.model, specimen.batch, **specimen.options)
    assert named["embedding"].kind == "embedding"
    weighted = [name for name, op in named.items() if op.kind == "weighted"]
    inside = ("q", "k", "v", "out", "fc1", "fc2")
    assert weighted == [*(f"blocks.{i}.{name}" for i in (0, 1) for name in inside), "head"]
    assert names_of(named["blocks.0.add"].inputs, named) == ["embedding", "blocks.0.out"]
    assert named["blocks.0.softmax"].kind == "softmax"
    assert named["blocks.0.matmul"].kind == "other"  # no parameter in it
    assert named["blocks.0.gelu"].activation == ActivationRef(name="gelu")
    assert named["cross_entropy"].kind == "loss"


LOOKUPS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "W[ids]": lambda self, ids: self.w[ids],
    "embedding": lambda self, ids: functional.embedding(ids.clamp(0, 9), self.w),
    "index_select": lambda self, ids: self.w.index_select(0, ids.flatten()),
}


@pytest.mark.parametrize("how", LOOKUPS)
def test_lookups_by_index_are_embeddings(how: str) -> None:
    model = _Wrapped(
        lambda self, ids: self.fc(LOOKUPS[how](self, ids)),
        w=nn.Parameter(torch.randn(10, 8)),
        fc=nn.Linear(8, 3),
    )
    first, second = read(model, torch.randint(10, (16, 4))).values()
    assert (first.kind, first.parameters, first.unit_axis) == ("embedding", ("w",), first_axis(how))
    assert second.kind == "weighted" and second.inputs == (first.index,)


def first_axis(how: str) -> int:
    return 1 if how == "index_select" else 2


PRODUCTS: dict[str, tuple[Callable[[Any, Tensor], Tensor], int]] = {
    "x @ W": (lambda self, x: x @ self.w, 1),
    "x @ W.T": (lambda self, x: x @ self.v.T, 1),
    "W.T @ x.T": (lambda self, x: self.w.t() @ x.T, 0),
    "mm": (lambda self, x: torch.mm(x, self.w), 1),
    "addmm": (lambda self, x: torch.addmm(self.b, x, self.w), 1),
    "einsum": (lambda self, x: torch.einsum("bi,io->bo", x, self.w), 1),
    "linear of an expression": (lambda self, x: functional.linear(x, self.v * 0.5 + 1), 1),
}


@pytest.mark.parametrize("how", PRODUCTS)
def test_products_with_a_parameter_are_weighted(how: str) -> None:
    function, axis = PRODUCTS[how]
    weights = {"w": nn.Parameter(torch.randn(zoo.FEATURES, 7))}
    weights |= {"v": nn.Parameter(torch.randn(7, zoo.FEATURES)), "b": nn.Parameter(torch.zeros(7))}
    named = read(_Wrapped(function, **weights), zoo.vectors(0))
    [operation] = [op for op in named.values() if op.kind == "weighted"]
    assert set(operation.parameters) <= {"w", "v", "b"} and operation.parameters
    assert (operation.unit_axis, operation.units) == (axis, 7)


def test_conv1d_of_transformers() -> None:
    model = nn.Sequential(zoo.Conv1D(24, 8), nn.GELU(), zoo.Conv1D(8, 24))
    named = read(model, torch.randn(64, 5, 8))
    assert named["0.addmm"].kind == "weighted"
    assert set(named["0.addmm"].parameters) == {"0.weight", "0.bias"}
    assert named["0.addmm"].units == 24
    assert named["1"].kind == "activation"
    assert named["2.addmm"].kind == "weighted"


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (parametrizations.weight_norm, {"original0", "original1"}),
        (parametrizations.spectral_norm, {"original"}),
        (parametrizations.orthogonal, {"original"}),
    ],
)
def test_parametrised_weights_are_still_weights(wrap: Any, names: set[str]) -> None:
    model = nn.Sequential(wrap(nn.Linear(zoo.FEATURES, 16)), nn.ReLU(), nn.Linear(16, 3))
    named = read(model, zoo.vectors(0))
    assert list(named) == ["input", "0", "1", "2"]
    stem = "0.parametrizations.weight."
    assert set(named["0"].parameters) == {"0.bias", *(stem + name for name in names)}
    assert named["0"].kind == "weighted"


def test_constants_are_no_operations() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        noise = torch.randn(zoo.FEATURES).abs() * 0.1
        return self.fc(x + noise) + torch.arange(3.0)

    named = read(_Wrapped(forward, fc=nn.Linear(zoo.FEATURES, 3)), zoo.vectors(0))
    assert list(named) == ["input", "add", "fc", "add#2"]
    assert [op.kind for op in named.values()] == ["input", "other", "weighted", "other"]


def test_a_mask_makes_no_residual_branch() -> None:
    def forward(self: Any, ids: Tensor) -> Tensor:
        hidden = self.table(ids)
        mask = (ids == 0).float()[..., None] * -100.0
        return self.fc(hidden + mask)

    modules = {"table": nn.Embedding(10, 8), "fc": nn.Linear(8, 3)}
    network = observe(_Wrapped(forward, **modules), torch.randint(10, (16, 4))).network
    assert operations(network)["add"].kind == "add"
    assert Graph(network).branches == ()


def test_one_call_with_many_results_is_one_operation() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.out(torch.sigmoid(q) * k + v.max(dim=1, keepdim=True).values)

    modules = {"qkv": nn.Linear(zoo.FEATURES, 48), "out": nn.Linear(16, 3)}
    named = read(_Wrapped(forward, **modules), zoo.vectors(0))
    assert list(named) == ["input", "qkv", "chunk", "sigmoid", "mul", "max", "add", "out"]
    assert names_of(named["mul"].inputs, named) == ["sigmoid", "chunk"]
    assert names_of(named["add"].inputs, named) == ["mul", "max"]


def test_writing_into_a_slice_keeps_the_trail() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        states = torch.zeros(len(x), 2, 8)
        states[:, 0] = self.fc(x)
        return self.head(states.flatten(1))

    modules = {"fc": nn.Linear(zoo.FEATURES, 8), "head": nn.Linear(16, 3)}
    named = read(_Wrapped(forward, **modules), zoo.vectors(0))
    assert names_of(named["setitem"].inputs, named) == ["fc"]
    assert names_of(named["head"].inputs, named) == ["flatten"]


OPENED: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "lstm": lambda: (zoo.LSTMClassifier(), torch.randn(8, 5, 16)),
    "gru": lambda: (
        _Wrapped(lambda self, x: self.rnn(x)[1][-1], rnn=nn.GRU(16, 8, 2)),
        torch.randn(5, 8, 16),
    ),
    "attention": lambda: (
        _Wrapped(
            lambda self, x: self.attention(x, x, x)[0],
            attention=nn.MultiheadAttention(16, 4, batch_first=True),
        ),
        torch.randn(8, 5, 16),
    ),
    "encoder layer": lambda: (
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
        torch.randn(8, 5, 16),
    ),
}


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


def test_the_inside_of_an_autograd_function_is_seen() -> None:
    doubled = _Wrapped(lambda self, x: _Doubled.apply(self.fc(x)), fc=nn.Linear(zoo.FEATURES, 8))
    model = nn.Sequential(doubled, nn.ReLU(), nn.Linear(8, 3))
    network = observe(model, zoo.vectors(0)).network
    named = operations(network)
    assert list(named) == ["input", "0.fc", "0.mul", "1", "2"]
    assert [op.inputs for op in named.values()] == [(), (0,), (1,), (1,), (3,)]  # φ = relu(2x)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_modules_are_closed() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.ReLU()))
    network = observe(nn.Sequential(scripted, nn.Linear(8, 3)), zoo.vectors(0)).network
    assert network.not_looked_into == ("0",)
    assert operations(network)["0"].parameters == ("0.0.weight", "0.0.bias")
    assert operations(network)["1"].inputs == (1,)


def test_compiled_models_are_read_as_they_were_written() -> None:
    model, x = zoo.FunctionalMLP(), zoo.vectors(0)
    plain = observe(model, x).network
    compiled = observe(torch.compile(model, backend="eager"), x).network
    assert compiled.operations == plain.operations
    assert compiled.parameters == plain.parameters


def test_checkpointed_models_are_read_as_they_were_written() -> None:
    model, x = zoo.FunctionalMLP(), zoo.vectors(0)
    wrapped = _Wrapped(lambda self, x: checkpoint(self.body, x, use_reentrant=False), body=model)
    plain, through = observe(model, x), observe(wrapped, x)
    assert [r.name for r in through.readings] == [f"body.{r.name}" for r in plain.readings]
    for one, other in zip(plain.readings, through.readings, strict=True):
        assert one.delta_square_per_sample == other.delta_square_per_sample
        assert one.second_moment == other.second_moment


@pytest.mark.parametrize("name", OPENED)
def test_composites_are_opened(name: str) -> None:
    model, batch = OPENED[name]()
    network = observe(model, batch).network
    assert network.not_looked_into == ()
    assert not any(op.opaque for op in operations(network).values())
    seen = {name for op in network.operations for name in op.parameters}
    assert seen == {p.name for p in network.parameters}


def test_what_stays_closed_is_named() -> None:
    model = _Wrapped(lambda self, x: self.cell(x)[0], cell=nn.LSTMCell(16, 8))
    network = observe(model, torch.randn(8, 16)).network
    assert network.not_looked_into == ("cell",)
    cell = operations(network)["cell"]
    assert cell.kind == "composite" and cell.opaque and "cell.weight_hh" in cell.parameters


def test_open_networks_have_nothing_closed() -> None:
    assert observe(zoo.ResNet(), zoo.images(0)).network.not_looked_into == ()


ACTIVATIONS: list[tuple[Callable[[Tensor], Tensor], ActivationRef]] = [
    (functional.relu, ActivationRef(name="relu")),
    (lambda x: x.clamp(min=0), ActivationRef(name="relu")),
    (lambda x: functional.leaky_relu(x, 0.2), ActivationRef(name="leaky_relu", parameter=0.2)),
    (nn.LeakyReLU(0.3, inplace=True), ActivationRef(name="leaky_relu", parameter=0.3)),
    (functional.elu, ActivationRef(name="elu", parameter=1.0)),
    (lambda x: functional.gelu(x, approximate="tanh"), ActivationRef(name="gelu_tanh")),
    (torch.tanh, ActivationRef(name="tanh")),
    (lambda x: x.tanh_(), ActivationRef(name="tanh")),
    (torch.special.expit, ActivationRef(name="sigmoid")),
    (nn.SiLU(), ActivationRef(name="silu")),
    (nn.Hardtanh(), ActivationRef(name="hardtanh")),
    (torch.sin, ActivationRef(name="sin")),
]


@pytest.mark.parametrize(("function", "reference"), ACTIVATIONS)
def test_activations_by_name_and_parameter(function: Any, reference: ActivationRef) -> None:
    modules = {"fc": nn.Linear(zoo.FEATURES, 8), "head": nn.Linear(8, 3)}
    model = _Wrapped(lambda self, x: self.head(function(self.fc(x))), **modules)
    found = [op for op in read(model, zoo.vectors(0)).values() if op.activation is not None]
    assert [op.activation for op in found] == [reference]
    assert found[0].kind == "activation" and found[0].unit_axis == 1


def test_outputs_point_at_the_head() -> None:
    with_loss = observe(zoo.mlp(1), zoo.vectors(0), target=zoo.labels(0)).network
    without = observe(zoo.mlp(1), zoo.vectors(0)).network
    assert with_loss.operations[with_loss.outputs[0]].name == "2"
    assert without.outputs == with_loss.outputs and len(without.operations) == 4
