"""Realised laws in Flax's layers: Flax's own where it is right, the effective fan elsewhere."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax.nn import initializers as jax_init
from scipy import stats

import firstlight.jax as init

P_LIMIT = 1e-4
SIGMAS = 5

LAYERS = {
    "Dense": (lambda k: linen.Dense(200, kernel_init=k), (1, 300)),
    "Conv": (lambda k: linen.Conv(40, (3, 3), kernel_init=k), (1, 4, 4, 30)),
    "ConvTranspose": (lambda k: linen.ConvTranspose(30, (3, 3), kernel_init=k), (1, 4, 4, 40)),
    "depthwise": (
        lambda k: linen.Conv(400, (7, 7), feature_group_count=400, kernel_init=k),
        (1, 7, 7, 400),
    ),
    "attention": (
        lambda k: linen.MultiHeadDotProductAttention(8, kernel_init=k, out_kernel_init=k),
        (1, 2, 128),
    ),
    "DenseGeneral": (
        lambda k: linen.DenseGeneral((4, 50), axis=(-2, -1), kernel_init=k),
        (1, 10, 30),
    ),
}
LAWS = {
    "lecun_normal": (),
    "he_uniform": (),
    "glorot_normal": (),
    "normal": (0.02,),
    "truncated_normal": (0.02,),
}


def _kernel(layer, kernel_init, key):
    make, shape = LAYERS[layer]
    variables = make(kernel_init).init(key, jnp.zeros(shape))["params"]
    kernels = [leaf for path, leaf in jax.tree.leaves_with_path(variables) if "kernel" in str(path)]
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in kernels])


def _alike(a, b) -> None:
    assert a.shape == b.shape
    for power in (1, 2, 4):
        x, y = a**power, b**power
        noise = math.sqrt((x.var() + y.var()) / len(a))
        assert abs(x.mean() - y.mean()) < SIGMAS * noise, power
    assert stats.ks_2samp(a, b).pvalue > P_LIMIT


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", LAWS)
def test_the_law_is_jaxs_where_nothing_is_said_of_the_layer(layer, name):
    key = jax.random.key(0)
    ours = _kernel(layer, getattr(init, name)(*LAWS[name]), key)
    theirs = _kernel(layer, getattr(jax_init, name)(*LAWS[name]), key)
    _alike(ours, theirs)


def test_another_law_would_be_seen():
    key = jax.random.key(0)
    plain = _kernel("Dense", init.he_untruncated_normal(), key)
    cut = _kernel("Dense", jax_init.he_normal(), key)
    with pytest.raises(AssertionError):
        _alike(plain, cut)


def test_a_strided_transposed_convolution_keeps_the_second_moment():
    """Flax counts all taps; each output sees kernel/stride of them."""
    x = jax.random.normal(jax.random.key(1), (8, 64, 96))
    measured = []
    for kernel_init in (jax_init.lecun_normal(), init.lecun_normal(stride=2, transposed=True)):
        layer = linen.ConvTranspose(96, (4,), strides=(2,), kernel_init=kernel_init)
        y, _ = layer.init_with_output(jax.random.key(0), x)
        measured.append(float(jnp.mean(y[:, 8:-8] ** 2)))
    tolerance = SIGMAS * 2 * math.sqrt(2 / 4096)
    assert measured[0] == pytest.approx(1 / 2, rel=tolerance)
    assert measured[1] == pytest.approx(1, rel=tolerance)


def test_a_depthwise_convolution_keeps_the_gradient():
    """JAX's fan_out counts the outputs of all groups."""
    shape = (5, 5, 1, 256)
    kernels = [
        jax_init.variance_scaling(1.0, "fan_out", "normal")(jax.random.key(0), shape),
        init.variance_scaling(1.0, "fan_out", "normal", groups=256)(jax.random.key(0), shape),
    ]
    stds = [float(jnp.sqrt(jnp.mean(kernel**2))) for kernel in kernels]
    tolerance = SIGMAS / math.sqrt(2 * 25 * 256)
    assert stds[0] == pytest.approx(1 / math.sqrt(25 * 256), rel=tolerance)
    assert stds[1] == pytest.approx(1 / 5, rel=tolerance)
