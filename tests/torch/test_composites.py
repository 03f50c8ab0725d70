"""Opened composites: the same numbers as torch's own, and what is seen inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from firstlight.frameworks.torch.layouts import named_tensors
from firstlight.frameworks.torch.observing import observe
from firstlight.frameworks.torch.tracing import Tracer, tensors_in
from firstlight.records.checkup import Observation
from firstlight.records.network import Operation

flags = st.booleans()


def alone(result: Any) -> list[Tensor]:
    if isinstance(result, PackedSequence):
        return [result.data]
    return [t for part in result for t in alone(part)] if isinstance(result, tuple) else [result]


def outcome(model: nn.Module, call: Callable[[], Any]) -> list[Tensor]:
    """Results, gradients and the random state afterwards."""
    torch.manual_seed(5)
    results = [t for t in alone(call()) if t is not None]
    total = sum((t.double() ** 2).sum() for t in results)
    found = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    return [*results, *(g for g in found if g is not None), torch.get_rng_state()]


def traced(model: nn.Module, inputs: Any, call: Callable[[], Any]) -> tuple[Tracer, list[Tensor]]:
    names = {id(p): n for n, p in named_tensors(model).items()}
    tracer = Tracer(model, names, lambda operation, result, data: result)

    def run() -> Any:
        with tracer.module_names(), tracer:
            tracer.add_inputs(tensors_in(inputs))
            return call()

    return tracer, outcome(model, run)


def assert_same(model: nn.Module, inputs: Any, call: Callable[[], Any]) -> list[Operation]:
    tracer, seen = traced(model, inputs, call)
    plain = outcome(model, call)
    assert len(seen) == len(plain)
    for one, other in zip(seen[:-1], plain[:-1], strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert torch.equal(seen[-1], plain[-1]), "the random state afterwards"
    assert not any(op.opaque for op in tracer.operations)
    return tracer.operations


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_attention_gives_the_same_numbers(data: st.DataObject) -> None:
    draw = data.draw
    heads = draw(st.sampled_from([1, 2, 4]))
    width = 4 * heads
    crossed = draw(flags)
    kdim = draw(st.sampled_from([None, 6])) if crossed else None
    vdim = draw(st.sampled_from([None, 3])) if crossed else None
    batch_first, batched, weighted = draw(flags), draw(flags), draw(flags)
    extra = draw(flags)  # bias_k and bias_v need static keys
    torch.manual_seed(0)
    model = nn.MultiheadAttention(
        width,
        heads,
        dropout=draw(st.sampled_from([0.0, 0.3])),
        bias=draw(flags),
        add_bias_kv=extra,
        add_zero_attn=draw(flags),
        kdim=kdim,
        vdim=vdim,
        batch_first=batch_first,
    ).train(draw(flags))
    batch, targets = 3, draw(st.integers(1, 4))
    sources = draw(st.integers(1, 5)) if crossed else targets

    def tokens(length: int, features: int) -> Tensor:
        shape = (batch, length) if batch_first else (length, batch)
        return torch.randn(*(shape if batched else (length,)), features)

    query = tokens(targets, width)
    key = tokens(sources, kdim or width) if crossed else query
    value = tokens(sources, vdim or width) if crossed else query
    mask = draw(st.sampled_from(["none", "bool", "float", "causal"]))
    options: dict[str, Any] = {"need_weights": weighted, "average_attn_weights": draw(flags)}
    if mask != "none":
        later = torch.triu(torch.ones(targets, sources, dtype=torch.bool), 1)
        options["attn_mask"] = later if mask != "float" else torch.randn(targets, sources)
        options["is_causal"] = mask == "causal" and not crossed
    if draw(flags):
        padding = torch.zeros(*([batch] if batched else []), sources, dtype=torch.bool)
        padding[..., sources - 1] = sources > 1 and mask == "none"
        if mask == "float":
            padding = torch.zeros_like(padding, dtype=torch.float32)
        options["key_padding_mask"] = padding
    inputs = (query, key, value)
    operations = assert_same(model, inputs, lambda: model(*inputs, **options))
    weighted_names = [op.name for op in operations if op.function == "linear"]
    assert weighted_names[-1] == "out_proj"
    separate = kdim is not None or vdim is not None
    first = "q_proj" if separate else "in_proj"
    assert all(name.startswith(first) for name in weighted_names[:1])
    used = {name for op in operations for name in op.parameters}
    assert used == set(named_tensors(model))


KINDS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": lambda *a, **k: nn.RNN(*a, nonlinearity="tanh", **k),
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}


@settings(max_examples=120, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:dropout option adds dropout", "ignore:LSTM with projections")
def test_recurrent_stacks_give_the_same_numbers(data: st.DataObject) -> None:
    draw = data.draw
    kind = draw(st.sampled_from(sorted(KINDS)))
    layers, both, batch_first = draw(st.integers(1, 3)), draw(flags), draw(flags)
    packed, given_state, biased = draw(flags), draw(flags), draw(flags)
    batched = packed or draw(flags)
    projected = draw(st.sampled_from([0, 2])) if kind == "lstm" else 0
    more = {"proj_size": projected} if projected else {}
    torch.manual_seed(1)
    model = KINDS[kind](
        5,
        4,
        layers,
        bias=biased,
        batch_first=batch_first,
        dropout=draw(st.sampled_from([0.0, 0.4])),
        bidirectional=both,
        **more,
    ).train(draw(flags))
    batch, steps = 3, draw(st.integers(1, 6))
    shape = ((batch, steps) if batch_first else (steps, batch)) if batched else (steps,)
    x: Any = torch.randn(*shape, 5)
    if packed:
        lengths = torch.tensor([max(1, steps - 2), steps, max(1, steps - 1)])
        x = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    directions = 2 if both else 1
    hidden = torch.randn(layers * directions, *([batch] if batched else []), projected or 4)
    state: Any = None
    if given_state:
        cell = torch.randn(layers * directions, *([batch] if batched else []), 4)
        state = (hidden, cell) if kind == "lstm" else hidden
    operations = assert_same(model, x, lambda: model(x, state))
    assert sum(op.kind == "composite" for op in operations) == layers
    assert sum(op.kind == "weighted" for op in operations) == layers * directions
    assert {name for op in operations for name in op.parameters} == set(named_tensors(model))


def readings(observation: Observation) -> dict[str, Any]:
    return {reading.name: reading for reading in observation.readings}


class Classifier(nn.Module):
    """The last state of a recurrent stack into a head."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, 2, batch_first=True, **options)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[1][0][-1])


