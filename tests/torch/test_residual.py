"""Which additions are residual, which streams they form, and what only weighs a signal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.network.graph import Graph

WIDTH = 12


class _Written(nn.Module):
    """Layers by name, and a forward pass that is a function of them and the input."""

    def __init__(self, forward: Callable[[nn.ModuleDict, Tensor], Tensor], **layers: nn.Module):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self.layers, x)


def _dense(*names: str) -> dict[str, nn.Module]:
    return {name: nn.Linear(WIDTH, WIDTH) for name in names}


def _graph(forward: Callable[[nn.ModuleDict, Tensor], Tensor], **layers: nn.Module) -> Graph:
    model = _Written(forward, **layers)
    return Graph(fl.check(model, torch.randn(64, WIDTH)).network)


def _streams(graph: Graph) -> list[list[tuple[str, ...]]]:
    """The weights of each branch, by stream."""
    return [
        [tuple(op.name.removeprefix("layers.") for op in branch.weights) for branch in stream]
        for stream in graph.streams
    ]


def test_pre_norm_and_post_norm_blocks_form_one_stream() -> None:
    norms = {name: nn.LayerNorm(WIDTH) for name in ("n", "m")}

    def before(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["first"](x)
        x = x + m["b"](torch.relu(m["a"](m["n"](x))))
        return m["head"](x + m["d"](torch.relu(m["c"](m["m"](x)))))

    def after(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["first"](x)
        x = m["n"](x + m["b"](torch.relu(m["a"](x))))
        return m["head"](m["m"](x + m["d"](torch.relu(m["c"](x)))))

    for forward, normed in ((before, True), (after, False)):
        graph = _graph(forward, **_dense("first", "a", "b", "c", "d", "head"), **norms)
        assert _streams(graph) == [[("a", "b"), ("c", "d")]]
        assert all(branch.normed == normed for branch in graph.branches)


def test_a_projection_on_the_skip_is_no_branch() -> None:
    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = torch.relu(m["first"](x))
        x = torch.relu(m["skip"](x) + m["b"](torch.relu(m["a"](x))))
        return m["head"](torch.relu(x + m["d"](torch.relu(m["c"](x)))))

    graph = _graph(forward, **_dense("first", "skip", "a", "b", "c", "d", "head"))
    assert _streams(graph) == [[("a", "b"), ("c", "d")]]


def test_two_branches_that_read_one_signal_are_one_stream() -> None:
    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["first"](x)
        return m["head"](x + m["a"](torch.tanh(x)) + m["b"](torch.relu(x)))

    graph = _graph(forward, **_dense("first", "a", "b", "head"))
    assert _streams(graph) == [[("a",), ("b",)]]


def test_adapters_on_parallel_weights_hand_nothing_to_each_other() -> None:
    def adapted(m: nn.ModuleDict, name: str, x: Tensor) -> Tensor:
        return m[name](x) + m[f"{name}_up"](m[f"{name}_down"](x))

    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["first"](x)
        query, key = adapted(m, "q", x), adapted(m, "k", x)
        return m["head"](x + m["out"](torch.tanh(query) * torch.tanh(key)))

    names = ("first", "q", "q_up", "q_down", "k", "k_up", "k_down", "out", "head")
    graph = _graph(forward, **_dense(*names))
    assert [len(stream) for stream in graph.streams] == [1, 1, 1]


@pytest.mark.parametrize(
    "forward",
    [
        # scores and a bias that depends on the data
        lambda m, x: m["head"](torch.softmax((h := m["a"](x)) @ m["b"](x).T + h @ x.T, -1) @ x),
        # a pyramid: two lateral projections
        lambda m, x: m["head"](m["a"](torch.relu(x)) + m["b"](torch.tanh(x))),
    ],
)
def test_other_additions_are_not_residual(
    forward: Callable[[nn.ModuleDict, Tensor], Tensor],
) -> None:
    assert _graph(forward, **_dense("a", "b", "head")).branches == ()


def test_gates_scores_and_routers_only_steer() -> None:
    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["first"](x)
        gate = torch.sigmoid(m["expand"](torch.relu(m["squeeze"](x))))
        scores = torch.softmax(m["q"](x) @ m["k"](x).T, dim=-1)
        return m["head"](scores @ m["v"](x) * gate)

    names = ("first", "squeeze", "expand", "q", "k", "v", "head")
    graph = _graph(forward, **_dense(*names))
    steering = {graph.operations[i].name for i in graph.steering if graph.operations[i].parameters}
    assert steering == {f"layers.{name}" for name in ("squeeze", "expand", "q", "k")}


def test_query_and_key_of_fused_attention_steer_and_the_value_does_not() -> None:
    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        q, k, v = (m[name](x)[None] for name in "qkv")
        return m["head"](functional.scaled_dot_product_attention(q, k, v)[0])

    graph = _graph(forward, **_dense("q", "k", "v", "head"))
    steering = {graph.operations[i].name for i in graph.steering if graph.operations[i].parameters}
    assert steering == {"layers.q", "layers.k"}


def test_a_gelu_by_hand_gates_itself() -> None:
    def by_hand(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["a"](x)
        return m["head"](0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * x**3))))

    def plain(m: nn.ModuleDict, x: Tensor) -> Tensor:
        return m["head"](torch.tanh(m["a"](x)) * torch.relu(x))

    for forward, expected in ((by_hand, True), (plain, False)):
        graph = _graph(forward, **_dense("a", "head"))
        (tanh,) = (op for op in graph.operations if op.function == "tanh")
        assert graph.is_self_gate(tanh) == expected


def test_every_block_of_a_deep_network_is_found() -> None:
    names = [f"{kind}{i}" for i in range(40) for kind in "ab"]

    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["first"](x)
        for i in range(40):
            x = x + m[f"b{i}"](torch.relu(m[f"a{i}"](x)))
        return m["head"](x)

    graph = _graph(forward, **_dense("first", *names, "head"))
    assert _streams(graph) == [[(f"a{i}", f"b{i}") for i in range(40)]]


def test_what_a_stream_began_with_may_be_added_again() -> None:
    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        start = x = m["first"](x)
        for name in "abc":
            x = x + m[name](torch.relu(x))
            x = x + 0.1 * start
        return m["head"](x)

    graph = _graph(forward, **_dense("first", "a", "b", "c", "head"))
    assert _streams(graph) == [[("a",), ("b",), ("c",)]]


def test_a_residual_block_may_stand_in_a_branch() -> None:
    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["first"](x)
        inner = m["a"](torch.relu(x))
        return m["head"](x + (inner + m["b"](torch.relu(inner))))

    graph = _graph(forward, **_dense("first", "a", "b", "head"))
    assert _streams(graph) == [[("b",)], [("a", "b")]]


def test_a_modulation_is_no_stream() -> None:
    def forward(m: nn.ModuleDict, x: Tensor) -> Tensor:
        condition = torch.tanh(m["first"](x))
        x = m["enter"](x)
        for name in "abc":
            shift, gate = m[f"{name}_modulate"](condition).chunk(2, dim=-1)
            x = x + gate * m[name](torch.relu(x + shift))
        return m["head"](x)

    double = {f"{name}_modulate": nn.Linear(WIDTH, 2 * WIDTH) for name in "abc"}
    graph = _graph(forward, **_dense("first", "enter", "a", "b", "c", "head"), **double)
    longest = max(graph.streams, key=len)
    assert [branch.last_weight.name for branch in longest] == [f"layers.{name}" for name in "abc"]
