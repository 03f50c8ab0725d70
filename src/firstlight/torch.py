"""Drop-in for `torch.nn.init`: the same names and arguments, and every technique of Firstlight.

Change ``from torch.nn import init`` to ``import firstlight.torch as init``. Each function fills a
tensor in place and returns it. With ``name=`` and ``seed=`` the numbers are a pure function of
both, the same that ``fl.draw`` and a plan give; without a seed one is drawn from ``generator`` or
from torch's default generator, so that ``torch.manual_seed`` reproduces. What differs from torch,
and why, is listed in ``docs/drop_ins.md``.

>>> import torch
>>> import firstlight as fl
>>> import firstlight.torch as init
>>> w = init.kaiming_normal_(torch.empty(3, 5), nonlinearity="relu")
>>> w = init.he_normal_(torch.empty(64, 32), name="fc1.weight", seed=0)
>>> (w.numpy() == fl.draw("he_normal", (64, 32), name="fc1.weight", seed=0)).all()
np.True_
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ParamSpec

from torch import Tensor

from firstlight.frameworks.torch.buffers import materialise
from firstlight.frameworks.torch.filling import PACKS, Where, technique_function
from firstlight.frameworks.torch.initializers import (
    constant_,
    kaiming_normal_,
    kaiming_uniform_,
    normal_,
    ones_,
    trunc_normal_,
    uniform_,
    xavier_normal_,
    xavier_uniform_,
    zeros_,
)
from firstlight.frameworks.torch.matrix_initializers import dirac_, eye_, orthogonal_, sparse_
from firstlight.frameworks.torch.wrapping import agreed, param_init_fn
from firstlight.initializers.torch_gains import calculate_gain

__all__ = [
    "PACKS",
    "Where",
    "activation_gain_",
    "agreed",
    "calculate_gain",
    "chrono_",
    "constant",
    "constant_",
    "delta_orthogonal_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "flax_dense_",
    "flax_embed_",
    "forget_bias_",
    "glorot_normal_",
    "glorot_truncated_normal_",
    "glorot_uniform_",
    "he_normal_",
    "he_truncated_normal_",
    "he_uniform_",
    "identity_",
    "idinit_",
    "idinit_zero_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "keras_dense_",
    "keras_embedding_",
    "keras_recurrent_",
    "lecun_normal_",
    "lecun_truncated_normal_",
    "lecun_uniform_",
    "materialise",
    "mimetic_",
    "mirrored_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "param_init_fn",
    "random_normal_",
    "random_uniform_",
    "sinusoidal_",
    "sparse",
    "sparse_",
    "torch_bias_",
    "torch_bilinear_",
    "torch_conv_",
    "torch_embedding_",
    "torch_linear_",
    "torch_multihead_packed_",
    "torch_rnn_",
    "trunc_normal_",
    "truncated_normal_",
    "uniform",
    "uniform_",
    "variance_scaling_",
    "xavier_fan_in_normal_",
    "xavier_fan_in_uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zero_hadamard_",
    "zeros_",
]


def _technique(name: str) -> Callable[..., Tensor]:
    return technique_function(name, module=__name__)


# The rest of the registry: what torch has no name for.
random_normal_ = _technique("random_normal")
random_uniform_ = _technique("random_uniform")
truncated_normal_ = _technique("truncated_normal")
glorot_normal_ = _technique("glorot_normal")
glorot_uniform_ = _technique("glorot_uniform")
glorot_truncated_normal_ = _technique("glorot_truncated_normal")
xavier_fan_in_normal_ = _technique("xavier_fan_in_normal")
xavier_fan_in_uniform_ = _technique("xavier_fan_in_uniform")
he_normal_ = _technique("he_normal")
he_uniform_ = _technique("he_uniform")
he_truncated_normal_ = _technique("he_truncated_normal")
lecun_normal_ = _technique("lecun_normal")
lecun_uniform_ = _technique("lecun_uniform")
lecun_truncated_normal_ = _technique("lecun_truncated_normal")
variance_scaling_ = _technique("variance_scaling")
activation_gain_ = _technique("activation_gain")
delta_orthogonal_ = _technique("delta_orthogonal")
mirrored_ = _technique("mirrored")
identity_ = _technique("identity")
zero_hadamard_ = _technique("zero_hadamard")
idinit_ = _technique("idinit")
idinit_zero_ = _technique("idinit_zero")
sinusoidal_ = _technique("sinusoidal")
mimetic_ = _technique("mimetic")
forget_bias_ = _technique("forget_bias")
chrono_ = _technique("chrono")
torch_linear_ = _technique("torch_linear")
torch_conv_ = _technique("torch_conv")
torch_bilinear_ = _technique("torch_bilinear")
torch_bias_ = _technique("torch_bias")
torch_embedding_ = _technique("torch_embedding")
torch_rnn_ = _technique("torch_rnn")
torch_multihead_packed_ = _technique("torch_multihead_packed")
keras_dense_ = _technique("keras_dense")
keras_embedding_ = _technique("keras_embedding")
keras_recurrent_ = _technique("keras_recurrent")
flax_dense_ = _technique("flax_dense")
flax_embed_ = _technique("flax_embed")


P = ParamSpec("P")


def _deprecated(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    new: str = function.__name__
    old = new[:-1]

    def deprecated(*args: P.args, **options: P.kwargs) -> Tensor:
        warnings.warn(f"`{old}` is deprecated; use `{new}`", FutureWarning, stacklevel=2)
        return function(*args, **options)

    deprecated.__name__ = deprecated.__qualname__ = old
    deprecated.__doc__ = f"Deprecated name of `{new}`, as in torch."
    return deprecated


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
