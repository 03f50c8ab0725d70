"""JAX initializers by address: the numbers of `fl.draw`, eager or traced, in Flax's layers."""

from __future__ import annotations

import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.sharding import NamedSharding, PartitionSpec

import firstlight as fl
import firstlight.jax as init
from firstlight.errors import BadInputError
from firstlight.frameworks.jax.kernel_axes import KernelAxes
from firstlight.initializers import techniques
from firstlight.laws.draw import draw
from firstlight.records.network import Layout
from firstlight.theory.fans import fans

KEY = jax.random.key(7)
NAMES = [entry.name for entry in techniques()]
JAXS = {"zeros", "ones", "constant", "uniform", "normal", "truncated_normal", "variance_scaling"}
JAXS |= {"orthogonal", "delta_orthogonal", "glorot_normal", "he_normal", "lecun_normal"}

# Shapes as JAX stores them: (kernel …, in, out).
SHAPES = {
    "torch_conv": (3, 3, 4, 6),
    "dirac": (3, 3, 4, 6),
    "torch_bias": (6,),
    "sparse": (20, 6),
    "flax_embed": (10, 4),
    "mimetic": (8, 8),
}
OPTIONS = {
    "torch_bias": {"fan_in": 30.0},
    "mimetic": {"part": "query", "heads": 2, "pair": "attn"},
    "flax_embed": {"in_axis": -2, "out_axis": 0},
}
# They need axes that no argument names: gates, or three axes that are no kernel.
WITHOUT = {"forget_bias", "chrono", "torch_bilinear"}


def test_every_technique_is_there():
    assert set(NAMES) <= set(init.__all__)
    assert set(init.__all__) <= set(dir(init))


@pytest.mark.parametrize("name", sorted(set(NAMES) - JAXS - WITHOUT))
def test_name_and_seed_give_the_addressed_numbers(name):
    shape = SHAPES.get(name, (4, 6))
    options = OPTIONS.get(name, {})
    array = getattr(init, name)(**options, name="fc.weight", seed=3)(None, shape)
    axes = {key: options[key] for key in ("in_axis", "out_axis") if key in options}
    layout = KernelAxes(**axes).layout(shape)
    own = {key: value for key, value in options.items() if key not in axes}
    law = fl.technique(name, **own).law_for(layout, fans(layout))
    assert np.array_equal(array, draw(law, layout, name="fc.weight", seed=3))


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_what_needs_other_axes_says_so(name):
    with pytest.raises(BadInputError, match=name):
        getattr(init, name)()(KEY, (8, 8))


@pytest.mark.parametrize("author", ["glorot", "he", "lecun"])
def test_jaxs_normal_is_cut_and_the_registrys_has_a_name_of_its_own(author):
    for name, technique in (
        (f"{author}_normal", f"{author}_truncated_normal"),
        (f"{author}_truncated_normal", f"{author}_truncated_normal"),
        (f"{author}_untruncated_normal", f"{author}_normal"),
    ):
        array = getattr(init, name)(name="w", seed=0)(None, (32, 64))
        assert np.array_equal(array.T, fl.draw(technique, (64, 32), name="w", seed=0))


def test_torch_and_jax_store_one_network():
    """(kernel, in, out) here, (out, in, kernel) there."""
    array = init.he_uniform(name="conv.weight", seed=1)(None, (3, 5, 4, 6))
    own = fl.draw("he_uniform", (6, 4, 3, 5), name="conv.weight", seed=1)
    assert np.array_equal(np.transpose(array, (3, 2, 0, 1)), own)
    split = init.he_uniform(0, (1, 2), name="q.weight", seed=1)(None, (8, 2, 3))
    flat = fl.draw("he_uniform", (6, 8), name="q.weight", seed=1)
    assert np.array_equal(np.reshape(split, (8, 6)).T, flat)