def test_names_and_trail_of_a_recurrent_stack() -> None:
    torch.manual_seed(0)
    seen = observe(Classifier(dropout=0.25), torch.randn(16, 7, 6), target=torch.arange(16) % 3)
    named = {op.name: op for op in seen.network.operations}
    assert list(named) == [
        *("input", "lstm.ih_l0", "lstm.tanh", "lstm.hh_l0", "lstm.dropout"),
        *("lstm.ih_l1", "lstm.tanh#2", "lstm.hh_l1", "getitem", "head", "cross_entropy"),
    ]
    assert named["lstm.ih_l1"].parameters == ("lstm.weight_ih_l1", "lstm.bias_ih_l1")
    assert named["lstm.hh_l1"].parameters == ("lstm.weight_hh_l1", "lstm.bias_hh_l1")
    assert named["lstm.dropout"].rate == 0.25
    chain = list(named.values())
    assert [op.inputs for op in chain] == [(), *((i,) for i in range(len(chain) - 1))]
    assert seen.network.not_looked_into == ()
    found = readings(seen)
    # δ is seen at each layer's result, though the model reads only the last state.
    assert all(found[f"lstm.hh_l{i}"].delta_square_per_sample.value > 0 for i in (0, 1))
    assert found["lstm.ih_l0"].delta_square_per_sample is None


