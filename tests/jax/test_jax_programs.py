"""What a traced JAX model is read as, beside torch's reader on the same architecture."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import firstlight as fl
from firstlight.frameworks.jax.models import view_of
from firstlight.frameworks.jax.program import Program, trace
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.records.network import Operation

KEY = jax.random.key(3)


def program(model, *args, more=None) -> Program:
    return trace(view_of(model), args, {}, KEY, more=more)


def kinds(operations) -> list[tuple[str, str]]:
    return [(op.kind, op.function) for op in operations]


def torch_operations(model, *args) -> tuple[Operation, ...]:
    batch = args[0] if len(args) == 1 else args
    return TorchAdapter().observe(model, batch).network.operations


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def links(operations) -> list[tuple[int, ...]]:
    return [op.inputs for op in operations]


class NnxMlp(nnx.Module):
    def __init__(self, rngs):
        self.fc1 = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.25, rngs=rngs)
        self.fc2 = nnx.Linear(8, 8, use_bias=False, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        h = self.drop(nnx.gelu(self.norm(self.fc1(x)), approximate=False))
        h = h + nnx.leaky_relu(self.fc2(h), 0.2)
        return nnx.log_softmax(self.head(h))


class TorchMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.norm, self.drop = nn.Linear(6, 8), nn.LayerNorm(8), nn.Dropout(0.25)
        self.fc2, self.head = nn.Linear(8, 8, bias=False), nn.Linear(8, 3)

    def forward(self, x):
        h = self.drop(torch.nn.functional.gelu(self.norm(self.fc1(x))))
        h = h + torch.nn.functional.leaky_relu(self.fc2(h), 0.2)
        return self.head(h).log_softmax(-1)


def test_an_mlp_reads_like_torchs():
    x = numbers(5, 6)
    ours = program(NnxMlp(nnx.Rngs(0)), x)
    theirs = torch_operations(TorchMlp(), torch.from_numpy(x))

    assert kinds(ours.operations) == kinds(theirs)
    assert links(ours.operations) == links(theirs)
    assert [op.shape for op in ours.operations] == [op.shape for op in theirs]
    assert [op.unit_axis for op in ours.operations] == [op.unit_axis for op in theirs]
    assert [op.rate for op in ours.operations] == [op.rate for op in theirs]
    assert [op.activation for op in ours.operations] == [op.activation for op in theirs]
    assert [op.option("axes") for op in ours.operations] == [op.option("axes") for op in theirs]
    names = [op.name for op in ours.operations]
    assert names[:3] == ["input", "fc1", "norm"]
    assert names[-1] == "head.log_softmax"
    assert len(set(names)) == len(names)
    assert ours.outputs == (len(names) - 1,)
    assert ours.operations[1].parameters == ("fc1.kernel", "fc1.bias")


class NnxConvNet(nnx.Module):
    def __init__(self, rngs):
        self.c1 = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.n1 = nnx.BatchNorm(4, rngs=rngs)
        self.c2 = nnx.Conv(4, 4, (3, 3), feature_group_count=2, use_bias=False, rngs=rngs)
        self.n2 = nnx.GroupNorm(4, num_groups=2, rngs=rngs)
        self.up = nnx.ConvTranspose(4, 4, (2, 2), strides=(2, 2), rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        h = nnx.max_pool(nnx.relu(self.n1(self.c1(x))), (2, 2), (2, 2))
        h = nnx.silu(self.n2(self.c2(h)) + h)
        u = self.up(nnx.avg_pool(h, (2, 2), (2, 2)))
        return self.head(jnp.concatenate([h, u], -1).mean((1, 2)))


class TorchConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.c2, self.n2 = (
            nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
            nn.GroupNorm(2, 4),
        )
        self.up, self.head = nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Linear(8, 3)

    def forward(self, x):
        functions = torch.nn.functional
        h = functions.max_pool2d(functions.relu(self.n1(self.c1(x))), 2, 2)
        h = functions.silu(self.n2(self.c2(h)) + h)
        u = self.up(functions.avg_pool2d(h, 2, 2))
        return self.head(torch.cat([h, u], 1).mean((2, 3)))


def test_a_convolutional_network_reads_like_torchs_with_channels_last():
    x = numbers(2, 8, 8, 3)
    ours = program(NnxConvNet(nnx.Rngs(0)), x).operations
    theirs = torch_operations(TorchConvNet(), torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))

    assert kinds(ours) == kinds(theirs)
    assert links(ours) == links(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        if len(other.shape) == 4:
            assert mine.shape == tuple(other.shape[a] for a in (0, 2, 3, 1))
            assert (mine.unit_axis, other.unit_axis) in ((3, 1), (None, None))
        for name in ("stride", "padding", "dilation", "kernel", "groups", "batch_statistics"):
            assert mine.option(name) == other.option(name), (mine.name, name)
        assert mine.option("eps") == pytest.approx(other.option("eps"), rel=1) or not other.option(
            "eps"
        )


def attention_block(p, x):
    """One pre-norm transformer block of plain arrays."""

    def norm(x, g, b):
        centred = x - x.mean(-1, keepdims=True)
        return g * centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + b

    h = norm(x, p["g1"], p["c1"])
    heads = [
        (h @ p[n]).reshape(*h.shape[:2], 2, -1).transpose(0, 2, 1, 3) for n in ("wq", "wk", "wv")
    ]
    hidden = jnp.where(jnp.tril(jnp.ones((x.shape[1],) * 2)), 0, -1e9)
    scores = heads[0] @ heads[1].transpose(0, 1, 3, 2) / 2.0 + hidden
    out = (jax.nn.softmax(scores) @ heads[2]).transpose(0, 2, 1, 3).reshape(x.shape)
    x = x + out @ p["wo"]
    h = norm(x, p["g2"], p["c2"])
    gate = jax.nn.silu(h @ p["wg"]) * (h @ p["wu"] + p["bu"])
    return x + (gate @ p["wd"] + p["bd"])


def block_parameters() -> dict[str, np.ndarray]:
    found = {n: numbers(8, 8, seed=i) for i, n in enumerate(("wq", "wk", "wv", "wo", "wg", "wu"))}
    found |= {"wd": numbers(8, 8, seed=9), "bu": numbers(8), "bd": numbers(8)}
    return found | {n: np.full(8, float(n[0] == "g"), np.float32) for n in ("g1", "g2", "c1", "c2")}


def test_a_transformer_block_of_plain_arrays():
    read = program((attention_block, block_parameters()), numbers(2, 5, 8))
    found = kinds(read.operations)
    by_name = {p.name: p for p in read.parameters}

    assert found.count(("norm", "layer_norm")) == 2
    assert found.count(("softmax", "softmax")) == 1
    assert found.count(("weighted", "linear")) == 7
    assert found.count(("other", "matmul")) == 2
    assert found.count(("activation", "silu")) == 1
    assert found.count(("multiply", "mul")) == 1
    assert found.count(("add", "add")) == 2
    assert {op.name for op in read.operations if op.kind == "weighted"} == {
        "wq", "wk", "wv", "wo", "wg", "wu", "wd"
    }  # fmt: skip
    masked = next(op for op in read.operations if op.option("inverse_visible"))
    assert masked.option("inverse_visible")[0] == pytest.approx(sum(1 / i for i in range(1, 6)) / 5)
    assert (by_name["wq"].kind, by_name["wq"].layout.roles) == ("weight", ("in", "out"))
    assert [by_name[n].kind for n in ("g1", "c1", "bu")] == ["norm-scale", "norm-shift", "bias"]
    down = next(op for op in read.operations if op.name == "wd")
    assert down.parameters == ("wd", "bd")


class LinenSequence(linen.Module):
    @linen.compact
    def __call__(self, ids):
        x = linen.Embed(7, 8, name="table")(ids)
        x = linen.RNN(linen.OptimizedLSTMCell(8), name="lstm")(x)
        return linen.Dense(3, name="head")(x[:, -1])


def test_a_scan_of_linen_is_unrolled_and_its_uses_counted():
    model, ids = LinenSequence(), np.array([[0, 1, 2, 1], [3, 3, 5, 6]])
    read = program((model, model.init(jax.random.key(0), ids)), ids)
    weighted = [op.name for op in read.operations if op.kind == "weighted"]
    recurrent = [n for n in weighted if n.split("#")[0].endswith(("hi", "hf", "hg", "ho"))]

    assert read.operations[0].kind == "embedding"
    assert read.operations[0].option("same")[1] > 0
    assert weighted[-1] == "head"
    assert len(recurrent) == 3 or len(recurrent) == 12
    assert sum(op.activation is not None for op in read.operations) >= 4 * 5 - 1
    assert not any(op.opaque for op in read.operations)


def test_loops_without_a_known_length_stay_closed():
    def model(p, x):
        return jax.lax.while_loop(lambda x: (x < 9).all(), lambda x: 2 * x, x @ p["w"])

    read = program((model, {"w": numbers(3, 3)}), numbers(2, 3))
    assert [op.opaque for op in read.operations] == [False, False, True]


@pytest.mark.parametrize(
    ("function", "name", "parameter"),
    [
        (jax.nn.relu, "relu", None),
        (lambda x: jnp.maximum(x, 0), "relu", None),
        (lambda x: jnp.where(x > 0, x, 0.1 * x), "leaky_relu", 0.1),
        (jax.nn.gelu, "gelu_tanh", None),
        (lambda x: 0.5 * x * (1 + jax.lax.erf(x / 2**0.5)), "gelu", None),
        (lambda x: x * jax.nn.sigmoid(x), "silu", None),
        (jax.nn.elu, "elu", None),
        (jax.nn.selu, "selu", None),
        (jax.nn.softplus, "softplus", None),
        (jax.nn.mish, "mish", None),
        (jax.nn.hard_swish, "hardswish", None),
        (jax.nn.relu6, "relu6", None),
        (jax.nn.soft_sign, "softsign", None),
        (lambda x: jnp.sin(30 * x), "sin", 30.0),
        (lambda x: jnp.square(jax.nn.relu(x)), "relu_squared", None),
        (jax.nn.sigmoid, "sigmoid", None),
        (jnp.tanh, "tanh", None),
    ],
)
def test_activations_are_known_by_what_they_compute(function, name, parameter):
    read = program((lambda p, x: function(x @ p["w"]) @ p["v"], WEIGHTS), numbers(4, 3))
    assert [op.kind for op in read.operations] == ["input", "weighted", "activation", "weighted"]
    found = read.operations[2].activation
    assert found.name == name
    if parameter is not None:
        assert found.parameter == pytest.approx(parameter, rel=1e-5)


WEIGHTS = {"w": numbers(3, 5), "v": numbers(5, 2)}


def test_a_function_that_no_table_has_is_known_to_the_theory():
    def snake(x):
        return x + jnp.sin(x) ** 2

    read = program((lambda p, x: jax.jit(snake)(x @ p["w"]) @ p["v"], WEIGHTS), numbers(4, 3))
    assert read.operations[2].activation.name == "custom:snake"


@pytest.mark.parametrize(
    ("model", "functions"),
    [
        (lambda p, x: x @ p["w"] / 2, ["linear", "div"]),  # a line is no activation
        (
            lambda p, x: (x @ p["w"]) * jax.nn.sigmoid(x @ p["u"]),
            ["linear", "linear", "sigmoid", "mul"],
        ),
        (lambda p, x: x @ (p["w"] / jnp.linalg.norm(p["w"], axis=0)), ["linear"]),
        (lambda p, x: x @ p["w"] + p["t"], ["linear", "add"]),  # a table, not a bias
        (lambda p, x: jax.nn.logsumexp(x @ p["w"], axis=-1), ["linear", "logsumexp"]),
        (lambda p, x: jax.nn.sigmoid(x @ p["w"] + 1) * (x @ p["u"]), ["linear", "add", "sigmoid", "linear", "mul"]),  # noqa: E501
        (lambda p, x: jax.vmap(lambda x: x @ p["w"])(x), ["linear"]),
        (lambda p, x: jax.vmap(lambda x: p["w"].T @ x)(x), ["linear"]),
        (lambda p, x: jnp.stack(jnp.split(x @ p["w"][:, :4], 2, -1)), ["linear", "split", "stack"]),
        (lambda p, x: jax.nn.one_hot(jnp.argmax(x, -1), 3) @ p["w"], ["embedding"]),
    ],
)  # fmt: skip
def test_what_else_reads_as_what_it_is(model, functions):
    parameters = {"w": numbers(3, 5), "u": numbers(3, 5, seed=1), "t": numbers(4, 5)}
    read = program((model, parameters), numbers(4, 3))
    assert [op.function for op in read.operations if op.kind != "input"] == functions


def test_the_types_of_models_do_not_hide_their_activations():
    def model(p, x):
        x = x.astype(jnp.bfloat16)
        return jax.nn.gelu(x @ p["w"].astype(jnp.bfloat16)) @ p["v"].astype(jnp.bfloat16)

    read = program((model, WEIGHTS), numbers(4, 3))
    assert [op.function for op in read.operations] == ["input", "linear", "gelu_tanh", "linear"]


def test_plans_do_not_depend_on_where_the_channels_are():
    x = numbers(16, 8, 8, 3)
    ours = fl.plan(NnxConvNet(nnx.Rngs(0)), x)
    theirs = fl.plan(TorchConvNet(), torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))

    laws = [{e.name.rpartition(".")[0] + str(e.law) for e in plan} for plan in (ours, theirs)]
    assert laws[0] == laws[1]
    for mine, other in zip(ours.forecast, theirs.forecast, strict=True):
        # Flax adds 1e-6 to a variance where torch adds 1e-5.
        assert mine.second_moment == pytest.approx(other.second_moment, rel=1e-4)
        assert mine.delta_square_per_sample == pytest.approx(
            other.delta_square_per_sample,
            rel=1e-3,  # likenesses of the inputs are measured in float32
        )


MODELS: Mapping[str, tuple] = {
    "mlp": (lambda: NnxMlp(nnx.Rngs(0)), (numbers(5, 6),)),
    "conv": (lambda: NnxConvNet(nnx.Rngs(0)), (numbers(2, 8, 8, 3),)),
    "block": (lambda: (attention_block, block_parameters()), (numbers(2, 5, 8),)),
}


@pytest.mark.parametrize("name", MODELS)
def test_running_the_steps_is_running_the_model(name):
    make, args = MODELS[name]
    view = view_of(make())
    read = trace(view, args, {}, KEY)

    def whole(arrays):
        with view.bound(arrays, KEY) as model:
            return view.run(model, args, {})

    def steps(arrays):
        return read.run(arrays, args, {}, KEY)

    def with_slopes(run):
        def total(arrays):
            out = run(arrays)
            return jnp.sum(jnp.sin(out)), out

        return jax.jit(jax.grad(total, has_aux=True))(dict(view.arrays))

    (first, wanted), (second, got) = with_slopes(whole), with_slopes(steps)
    scale = float(jnp.abs(wanted).max())
    assert jnp.abs(wanted - got).max() <= 8 * np.finfo(np.float32).eps * scale
    for key, slope in first.items():
        scale = max(float(jnp.abs(slope).max()), 1e-3)
        assert jnp.abs(slope - second[key]).max() <= 1e-4 * scale, key


def test_taps_see_each_result_and_what_they_return_goes_on():
    model, x = (lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"], WEIGHTS), numbers(4, 3)
    read = program(model, x)
    seen = {}

    def tap(index, value):
        seen[index] = value.shape
        return value * 0 if index == 2 else value

    out = read.run(view_of(model).arrays, (x,), {}, KEY, tap)
    assert seen == {op.index: op.shape for op in read.operations}
    assert not out.any()


def test_what_is_traced_after_the_model_is_told_apart():
    x = numbers(4, 3)
    read = program(
        (lambda p, x: x @ p["w"], WEIGHTS), x, more=lambda _, out: jnp.mean((out - 1) ** 2)
    )
    assert read.model_operations == 2
    assert read.outputs == (1,)
    assert [op.function for op in read.operations[2:]] == ["sub", "square", "mean"]
    wanted = np.mean((x @ WEIGHTS["w"] - 1) ** 2)
    got = read.run({n: jnp.asarray(a) for n, a in WEIGHTS.items()}, (x,), {}, KEY)
    assert float(got) == pytest.approx(float(wanted), rel=1e-5)


def test_a_rule_of_derivatives_that_somebody_wrote_is_kept():
    @jax.custom_vjp
    def straight_through(x):
        return jnp.round(x)

    straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))
    view = view_of((lambda p, x: straight_through(x @ p["w"]), WEIGHTS))
    x = numbers(4, 3)
    read = trace(view, (x,), {}, KEY)
    slope = jax.grad(lambda a: jnp.sum(read.run(a, (x,), {}, KEY)))(dict(view.arrays))["w"]
    assert np.allclose(slope, x.T @ np.ones((4, 5)), rtol=1e-5)


def test_numbers_of_the_batch_that_are_no_arrays_stay_as_they_are():
    def model(p, x, *, times):
        for _ in range(times):
            x = jnp.tanh(x @ p["w"])
        return x

    view = view_of((model, {"w": numbers(3, 3)}))
    read = trace(view, (numbers(2, 3),), {"times": 2}, KEY)
    assert [op.name for op in read.operations if op.kind == "weighted"] == ["w", "w#2"]
