"""Models of shapes without values: planned as real ones are, made by `apply`, refused elsewhere."""

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import jax_models as nets
import numpy as np
import pytest
from flax import nnx
from jax_models import BATCH, FORMS

import firstlight as fl
from firstlight.errors import BadInputError, ValuelessError
from firstlight.frameworks.jax.adapter import JaxAdapter

HEADS, WIDTH, TOKENS, LENGTH = 2, 8, 11, 16
IDS = np.random.default_rng(1).integers(0, TOKENS, (8, LENGTH)).astype(np.int32)


class Block(nnx.Module):
    """Causal attention over tokens, with its mask and a table of positions."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(TOKENS, WIDTH, rngs=rngs)
        self.places = nnx.Param(jax.random.normal(rngs.params(), (LENGTH, WIDTH)))
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.head = nnx.Linear(WIDTH, TOKENS, rngs=rngs)

    def __call__(self, ids: Any) -> Any:
        x = self.embed(ids) + self.places[...]
        return self.head(x + self.attention(self.norm(x), mask=nnx.make_causal_mask(ids)))


def _linen():
    module = nets.LinenNet()
    variables = jax.eval_shape(lambda key: module.init(key, BATCH, train=False), jax.random.key(0))
    return module, variables


def _haiku():
    network = hk.transform_with_state(nets._of_haiku)
    return (network.apply, *jax.eval_shape(network.init, jax.random.key(0), BATCH))


def _plain():
    shapes = {k: v for k, v in nets.plain_net(0)[1].items() if k != "layers"}
    return nets.plain, jax.eval_shape(lambda: shapes)


ABSTRACT = {
    "nnx": lambda: nnx.eval_shape(lambda: nets.nnx_net(0)),
    "linen": _linen,
    "equinox": lambda: eqx.filter_eval_shape(nets.EquinoxNet, jax.random.key(0)),
    "haiku": _haiku,
    "plain": _plain,
    "block": lambda: nnx.eval_shape(Block),
}


@pytest.fixture(params=ABSTRACT)
def name(request):
    return request.param


def real(name):
    return Block() if name == "block" else FORMS[name](0)


def batch_for(name):
    return IDS if name == "block" else BATCH


def values(model):
    return dict(JaxAdapter().values(model))


def has_shapes(model):
    tree = nnx.state(model) if isinstance(model, nnx.Module) else model
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))


def test_the_plan_of_the_real_model(name):
    model = ABSTRACT[name]()
    for batch in (None, batch_for(name)):
        plan, other = fl.plan(model, batch), fl.plan(real(name), batch)
        assert plan.diff(other) == ()
        options = {op.name: op.options for op in other.network.operations}
        assert {op.name: op.options for op in plan.network.operations} == options
    assert has_shapes(model)


def test_apply_makes_what_the_real_model_becomes(name):
    plan = fl.plan(real(name), batch_for(name))
    made = fl.apply(ABSTRACT[name](), plan, seed=3).model
    first, second = values(made), values(fl.apply(real(name), plan, seed=3).model)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert not has_shapes(made)
    assert fl.check(made, batch_for(name)).observation.readings


@pytest.mark.parametrize("form", ["nnx", "function"])
def test_initialize_calibrates_what_it_made(form):
    name = "nnx" if form == "nnx" else "plain"
    receipt = fl.initialize(ABSTRACT[name](), BATCH, seed=3)
    other = fl.initialize(real(name), BATCH, seed=3)
    assert receipt.before is None
    assert receipt.after is not None
    first, second = values(receipt.model), values(other.model)
    assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("verb", [fl.check, fl.audit])
def test_what_needs_values_says_so(verb):
    with pytest.raises(ValuelessError, match="no values; plan and apply first"):
        verb(ABSTRACT["nnx"]())


def test_what_is_kept_has_no_values():
    model = ABSTRACT["nnx"]()
    plan = fl.plan(model, BATCH, keep=["head.*"])
    with pytest.raises(BadInputError, match=r"head.*kept by the plan, but abstract"):
        fl.apply(model, plan, seed=0)
    assert isinstance(model.fc1.kernel.get_value(), jax.ShapeDtypeStruct)


def test_statistics_start_as_flax_starts_them():
    model = ABSTRACT["nnx"]()
    fl.apply(model, fl.plan(model, BATCH), seed=0)
    assert np.array_equal(model.norm.mean[...], np.zeros(nets.HIDDEN))
    assert np.array_equal(model.norm.var[...], np.ones(nets.HIDDEN))
    nnx.reseed(model, dropout=1)
    assert model(jnp.asarray(BATCH)).shape == (len(BATCH), nets.CLASSES)