def test_behind_a_zero_head_a_recurrent_stack_is_seen_from_the_heads_input() -> None:
    model = Classifier()
    nn.init.zeros_(model.head.weight)
    seen = observe(model, torch.randn(16, 7, 6), target=torch.arange(16) % 3)
    assert seen.cotangent == "head-input"
    assert readings(seen)["lstm.hh_l0"].delta_square_per_sample.value > 0


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_large_weights_saturate_the_gate_of_a_recurrent_net(kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(KINDS[kind](6, 32, batch_first=True))
    x = torch.randn(64, 5, 6)

    def saturated() -> float:
        return readings(observe(model, x))["0.tanh"].saturated_fraction

    assert saturated() < 0.01
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(30.0 if "weight" in name else 1.0)
    assert saturated() > 0.5


def by_hand(name: str, cell: nn.RNNCellBase, x: Tensor) -> Tensor:
    """A gate's values of a single layer, from torch's own cells: the state from h = f(gate)."""
    h, c = torch.zeros(len(x), cell.hidden_size), torch.zeros(len(x), cell.hidden_size)
    gates = []
    for step in x.unbind(1):
        pre_i = step @ cell.weight_ih.T + cell.bias_ih
        pre_h = h @ cell.weight_hh.T + cell.bias_hh
        if name == "lstm":
            gates.append(torch.tanh((pre_i + pre_h).chunk(4, 1)[2]))
            h, c = cell(step, (h, c))
        else:
            r = torch.sigmoid((pre_i + pre_h).chunk(3, 1)[0])
            gates.append(torch.tanh(pre_i.chunk(3, 1)[2] + r * pre_h.chunk(3, 1)[2]))
            h = cell(step, h)
    return torch.stack(gates, 1).detach()


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_gate_is_that_of_torchs_cell(name: str) -> None:
    torch.manual_seed(0)
    stack = KINDS[name](6, 8, batch_first=True)
    cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[name](6, 8)
    with torch.no_grad():
        for local, parameter in cell.named_parameters():
            parameter.copy_(getattr(stack, f"{local}_l0"))
    x = torch.randn(9, 5, 6)
    reading = readings(observe(nn.Sequential(stack), x))["0.tanh"]
    expected = float((by_hand(name, cell, x) ** 2).mean())
    assert reading.second_moment.value == pytest.approx(expected, rel=1e-4)


def test_attention_is_seen_from_its_projection_to_its_head() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False
    )
    seen = observe(model, torch.randn(8, 5, 16))
    weighted = [op.name for op in seen.network.operations if op.kind == "weighted"]
    parts = ("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2")
    assert weighted == [f"layers.{i}.{part}" for i in (0, 1) for part in parts]
    assert seen.network.not_looked_into == ()
    found = readings(seen)
    assert all(found[name].delta_square_per_sample.value > 0 for name in weighted)
    heads = [op for op in seen.network.operations if op.function == "scaled_dot_product_attention"]
    assert len(heads) == 2 and not heads[0].opaque


def test_attention_weights_are_a_softmax_when_they_are_asked_for() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, dropout=0.5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x)[0]

    operations = observe(Attending(), torch.randn(8, 5, 16)).network.operations
    order = [op.name for op in operations if op.kind in ("weighted", "softmax", "dropout")]
    inside = ("in_proj", "softmax", "dropout", "out_proj")
    assert order == [f"attention.{name}" for name in inside]


def test_nested_tensors_stay_closed() -> None:
    from firstlight.frameworks.torch import composites

    nested = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], layout=torch.jagged)
    assert composites.attention(nn.functional.multi_head_attention_forward, [nested]) is None
    assert composites.attention(nn.functional.linear, [torch.ones(2)]) is None
