"""On a model that runs, `check` returns, and what it says is true; else there is one clear line."""

from __future__ import annotations

import concurrent.futures
import math
import types
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import models as zoo
import numpy as np
import pytest
import torch
from test_untouched import unchanged_after
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

import firstlight as fl
from firstlight.errors import BadInputError, ModelRaisedError, NoRuleError
from firstlight.records.checkup import Checkup, ParameterReading
from firstlight.records.codec import from_json, to_json

WIDTH = 8
CLOSE = 1e-5


def x(samples: int = 16) -> Tensor:
    return torch.randn(samples, WIDTH, generator=torch.Generator().manual_seed(0))


def y(samples: int = 16, classes: int = WIDTH) -> Tensor:
    return torch.arange(samples) % classes


class Net(nn.Module):
    """Two dense layers and whatever a function makes of them."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self.function(self, *args, **keywords)


def plain(net: Net, value: Tensor) -> Tensor:
    return net.fc2(net.fc1(value).relu())


def checked(model: nn.Module, batch: Any = None, **options: Any) -> Checkup:
    """A checkup that touched nothing, comes out the same twice and can be shown and saved."""
    with unchanged_after(model, batch):
        checkup = fl.check(model, batch, **options)
        again = fl.check(model, batch, **options)
        fl.audit(model)
    assert again.findings == checkup.findings
    assert from_json(to_json(checkup)) == checkup
    assert str(checkup) and "<" in checkup._repr_html_()
    return checkup


def reading(checkup: Checkup, name: str) -> ParameterReading:
    return next(p for p in checkup.observation.parameters if p.name == name)


def functions(checkup: Checkup) -> list[str]:
    return [op.function for op in checkup.network.operations]


def gradient_rms(model: nn.Module, batch: Any, target: Tensor, name: str) -> float:
    """Of the cross-entropy, in plain torch."""
    loss = functional.cross_entropy(model(batch), target)
    gradient = torch.autograd.grad(loss, model.get_parameter(name))[0]
    return float(gradient.double().square().mean().sqrt())


def assert_measured(checkup: Checkup, model: nn.Module, target: Tensor, name: str) -> None:
    """The gradient that was found is the one that plain torch finds."""
    expected = gradient_rms(model, x(), target, name)
    assert reading(checkup, name).gradient_rms == pytest.approx(expected, rel=CLOSE)


# Operations that nobody knows --------------------------------------------------------------------


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value * 3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 3


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "fft": lambda h: torch.fft.ifft(torch.fft.fft(h)).real,
    "cumsum": lambda h: h.cumsum(dim=1),
    "sort": lambda h: h.sort(dim=1).values,
    "einsum of data": lambda h: torch.einsum("bi,bj->bj", h, h),
    "custom function": Tripled.apply,
    "logcumsumexp": lambda h: torch.logcumsumexp(h, dim=1),
    "scatter": lambda h: torch.zeros_like(h).scatter(1, torch.zeros_like(h).long(), h),
    "where": lambda h: torch.where(h > 0, h, 0.1 * h),
    "special": lambda h: torch.special.expit(h) * torch.special.i0e(h),
    "vmap": torch.vmap(lambda row: row.flip(0) * row.norm()),
    "inner gradient": lambda h: torch.autograd.grad(h.tanh().sum(), h, create_graph=True)[0] + h,
    "checkpoint": lambda h: torch.utils.checkpoint.checkpoint(torch.sin, h, use_reentrant=False),
    "thread": lambda h: concurrent.futures.ThreadPoolExecutor(1).submit(torch.sin, h).result(),
    "sparse product": lambda h: torch.sparse.mm(torch.eye(WIDTH).to_sparse(), h.T).T,
    "autocast": torch.autocast("cpu", torch.bfloat16)(torch.relu),
    "numpy on the side": lambda h: h * float(np.mean(h.detach().numpy()) + 1),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_operations_are_measured_around(name: str) -> None:
    function = UNKNOWN[name]
    model = Net(lambda net, value: net.fc2(function(net.fc1(value))))
    checkup = checked(model, x(), target=y())
    assert_measured(checkup, model, y(), "fc1.weight")
    # What no function mode sees is named as such.
    assert {"fc1", "fc2"} <= {r.name for r in checkup.layers} or checkup.network.not_looked_into


def test_a_custom_function_without_a_name_in_torch_is_recorded() -> None:
    checkup = checked(Net(lambda net, value: net.fc2(Tripled.apply(net.fc1(value)))), x())
    before, after = (next(r for r in checkup.layers if r.name == n) for n in ("fc1", "fc2"))
    assert before.delta_mean_square and after.delta_mean_square


def by_sign(net: Net, value: Tensor) -> Tensor:
    hidden = net.fc1(value)
    for _ in range(int(value.abs().max() * 2)):
        hidden = net.fc2(hidden) if bool(hidden.mean() > 0) else net.fc2(hidden).relu()
    return hidden


def test_control_flow_that_depends_on_data() -> None:
    model = Net(by_sign)
    times = int(x().abs().max() * 2)
    checkup = checked(model, x(), target=y())
    assert functions(checkup).count("linear") == 1 + times
    assert_measured(checkup, model, y(), "fc2.weight")


# Wrappers ----------------------------------------------------------------------------------------


def _mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
    "compiled and data parallel": lambda model: nn.DataParallel(torch.compile(model)),
}


# Importing torch's compiler warns of parts of torch that it will drop.
compiling = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@compiling
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_gives_the_checkup_of_what_it_wraps(name: str) -> None:
    wrapped = WRAPPERS[name](_mlp())
    assert checked(wrapped, x(), target=y()) == checked(_mlp(), x(), target=y())
    assert fl.audit(wrapped) == fl.audit(_mlp())
    fl.plan(wrapped, x()).apply(wrapped, seed=0)
    expected = _mlp()
    fl.plan(expected, x()).apply(expected, seed=0)
    found = list(wrapped.parameters())
    assert all(torch.equal(a, b) for a, b in zip(found, expected.parameters(), strict=True))


@compiling
def test_a_compiled_part_is_opened() -> None:
    model = nn.Sequential(torch.compile(nn.Linear(WIDTH, WIDTH)), nn.ReLU(), nn.Linear(WIDTH, 3))
    checkup = checked(model, x())
    assert functions(checkup) == ["input", "linear", "relu", "linear"]
    assert checkup.network.parameters[0].name == "0.weight"


@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, x())])
@compiling
def test_a_script_is_named_as_not_looked_into(make: Any) -> None:
    checkup = checked(make(_mlp()), x(), target=y())
    assert checkup.network.not_looked_into
    expected = gradient_rms(_mlp(), x(), y(), "0.weight")
    assert reading(checkup, "0.weight").gradient_rms == pytest.approx(expected, rel=CLOSE)


# Parameters of other kinds -----------------------------------------------------------------------


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, WIDTH, dtype=torch.complex64)
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, value: Tensor) -> Tensor:
        return self.head(self.fc(value.to(torch.complex64)).abs())


def test_complex_parameters_are_looked_past() -> None:
    model = Complex()
    checkup = checked(model, x(), target=y())
    weight = model.fc.weight.detach()
    assert reading(checkup, "fc.weight").value_rms == pytest.approx(
        float(weight.abs().square().mean().sqrt()), rel=CLOSE
    )
    assert checkup.network.parameter("fc.weight").kind == "other"
    assert_measured(checkup, model, y(), "head.weight")
    with pytest.raises(NoRuleError, match=r"fc\.weight"):
        fl.plan(model, x())
    before = weight.clone()
    fl.plan(model, x(), keep=["fc.*"]).apply(model, seed=0)
    assert torch.equal(model.fc.weight, before)


def test_a_complex_output_has_a_gradient() -> None:
    model = nn.Linear(3, 2, dtype=torch.complex64)
    checkup = checked(model, torch.randn(4, 3, dtype=torch.complex64))
    assert reading(checkup, "weight").gradient_rms


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


# What is held, and how it enters: the values are the same eye or ones in each case.
HELD: dict[str, tuple[Callable[[], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "int8": (lambda: torch.ones(WIDTH, WIDTH).to(torch.int8), lambda q, h: h @ q.float()),
    "bool": (lambda: torch.ones(WIDTH, WIDTH).bool(), lambda q, h: h * q[0]),
    "float8": (
        lambda: torch.ones(WIDTH, WIDTH).to(torch.float8_e4m3fn),
        lambda q, h: h @ q.float(),
    ),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.ones(WIDTH, WIDTH), 0.5, 0, torch.qint8),
        lambda q, h: h @ q.dequantize(),
    ),
    "coordinates": (
        lambda: torch.ones(WIDTH, WIDTH).to_sparse(),
        lambda q, h: torch.sparse.mm(q, h.T).T,
    ),
    "compressed rows": (lambda: torch.ones(WIDTH, WIDTH).to_sparse_csr(), lambda q, h: (q @ h.T).T),
}


@pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC|invariant):UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning")
@pytest.mark.parametrize("name", HELD)
def test_tensors_that_are_not_drawn_are_looked_past(name: str) -> None:
    make, enter = HELD[name]
    model = Net(lambda net, v: net.fc2(enter(net.q, net.fc1(v))), q=_frozen(make()))
    checkup = checked(model, x(), target=y())
    assert reading(checkup, "q").value_rms == 1
    assert not any("q" in finding.where for finding in checkup.findings)
    assert_measured(checkup, model, y(), "fc1.weight")
    plan = fl.plan(model, x())
    assert plan["q"].action == "keep" and plan["fc1.weight"].action == "draw"


def test_a_sparse_weight_that_trains() -> None:
    model = Net(lambda net, v: net.fc2(torch.sparse.mm(net.q, net.fc1(v).T).T))
    model.q = nn.Parameter(torch.eye(WIDTH).to_sparse())
    checkup = checked(model, x(), target=y())
    assert reading(checkup, "q").gradient_rms
    assert reading(checkup, "q").value_rms == pytest.approx(WIDTH**-0.5)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch.ao")
def test_a_quantised_part_in_a_model_that_trains() -> None:
    from torch.ao.quantization import quantize_dynamic

    model = _mlp()
    model[0] = quantize_dynamic(nn.Sequential(model[0]), {nn.Linear})[0]
    checkup = checked(model, x(), target=y())
    assert [p.name for p in checkup.network.parameters] == ["2.weight", "2.bias"]
    assert_measured(checkup, model, y(), "2.weight")


@pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_quantised_head_stops_every_gradient() -> None:
    from torch.ao.quantization import quantize_dynamic

    model = _mlp()
    model[2] = quantize_dynamic(nn.Sequential(model[2]), {nn.Linear})[0]
    checkup = checked(model, x())
    assert checkup.findings[0].kind in ("no-gradient", "unreachable")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_inside() -> None:
    def ragged(net: Net, value: Tensor) -> Tensor:
        rows = torch.nested.nested_tensor_from_jagged(value, torch.tensor([0, 3, 16]))
        return net.fc2(net.fc1(rows).values())

    model = Net(ragged)
    checkup = fl.check(model, x(), target=y())
    assert_measured(checkup, model, y(), "fc1.weight")


def test_values_whose_squares_overflow() -> None:
    checkup = checked(_mlp(), 1e25 * x())
    for seen in checkup.layers:
        assert seen.non_finite == 0
        assert seen.second_moment and math.isfinite(seen.second_moment.value), seen.name


def test_a_parameter_without_elements_is_no_fault() -> None:
    model = Net(lambda net, v: plain(net, v) + net.none.sum(), none=nn.Parameter(torch.zeros(0)))
    assert not any("none" in finding.where for finding in checked(model, x()).findings)


LINES: dict[str, tuple[Callable[[], Any], str]] = {
    "lazy": (lambda: fl.check(nn.LazyLinear(3), x()), "weight: a lazy parameter"),
    "lazy part": (
        lambda: fl.check(Net(plain, more=nn.LazyConv2d(3, 3)), x()),
        "more.weight: a lazy parameter without a shape yet; run the model once",
    ),
    "meta": (lambda: fl.check(nn.Linear(3, 3, device="meta"), x()), "weight: on the meta device"),
    "meta part": (
        lambda: fl.check(Net(plain, more=nn.Linear(3, 3, device="meta")), x()),
        "more.weight: on the meta device, it has no values; plan and apply first",
    ),
    "a list from a loader": (
        lambda: fl.check(_mlp(), [x(), y()]),
        "batch: the 2 items of a list are passed as 2 arguments, and Sequential.forward takes"
        " another number; of (inputs, targets) pass the inputs, and target=targets",
    ),
    "a list of samples": (lambda: fl.check(_mlp(), list(x())), "torch.stack(samples)"),
    "numbers": (
        lambda: fl.check(_mlp(), x().tolist()),
        "batch: no tensor in a list; expected a tensor, tuple or mapping (torch.tensor(batch)",
    ),
    "a loader": (
        lambda: fl.check(_mlp(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x()))),
        "batch: no tensor in a DataLoader; expected a tensor, tuple or mapping; of a loader pass"
        " one batch, next(iter(loader))",
    ),
    "a list of targets": (
        lambda: fl.check(_mlp(), x(), target=y().tolist()),
        "target: a list fits no loss by itself; pass a tensor, or loss= or step=",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_one_clear_line(name: str) -> None:
    act, words = LINES[name]
    with pytest.raises(BadInputError) as caught:
        act()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_type_error_inside_the_model_is_not_blamed_on_the_batch() -> None:
    model = Net(lambda net, one, two: one + "text")
    with pytest.raises(ModelRaisedError, match="raised TypeError"):
        fl.check(model, (x(), x()))


# Outputs -----------------------------------------------------------------------------------------


@dataclass
class Data:
    logits: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Derived:
    """Fields that no constructor takes."""

    value: Tensor
    twice: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.value)


Pair = namedtuple("Pair", ["logits", "hidden"])


def _yielding(net: Net, value: Tensor) -> Iterator[Tensor]:
    yield net.fc2(net.fc1(value).relu())
    yield value


def _endless(net: Net, value: Tensor) -> Iterator[Tensor]:
    while True:
        yield net.fc2(net.fc1(value).relu())


OUTPUTS: dict[str, Callable[[Net, Tensor], Any]] = {
    "tensor": plain,
    "dict": lambda net, v: {"logits": plain(net, v), "in": v},
    "ordered": lambda net, v: OrderedDict(out=plain(net, v)),
    "tuple": lambda net, v: (plain(net, v), None, "text"),
    "list": lambda net, v: [plain(net, v)],
    "nested": lambda net, v: {"a": [({"b": plain(net, v)},)]},
    "data class": lambda net, v: Data(plain(net, v), v),
    "named tuple": lambda net, v: Pair(plain(net, v), v),
    "namespace": lambda net, v: types.SimpleNamespace(logits=plain(net, v)),
    "generator": _yielding,
    "generator without end": _endless,
    "map": lambda net, v: map(net.fc2, [net.fc1(v).relu()]),
    "values": lambda net, v: {"a": plain(net, v)}.values(),
    "queue": lambda net, v: deque([plain(net, v)]),
    "distribution": lambda net, v: torch.distributions.Categorical(logits=plain(net, v)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_kind_of_output(name: str) -> None:
    torch.manual_seed(0)
    model = Net(OUTPUTS[name])
    without = checked(model, x())
    assert without.observation.cotangent == "random"
    assert all(reading(without, p.name).gradient_rms for p in without.network.parameters)
    torch.manual_seed(0)
    with_target = checked(model, x(), target=y())
    if name != "distribution":  # its logits are normalised before they are given away
        reference = Net(plain)
        reference.load_state_dict(model.state_dict())
        expected = functional.cross_entropy(reference(x()), y())
        assert with_target.observation.loss == pytest.approx(float(expected.detach()), rel=CLOSE)


def test_a_packed_sequence_goes_in_and_comes_out() -> None:
    series = torch.randn(16, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    packed = pack_padded_sequence(series, [5] * 8 + [3] * 8, batch_first=True)
    checkup = checked(nn.LSTM(WIDTH, 4, batch_first=True), packed)
    assert all(p.gradient_rms for p in checkup.observation.parameters)


OWN: dict[str, tuple[Callable[..., Any], Any]] = {
    "in a mapping": (lambda net, v, t: {"loss": functional.mse_loss(plain(net, v), t)}, None),
    "as an attribute": (
        lambda net, v, t: types.SimpleNamespace(loss=functional.mse_loss(plain(net, v), t)),
        None,
    ),
    "alone": (lambda net, v, t: functional.mse_loss(plain(net, v), t), None),
    "first of a tuple": (lambda net, v, t: (functional.mse_loss(plain(net, v), t), v), None),
    "of each sample": (
        lambda net, v, t: {"loss": functional.mse_loss(plain(net, v), t, reduction="none")},
        None,
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_models_that_compute_their_own_loss(name: str) -> None:
    model = Net(OWN[name][0])
    checkup = checked(model, (x(), 3 + x()))
    expected = functional.mse_loss(plain(model, x()), 3 + x())
    seen = checkup.observation
    assert (seen.task, seen.cotangent) == ("regression", "loss")
    assert seen.loss == pytest.approx(float(expected.detach()), rel=CLOSE)
    assert seen.undecided_loss == pytest.approx(float((3 + x()).square().mean()), rel=CLOSE)


# Inputs ------------------------------------------------------------------------------------------

INPUTS: dict[str, tuple[Callable[..., Tensor], Callable[[], Any]]] = {
    "several": (lambda net, a, b: plain(net, a + b), lambda: (x(), x())),
    "keywords": (lambda net, *, a, flag: plain(net, a * flag), lambda: {"a": x(), "flag": 2}),
    "integers": (lambda net, ids: plain(net, net.fc1.weight[ids]), lambda: y(16)),
    "masks": (lambda net, v, m: plain(net, v * m), lambda: (x(), x() > 0)),
    "arrays": (plain, lambda: x().numpy()),
    "doubles as integers": (lambda net, v: plain(net, v.float()), (100 * x()).long),
    "data class": (lambda net, d: plain(net, d.logits + d.hidden), lambda: Data(x(), x())),
    "derived fields": (lambda net, d: plain(net, d.value + d.twice), lambda: Derived(x())),
    "nested": (lambda net, a, b: plain(net, a["v"][0] + b), lambda: ({"v": [x()]}, x())),
    "text beside it": (lambda net, v, how: plain(net, v), lambda: (x(), "mean")),
    "batch of one": (plain, lambda: x(1)),
    "no batch axis": (plain, lambda: x()[0]),
    "zeros": (plain, lambda: torch.zeros(16, WIDTH)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_every_kind_of_input(name: str) -> None:
    function, make = INPUTS[name]
    model = Net(function)
    batch = make()
    checkup = checked(model, batch)
    found = {r.name: r for r in checkup.layers}
    assert {"fc1", "fc2"} <= found.keys()
    assert reading(checkup, "fc2.bias").gradient_rms
    samples = {"batch of one": 1, "no batch axis": WIDTH}.get(name, 16)
    assert checkup.observation.samples == samples
    if name == "zeros":
        assert reading(checkup, "fc1.weight").gradient_rms == 0


def test_a_sample_and_its_label_without_a_batch_axis() -> None:
    checkup = checked(_mlp(), x()[0], target=torch.tensor(3))
    expected = functional.cross_entropy(_mlp()(x()[0]), torch.tensor(3))
    assert checkup.observation.loss == pytest.approx(float(expected.detach()), rel=CLOSE)


def test_one_sample_under_batch_norm_is_torchs_own_refusal() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH))
    with pytest.raises(ModelRaisedError, match="Expected more than 1 value per channel"):
        fl.check(model, x(1))


def test_all_frozen() -> None:
    checkup = checked(_mlp().requires_grad_(False), x())
    assert not any(p.trainable for p in checkup.network.parameters)
    assert all(p.gradient_rms is None for p in checkup.observation.parameters)


SYNTHETIC: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (_mlp, (64, WIDTH)),
    "images": (zoo.ConvNet, (64, 3, 8, 8)),
    "tokens": (zoo.Transformer, (64, 16)),
    "series": (zoo.LSTMClassifier, (64, 16, 16)),
    "signal": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU()), (64, 2, 8)),
    "volume": (lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU()), (64, 1, 8, 8, 8)),
    "cell": (lambda: nn.GRUCell(5, 7), (64, 5)),
    "norm first": (lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 2)), (64, 6)),
}


@pytest.mark.parametrize("name", SYNTHETIC)
def test_no_batch_at_all(name: str) -> None:
    make, shape = SYNTHETIC[name]
    checkup = checked(make())
    assert checkup.observation.samples == shape[0]
    floating = [op for op in checkup.network.operations if op.kind == "input"]
    assert name == "tokens" or floating[0].shape == shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_without_a_batch(dtype: torch.dtype) -> None:
    checkup = checked(_mlp().to(dtype))
    assert checkup.observation.dtype == str(dtype).removeprefix("torch.")
