"""Factors found for JAX models, beside those that torch's room finds for the same numbers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError, ModelRaisedError
from firstlight.frameworks.jax.calibrating import calibrate
from firstlight.frameworks.jax.models import view_of
from firstlight.frameworks.torch.adapter import TorchAdapter


def numbers(*shape, seed=0, scale=1.0):
    drawn = np.random.default_rng(seed).standard_normal(shape) * scale
    return drawn.astype(np.float32)


class TorchNet(nn.Module):
    """Two layers, the second used twice, and a head on the table that gave the rows."""

    def __init__(self, values):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.first, self.again = nn.Linear(6, 9), nn.Linear(9, 9)
        self.last = nn.Linear(9, 6, bias=False)
        with torch.no_grad():
            for name, value in values.items():
                self.get_parameter(name).copy_(torch.from_numpy(value))

    def forward(self, ids):
        h = torch.relu(self.first(self.table(ids)))
        for _ in range(2):
            h = torch.tanh(self.again(h))
        return self.last(h) @ self.table.weight.T


VALUES = {
    "table.weight": numbers(11, 6, seed=1, scale=3),
    "first.weight": numbers(9, 6, seed=2),
    "first.bias": numbers(9, seed=3, scale=0.1),
    "again.weight": numbers(9, 9, seed=4),
    "again.bias": numbers(9, seed=5, scale=0.1),
    "last.weight": numbers(6, 9, seed=6),
}
TARGETS = {"table.weight": 1.0, "first.weight": 2.0, "again.weight": 0.7, "last.weight": 0.3}
IDS = np.random.default_rng(7).integers(0, 11, (40,))


def net(p, ids):
    h = p["table"]["weight"][ids]
    h = jax.nn.relu(h @ p["first"]["weight"].T + p["first"]["bias"])
    for _ in range(2):
        h = jnp.tanh(h @ p["again"]["weight"].T + p["again"]["bias"])
    return h @ p["last"]["weight"].T @ p["table"]["weight"].T


def nested(values):
    found = {}
    for name, value in values.items():
        owner, _, local = name.rpartition(".")
        found.setdefault(owner, {})[local] = value
    return found


def ours(batches, **keywords):
    view = view_of((net, nested(VALUES)))
    return calibrate(view, [((jnp.asarray(b),), {}) for b in batches], TARGETS, **keywords)


def theirs(batches, **keywords):
    given = [torch.from_numpy(b) for b in batches]
    return TorchAdapter().calibrate(TorchNet(VALUES), given, TARGETS, **keywords)


@pytest.mark.parametrize("centred", [(), ("first.bias",)])
@pytest.mark.parametrize("batches", [[IDS], [IDS, IDS[:20]]])
def test_the_factors_are_those_of_torch(batches, centred):
    mine, other = ours(batches, centred=centred), theirs(batches, centred=centred)

    assert mine.forwards == other.forwards
    assert mine.batches == other.batches
    for a, b in zip(mine.scalings, other.scalings, strict=True):
        assert (a.name, a.uses, a.left) == (b.name, b.uses, b.left)
        assert [a.factor, a.low, a.high] == pytest.approx([b.factor, b.low, b.high], rel=1e-4)
    assert [name for name, _ in mine.shifts] == list(centred)
    for (_, a), (_, b) in zip(mine.shifts, other.shifts, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)


def test_one_pass_brings_single_uses_to_their_targets():
    weights = {"a": numbers(5, 8, scale=40), "b": numbers(8, 8, seed=1, scale=1e-4)}

    def model(p, x):
        return jnp.tanh(x @ p["a"]) @ p["b"]

    x = numbers(64, 5, seed=2)
    found = calibrate(view_of((model, weights)), [((x,), {})], {"a": 1.5, "b": 0.2})
    factors = {s.name: s.factor for s in found.scalings}
    first = x @ weights["a"] * factors["a"]
    second = np.tanh(first) @ weights["b"] * factors["b"]

    assert found.forwards == 1
    assert [np.mean(first**2), np.mean(second**2)] == pytest.approx([1.5, 0.2], rel=1e-4)


def test_what_cannot_be_brought_there_is_left_and_says_why():
    weights = {"a": numbers(5, 8), "b": np.full(8, 3.0, np.float32), "c": numbers(8, 2)}

    def model(p, x):
        return jax.nn.relu(-jnp.abs(x @ p["a"] + p["b"])) @ p["c"]

    view = view_of((model, weights | {"spare": numbers(2, 2)}))
    found = calibrate(view, [((numbers(6, 5),), {})], {"a": 1.0, "c": 1.0, "spare": 1.0})
    assert [s.left for s in found.scalings] == [
        "its bias alone exceeds the target",
        "its result is zero or not finite",
        "not used in this pass",
    ]
    assert [s.factor for s in found.scalings] == [1.0, 1.0, 1.0]


def test_a_weight_whose_scale_does_not_arrive_stays():
    def model(p, x):
        return x @ (p["v"] / jnp.linalg.norm(p["v"], axis=0))

    found = calibrate(view_of((model, {"v": numbers(5, 8)})), [((numbers(9, 5),), {})], {"v": 9.0})
    assert found.scalings[0].left == "its scale does not arrive at its result"


def test_a_step_is_run_in_place_of_the_model():
    def step(model, batch):
        return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)

    batch = {"x": numbers(9, 5), "y": numbers(9, 3)}
    view = view_of((lambda p, x: x @ p["w"], {"w": numbers(5, 3)}))
    found = calibrate(view, [((batch,), {})], {"w": 1.0}, step=step)
    wanted = 1 / np.sqrt(np.mean((batch["x"] @ numbers(5, 3)) ** 2))
    assert found.scalings[0].factor == pytest.approx(wanted, rel=1e-5)


DEPTH = 5
CHAIN = {f"{i}.weight": numbers(12, 12, seed=20 + i) for i in range(DEPTH)} | {
    f"{i}.bias": numbers(12, seed=40 + i, scale=0.3) for i in range(DEPTH)
}


class TorchChain(nn.Module):
    """Saturating layers, of which some may be frozen; the last is a head."""

    def __init__(self, activation):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(DEPTH))
        self.activation = activation
        with torch.no_grad():
            for name, value in CHAIN.items():
                self.layers.get_parameter(name).copy_(torch.from_numpy(value))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_backward_balance_is_that_of_torch(activation):
    x = numbers(64, 12, seed=60)

    def chain(p, x):
        for i in range(DEPTH):
            x = x @ p[str(i)]["weight"].T + p[str(i)]["bias"]
            x = getattr(jax.nn, activation)(x) if i < DEPTH - 1 else x
        return x

    def step(model, batch):
        return (model(batch) ** 2).mean()

    targets = {f"{i}.weight": 2.0 for i in range(DEPTH)}
    how = {"step": step, "backward": True}
    mine = calibrate(view_of((chain, nested(CHAIN))), [((x,), {})], targets, **how)
    other = TorchAdapter().calibrate(
        TorchChain(getattr(torch, activation)),
        [torch.from_numpy(x)],
        {f"layers.{name}": target for name, target in targets.items()},
        **how,
    )
    plain = calibrate(view_of((chain, nested(CHAIN))), [((x,), {})], targets, step=step)

    assert (mine.forwards, plain.forwards) == (other.forwards, 1) == (3, 1)
    # Sums of 768 squares in float32, through five layers and back.
    factors = [s.factor for s in mine.scalings]
    assert factors == pytest.approx([s.factor for s in other.scalings], rel=1e-4)
    changes = np.array(factors) / [s.factor for s in plain.scalings]
    assert changes[0] == pytest.approx(1, rel=1e-5)
    # The layers between answer to their δ by at least a hundredth, or nothing was balanced.
    assert (np.abs(changes[1:-1] - 1) > 0.01).all()
    last = [s for s in mine.scalings if s.name == f"{DEPTH - 1}.weight"]
    assert [last[0].low, last[0].high] == pytest.approx([1, 1], rel=1e-12)  # a sum in another order


@pytest.mark.parametrize("frozen", [0, 1])
def test_no_gradient_comes_to_what_lies_before_all_that_learns(frozen):
    """Torch has no δ there, so the next layer has nothing to be balanced against."""
    x, targets = numbers(64, 12, seed=60), {f"{i}.weight": 1.0 for i in range(1, DEPTH)}

    def chain(p, x):
        for i in range(DEPTH):
            x = x @ p[str(i)]["weight"].T + p[str(i)]["bias"]
            x = jnp.tanh(x) if i < DEPTH - 1 else x
        return x

    def step(model, batch):
        return (model(batch) ** 2).mean()

    net = TorchChain(torch.tanh)
    net.layers[0].requires_grad_(not frozen)
    view = view_of((chain, nested(CHAIN)))
    stays = [
        replace(p, trainable=not (frozen and p.name.startswith("0."))) for p in view.parameters
    ]
    how = {"step": step, "backward": True}
    mine = calibrate(replace(view, parameters=tuple(stays)), [((x,), {})], targets, **how)
    theirs = {f"layers.{name}": target for name, target in targets.items()}
    other = TorchAdapter().calibrate(net, [torch.from_numpy(x)], theirs, **how)
    assert [s.factor for s in mine.scalings] == pytest.approx(
        [s.factor for s in other.scalings], rel=1e-4
    )


def test_the_backward_balance_of_a_flax_model():
    model = nnx.Sequential(
        *[part for i in range(4) for part in (nnx.Linear(16, 16, rngs=nnx.Rngs(i)), jnp.tanh)],
        nnx.Linear(16, 3, rngs=nnx.Rngs(9)),
    )
    x = numbers(64, 16, seed=61)
    plan = fl.plan(model, x)
    forward = fl.calibrate(model, plan, x, seed=0)
    both = fl.calibrate(model, plan, x, seed=0, backward=True)
    changed = {e.name for e in both if e.law != forward[e.name].law}
    assert "3 forward passes" in both.remarks[-1]
    assert {"layers.2.kernel", "layers.4.kernel", "layers.6.kernel"} <= changed
    assert "layers.0.kernel" not in changed


def test_bad_input_has_one_clear_line():
    view = view_of((lambda p, x: x @ p["w"], {"w": numbers(5, 3)}))
    with pytest.raises(BadInputError, match="no parameter 'u'"):
        calibrate(view, [((numbers(2, 5),), {})], {"u": 1.0})
    with pytest.raises(ModelRaisedError, match="raised TypeError on a batch of"):
        calibrate(view, [((numbers(2, 4),), {})], {"w": 1.0})
