"""Drop-in for `jax.nn.initializers`: the same names and arguments, and every technique.

Change ``from jax.nn import initializers`` to ``import firstlight.jax as initializers``. A factory
returns ``init(key, shape, dtype=None, out_sharding=None)``, which serves as ``kernel_init=`` in
Flax NNX and Linen, eagerly or under jit and vmap. The numbers are a pure function of ``seed`` and
``name`` where both are given, the same that ``fl.draw`` and a plan give; else of the key's words.
What differs from JAX, and why, is listed in ``docs/drop_ins.md``.

>>> import jax
>>> import numpy as np
>>> import firstlight as fl
>>> import firstlight.jax as initializers
>>> init = initializers.he_normal(name="fc1.weight", seed=0)   # kernels are (in, out) here
>>> kernel = init(jax.random.key(0), (32, 64))
>>> torchs = fl.draw("he_truncated_normal", (64, 32), name="fc1.weight", seed=0)
>>> np.array_equal(kernel.T, torchs)
True
"""

from __future__ import annotations

from collections.abc import Callable

from jax.nn.initializers import Initializer, constant, ones, zeros

from firstlight.frameworks.jax.addressed import Addressed
from firstlight.frameworks.jax.initializers import (
    delta_orthogonal,
    normal,
    orthogonal,
    technique_factory,
    truncated_normal,
    uniform,
    variance_scaling,
)

__all__ = [
    "Addressed",
    "Initializer",
    "activation_gain",
    "chrono",
    "constant",
    "delta_orthogonal",
    "dirac",
    "flax_dense",
    "flax_embed",
    "forget_bias",
    "glorot_normal",
    "glorot_truncated_normal",
    "glorot_uniform",
    "glorot_untruncated_normal",
    "he_normal",
    "he_truncated_normal",
    "he_uniform",
    "he_untruncated_normal",
    "identity",
    "idinit",
    "idinit_zero",
    "kaiming_normal",
    "kaiming_uniform",
    "keras_dense",
    "keras_embedding",
    "keras_recurrent",
    "lecun_normal",
    "lecun_truncated_normal",
    "lecun_uniform",
    "lecun_untruncated_normal",
    "mimetic",
    "mirrored",
    "normal",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "sinusoidal",
    "sparse",
    "torch_bias",
    "torch_bilinear",
    "torch_conv",
    "torch_embedding",
    "torch_linear",
    "torch_multihead_packed",
    "torch_rnn",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_fan_in_normal",
    "xavier_fan_in_uniform",
    "xavier_normal",
    "xavier_uniform",
    "zero_hadamard",
    "zeros",
]


def _technique(name: str, *, public: str | None = None) -> Callable[..., Addressed]:
    return technique_factory(name, module=__name__, public=public)


# What JAX calls normal is cut at ±2σ; the registry's plain normals have a name of their own here.
glorot_normal = _technique("glorot_truncated_normal", public="glorot_normal")
glorot_untruncated_normal = _technique("glorot_normal", public="glorot_untruncated_normal")
he_normal = _technique("he_truncated_normal", public="he_normal")
he_untruncated_normal = _technique("he_normal", public="he_untruncated_normal")
lecun_normal = _technique("lecun_truncated_normal", public="lecun_normal")
lecun_untruncated_normal = _technique("lecun_normal", public="lecun_untruncated_normal")

# The rest of the registry, in its order.
random_normal = _technique("random_normal")
random_uniform = _technique("random_uniform")
glorot_uniform = _technique("glorot_uniform")
glorot_truncated_normal = _technique("glorot_truncated_normal")
xavier_fan_in_normal = _technique("xavier_fan_in_normal")
xavier_fan_in_uniform = _technique("xavier_fan_in_uniform")
he_uniform = _technique("he_uniform")
he_truncated_normal = _technique("he_truncated_normal")
lecun_uniform = _technique("lecun_uniform")
lecun_truncated_normal = _technique("lecun_truncated_normal")
activation_gain = _technique("activation_gain")
mirrored = _technique("mirrored")
identity = _technique("identity")
dirac = _technique("dirac")
sparse = _technique("sparse")
zero_hadamard = _technique("zero_hadamard")
idinit = _technique("idinit")
idinit_zero = _technique("idinit_zero")
sinusoidal = _technique("sinusoidal")
mimetic = _technique("mimetic")
forget_bias = _technique("forget_bias")
chrono = _technique("chrono")
torch_linear = _technique("torch_linear")
torch_conv = _technique("torch_conv")
torch_bilinear = _technique("torch_bilinear")
torch_bias = _technique("torch_bias")
torch_embedding = _technique("torch_embedding")
torch_rnn = _technique("torch_rnn")
torch_multihead_packed = _technique("torch_multihead_packed")
keras_dense = _technique("keras_dense")
keras_embedding = _technique("keras_embedding")
keras_recurrent = _technique("keras_recurrent")
flax_dense = _technique("flax_dense")
flax_embed = _technique("flax_embed")

xavier_normal = glorot_normal
xavier_uniform = glorot_uniform
kaiming_normal = he_normal
kaiming_uniform = he_uniform