def test_batch_axes_are_matrices_of_their_own():
    array = init.orthogonal(name="w", seed=0)
    experts = init.identity(batch_axis=0)(KEY, (3, 4, 4))
    assert np.array_equal(experts, np.broadcast_to(np.eye(4), (3, 4, 4)))
    stacked = init.he_uniform(batch_axis=0)(KEY, (3, 40, 50))
    assert not np.array_equal(stacked[0], stacked[1])
    assert array(None, (4, 4)).shape == (4, 4)


def test_the_four_kinds_of_address():
    shape = (4, 6)

    def numbers(key=KEY, **address):
        return np.asarray(init.he_uniform(**address)(key, shape)).T

    def drawn(name, seed, namespace=""):
        return fl.draw("he_uniform", (6, 4), name=name, seed=seed, namespace=namespace)

    assert np.array_equal(numbers(name="w", seed=5), drawn("w", 5))
    assert np.array_equal(numbers(name="w"), drawn("w", 7))
    assert np.array_equal(numbers(), drawn("", 7))
    assert np.array_equal(numbers(seed=5), drawn("key:0000000000000007", 5))
    assert np.array_equal(numbers(name="w", namespace="critic"), drawn("w", 7, "critic"))
    four = jax.random.key(7, impl="rbg")
    assert np.array_equal(numbers(four, name="w"), drawn("w", 7, "0000000000000007"))
    high = jax.random.wrap_key_data(jnp.array([1, 2], jnp.uint32))
    assert np.array_equal(numbers(high, name="w"), drawn("w", (1 << 32) + 2))


@pytest.mark.parametrize("factory", [init.he_normal, init.orthogonal, init.idinit])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_traced_keys_give_the_same_bits(factory, dtype):
    call = factory()
    shape = (6, 4)
    keys = jax.random.split(KEY, (2, 3))
    eager = np.stack([[call(key, shape, dtype) for key in row] for row in keys])
    jitted = jax.jit(lambda key: call(key, shape, dtype))(keys[0, 0])
    assert np.array_equal(jitted, eager[0, 0])
    mapped = jax.vmap(jax.vmap(lambda key: call(key, shape, dtype)))(keys)
    assert np.array_equal(mapped, eager)
    old = jax.jit(lambda key: call(key, shape, dtype))(jax.random.key_data(keys[0, 0]))
    assert np.array_equal(old, eager[0, 0])
    form = jax.eval_shape(lambda key: call(key, shape, dtype), KEY)
    assert (form.shape, form.dtype) == (shape, dtype)


def test_traced_keys_are_ignored_where_seed_and_name_are_given():
    call = init.he_normal(name="w", seed=0)
    jitted = jax.jit(lambda key: call(key, (3, 3)))(KEY)
    assert np.array_equal(jitted, call(None, (3, 3)))


def test_types_round_the_canonical_value_once():
    exact = fl.draw("he_uniform", (48, 64), name="w", seed=0).T
    for dtype in (jnp.float32, jnp.float16, jnp.bfloat16, jnp.float8_e4m3fn):
        array = init.he_uniform(name="w", seed=0)(None, (64, 48), dtype)
        assert np.array_equal(array, exact.astype(dtype))
    with jax.enable_x64(True):
        wide = init.he_uniform(name="w", seed=0)(None, (64, 48), jnp.float64)
    assert np.array_equal(wide, exact.astype(np.float64))


def test_shardings():
    mesh = jax.make_mesh((1,), ("x",))
    sharding = NamedSharding(mesh, PartitionSpec("x", None))
    call = init.he_uniform(name="w", seed=0)
    array = call(KEY, (4, 6), out_sharding=sharding)
    assert array.sharding == sharding
    assert np.array_equal(array, call(KEY, (4, 6)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: init.he_normal()(KEY, (5,)), "divides by a fan"),
        (lambda: init.he_normal()(0, (5, 5)), "key: expected jax.random.key"),
        (lambda: init.he_normal()(None, (5, 5)), "or give seed and name"),
        (lambda: init.he_normal(slop=0.1), "did you mean 'slope'"),
        (lambda: init.he_normal(seed=-1), r"0 to 2\*\*64"),
        (lambda: init.normal(sed=0), "no argument 'sed'"),
        (lambda: init.he_normal(in_axis=3)(KEY, (5, 5)), "in_axis 3 is not an axis"),
        (lambda: init.he_normal(batch_axis=1)(KEY, (5, 5)), "named twice"),
        (lambda: init.he_normal(groups=2)(KEY, (3, 1, 5)), "groups=2 does not divide"),
        (lambda: init.he_normal()(KEY, (5, 5), jnp.int32), "must be floating or complex"),
        (lambda: init.orthogonal()(KEY, (5, 5), jnp.complex64), "complex tensors take"),
        (lambda: init.truncated_normal(0.0)(KEY, (5, 5)), "std must be positive"),
    ],
)
def test_bad_input_is_one_clear_line(call, words):
    with pytest.raises(BadInputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_initializers_are_values():
    one, other = init.he_normal(slope=0.1), init.he_normal(slope=0.1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != init.he_normal()
    assert pickle.loads(pickle.dumps(one)) == one
    assert pickle.loads(pickle.dumps(init.he_normal)) is init.he_normal
    assert inspect.signature(init.he_normal).parameters["slope"].default == 0.0
    assert init.mirrored.__doc__


class _Net(linen.Module):
    kernel_init: object

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(6, (3,), kernel_init=self.kernel_init)(x)
        x = linen.MultiHeadDotProductAttention(2, kernel_init=self.kernel_init)(x)
        return linen.Dense(3, kernel_init=self.kernel_init)(x)


def test_linen_layers_start_apart_and_alike_under_jit():
    module = _Net(init.he_normal())
    x = jnp.ones((2, 5, 4))
    eager = module.init(jax.random.key(0), x)
    jitted = jax.jit(module.init)(jax.random.key(0), x)
    for left, right in zip(jax.tree.leaves(eager), jax.tree.leaves(jitted), strict=True):
        assert np.array_equal(left, right)
    attention = eager["params"]["MultiHeadDotProductAttention_0"]
    assert not np.array_equal(attention["query"]["kernel"], attention["key"]["kernel"])
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, eager) == jax.tree.map(lambda leaf: leaf.shape, shapes)


def test_one_seeded_initializer_makes_no_clones():
    """Keras's trap: an instance with an integer seed gives each layer the same numbers."""
    module = _Net(init.he_normal(seed=0))
    attention = module.init(jax.random.key(0), jnp.ones((2, 5, 4)))["params"][
        "MultiHeadDotProductAttention_0"
    ]
    assert not np.array_equal(attention["query"]["kernel"], attention["key"]["kernel"])


def test_nnx_layers():
    layer = nnx.Linear(4, 6, kernel_init=init.he_normal(name="fc", seed=0), rngs=nnx.Rngs(0))
    own = fl.draw("he_truncated_normal", (6, 4), name="fc", seed=0).T
    assert np.array_equal(layer.kernel[...], own)
    convolution = nnx.Conv(4, 6, (3,), kernel_init=init.he_normal(), rngs=nnx.Rngs(0))
    assert convolution.kernel.shape == (3, 4, 6)
    embedding = nnx.Embed(10, 4, embedding_init=init.flax_embed(out_axis=0), rngs=nnx.Rngs(0))
    assert embedding.embedding.shape == (10, 4)
    abstract = nnx.eval_shape(
        lambda: nnx.Linear(4, 6, kernel_init=init.he_normal(), rngs=nnx.Rngs(0))
    )
    assert abstract.kernel.shape == (4, 6)


def test_an_embedding_has_jaxs_fans_and_torchs_rows():
    axes = KernelAxes(out_axis=0)
    layout = axes.layout((10, 4))
    assert layout == Layout(shape=(10, 4), view=(10, 4), roles=("index", "out"))
    found = axes.fans(layout)
    assert (found.forward, found.backward) == (4.0, 4.0)
    short, long = (init.random_normal(out_axis=0)(KEY, (rows, 4)) for rows in (10, 15))
    assert np.array_equal(short, long[:10])
