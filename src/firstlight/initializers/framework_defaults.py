"""What frameworks do unasked, by name, so that an audit can say whose default is in a weight.

These reproduce the frameworks as they are. torch reads its fans off the *stored* shape (size(1)·∏k
and size(0)·∏k), which is not the effective fan of grouped backward passes, transposed or packed
weights; nothing here corrects that.
"""

from __future__ import annotations

import math

from firstlight.errors import BadInputError
from firstlight.initializers.structured import require_matrix
from firstlight.initializers.technique import Technique, describe
from firstlight.initializers.variance_scaling import centred
from firstlight.records.law import Law, Normal, Orthogonal, Uniform
from firstlight.records.network import Fans, Layout


def torch_fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """fan_in and fan_out as torch computes them from a stored shape.

    >>> torch_fans((64, 16, 3, 3))
    (144, 576)
    """
    if len(shape) < 2:
        raise BadInputError(
            f"torch's fans need two axes or more, got shape {shape}; use torch_bias"
        )
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def keras_fans(layout: Layout) -> tuple[int, int]:
    """fan_in and fan_out as Keras computes them for the layer of this layout.

    Keras stores (kernel, in/groups, out) and reads the last two axes, so groups and fused gates
    count as outputs, and a depthwise kernel (kernel, channels, multiplier) has its channels taken
    for inputs.
    """
    require_matrix(layout)
    kernel = math.prod(layout.kernel)
    if len(layout.shape) > 2 and layout.roles[0] == "kernel":
        taps = math.prod(layout.shape[:-2])
        return layout.shape[-2] * taps, layout.shape[-1] * taps
    stacks = math.prod(n for _, n in layout.stacks)
    return layout.in_ * kernel, stacks * layout.out * kernel


def _plus_minus(bound_squared_inverse: float) -> Uniform:
    if not bound_squared_inverse > 0:
        raise BadInputError("the fan is 0; a tensor without inputs takes zeros")
    bound = 1 / math.sqrt(bound_squared_inverse)
    return Uniform(low=-bound, high=bound)


def _torch_linear(layout: Layout, _fans: Fans | None) -> Uniform:
    if len(layout.shape) != 2:
        raise BadInputError(
            f"is for matrices, got {describe(layout)}; use torch_conv or torch_bias"
        )
    return _plus_minus(torch_fans(layout.shape)[0])


def _torch_conv(layout: Layout, _fans: Fans | None) -> Uniform:
    if len(layout.shape) < 3:
        raise BadInputError(
            f"is for kernels, got {describe(layout)}; use torch_linear or torch_bias"
        )
    return _plus_minus(torch_fans(layout.shape)[0])


def _torch_bias(layout: Layout, fans: Fans | None, *, fan_in: float | None) -> Uniform:
    if "in" in layout.roles:
        raise BadInputError(
            f"is for biases, got {describe(layout)}; use torch_linear or torch_conv"
        )
    if fan_in is None and fans is None:
        raise BadInputError(
            "needs the fan_in of the weight beside it; pass fan_in=, or the weight's fans"
        )
    return _plus_minus(float(fan_in) if fan_in is not None else fans.forward if fans else 0.0)


def _torch_embedding(_layout: Layout, _fans: Fans | None) -> Normal:
    return Normal(std=1.0)


def _torch_rnn(layout: Layout, _fans: Fans | None) -> Uniform:
    # Gated tensors have hidden units as outputs; an LSTM's projection (weight_hr) as inputs.
    hidden = layout.out if "gate" in layout.roles or "in" not in layout.roles else layout.in_
    return _plus_minus(hidden)


def _torch_multihead_packed(layout: Layout, _fans: Fans | None) -> Law:
    return centred("uniform", math.sqrt(2 / max(1, sum(torch_fans(layout.shape)))))


def _keras_dense(layout: Layout, _fans: Fans | None) -> Law:
    return centred("uniform", math.sqrt(2 / max(1, sum(keras_fans(layout)))))


def _keras_embedding(_layout: Layout, _fans: Fans | None) -> Uniform:
    return Uniform(low=-0.05, high=0.05)


def _keras_recurrent(layout: Layout, _fans: Fans | None) -> Orthogonal:
    require_matrix(layout)
    gates = math.prod(n for role, n in layout.stacks if role == "gate")
    return Orthogonal(gain=1 / math.sqrt(gates))


def _flax_dense(layout: Layout, _fans: Fans | None) -> Law:
    require_matrix(layout)
    fan_in = layout.in_ * math.prod(layout.kernel)
    return centred("truncated_normal", math.sqrt(1 / max(1, fan_in)))


def _flax_embed(layout: Layout, _fans: Fans | None) -> Normal:
    if "index" not in layout.roles or "out" not in layout.roles:
        raise BadInputError(f"is for embeddings (axes index, out), got {describe(layout)}")
    return Normal(std=math.sqrt(1 / max(1, layout.out)))


_NO_GAIN = "knows nothing of the activation, so no plain deep chain keeps its signal under it"

FRAMEWORK_DEFAULTS = (
    Technique(
        name="torch_linear",
        title="PyTorch's default: Linear",
        formula="w ~ U(±1/√size(1)): std 1/√(3 · fan_in)",
        law=_torch_linear,
        defaults_of="torch.nn.Linear",
        assumptions="None stated; written as kaiming_uniform_(a=√5), of variance 1/(3 · fan_in).",
        source="PyTorch 2.13, Linear.reset_parameters; kept from Lua Torch, see pytorch#57109",
        suits="layers followed by a normalization; shallow networks",
        not_suits="plain ReLU chains: the second moment falls to a sixth in each layer",
        differs="Called Kaiming, yet a sixth of He's variance, a third of LeCun's.",
    ),
    Technique(
        name="torch_conv",
        title="PyTorch's default: convolutions",
        formula="w ~ U(±1/√(size(1) · ∏k)) of the stored tensor",
        law=_torch_conv,
        defaults_of="torch.nn.Conv1d, Conv2d, Conv3d, ConvTranspose1d, 2d, 3d",
        assumptions="As torch_linear.",
        source="PyTorch 2.13, _ConvNd.reset_parameters",
        suits="convolutions followed by a normalization",
        not_suits="plain deep chains; transposed convolutions, where it divides by the wrong fan",
        differs="For transposed convolutions size(1) is out/groups, so torch divides by out · ∏k/g"
        " where the effective fan_in is in · ∏k/(g · ∏stride).",
    ),
    Technique(
        name="torch_bilinear",
        title="PyTorch's default: Bilinear",
        formula="w ~ U(±1/√size(1)), size(1) the width of the first input",
        law=lambda layout, _fans: _plus_minus(layout.shape[1] if len(layout.shape) == 3 else 0),
        defaults_of="torch.nn.Bilinear",
        assumptions="As torch_linear; the second input's width is left out.",
        source="PyTorch 2.13, Bilinear.reset_parameters",
        suits="reading checkpoints",
        not_suits="wide second inputs: in1 · in2 terms are summed and only in1 divided out",
        differs="The effective fan_in is in1 · in2.",
    ),
    Technique(
        name="torch_bias",
        title="PyTorch's default: biases of Linear and convolutions",
        formula="b ~ U(±1/√fan_in), fan_in that of the weight beside it, as torch counts it",
        law=_torch_bias,
        options={"fan_in": None},
        defaults_of="torch.nn.Linear, Conv (bias)",
        assumptions="None stated.",
        source="PyTorch 2.13, Linear.reset_parameters and _ConvNd.reset_parameters",
        suits="reading checkpoints",
        not_suits="deep chains, where it is the floor that the vanished signal ends on; use zeros",
        differs="Keras and Flax start biases at zero. Give fan_in= for transposed convolutions,"
        " where torch's size(1) · ∏k is not the effective fan_in.",
    ),
    Technique(
        name="torch_embedding",
        title="PyTorch's default: Embedding",
        formula="w ~ N(0, 1), the padding row 0",
        law=_torch_embedding,
        defaults_of="torch.nn.Embedding, EmbeddingBag",
        assumptions="None stated.",
        source="PyTorch 2.13, Embedding.reset_parameters",
        suits="embeddings that nothing else is added to or multiplied with",
        not_suits="embeddings tied to the head: logits get a std of √width",
        differs="Keras U(±0.05), Flax N(0, 1/width), GPT-2 N(0, 0.02²).",
    ),
    Technique(
        name="torch_rnn",
        title="PyTorch's default: recurrent layers",
        formula="every weight and bias ~ U(±1/√hidden)",
        law=_torch_rnn,
        defaults_of="torch.nn.RNN, LSTM, GRU and their cells",
        assumptions="None stated.",
        source="PyTorch 2.13, RNNBase.reset_parameters",
        suits="short sequences",
        not_suits="long memory: no orthogonal recurrent matrix, no forget-gate bias",
        differs="Keras: glorot_uniform in, orthogonal recurrent, forget bias 1.",
    ),
    Technique(
        name="torch_multihead_packed",
        title="PyTorch's default: MultiheadAttention's projections",
        formula="w ~ U(±√(6/(size(0) + size(1)))): packed (3E, E) gives std √(1/(2E))",
        law=_torch_multihead_packed,
        defaults_of="torch.nn.MultiheadAttention (in_proj_weight, q/k/v_proj_weight)",
        assumptions="The pack is one matrix with 3E outputs.",
        source="PyTorch 2.13, MultiheadAttention._reset_parameters",
        suits="pre-norm transformers, which forgive it",
        not_suits="comparing with separate projections, whose std is √2 larger; see pytorch#166378",
        differs="Glorot per projection is √(1/E): use glorot_uniform, which takes q, k, v apart.",
    ),
    Technique(
        name="keras_dense",
        aliases=("keras_conv",),
        title="Keras's default: Dense and convolutions",
        formula="w ~ U(±√(6/(fan_in + fan_out))), fans off the stored kernel",
        law=_keras_dense,
        defaults_of="keras.layers.Dense, Conv, ConvTranspose, DepthwiseConv, input kernels of RNNs",
        assumptions="As glorot_uniform, for every activation alike.",
        source="Keras 3, keras.initializers.GlorotUniform and compute_fans",
        suits="shallow and normalized networks",
        not_suits="depthwise kernels (fan_in counts all channels: √channels too small); "
        + _NO_GAIN,
        differs="fan_out is not divided by groups, and a fused LSTM kernel counts all its gates.",
    ),
    Technique(
        name="keras_embedding",
        title="Keras's default: Embedding",
        formula="w ~ U(−0.05, 0.05): std 0.0289",
        law=_keras_embedding,
        defaults_of="keras.layers.Embedding",
        assumptions="None stated.",
        source="Keras 3, keras.layers.Embedding (embeddings_initializer='uniform')",
        suits="embeddings followed by a normalization",
        not_suits="embeddings that feed a plain chain: the signal enters with second moment 8e-4",
        differs="torch N(0, 1), Flax N(0, 1/width).",
    ),
    Technique(
        name="keras_recurrent",
        title="Keras's default: recurrent kernels",
        formula="W = Q/√gates for each gate, Q a random orthogonal matrix",
        law=_keras_recurrent,
        defaults_of="keras.layers.SimpleRNN, LSTM, GRU (recurrent_kernel)",
        assumptions="The gates share one isometry.",
        source="Keras 3, recurrent_initializer='orthogonal'; Saxe et al. 2014 (arXiv:1312.6120)",
        suits="long sequences",
        not_suits="gated cells that should keep the full scale in each gate: use orthogonal",
        differs="Keras draws one isometry over the fused (hidden, gates · hidden) kernel, so its"
        " gates' blocks have elements of variance 1/(gates · hidden) and are orthogonal only"
        " together. Here each block is orthogonal by itself, with the same variance, and the fused"
        " kernel is still an isometry.",
    ),
    Technique(
        name="flax_dense",
        aliases=("jax_dense", "flax_conv"),
        title="Flax's default: Dense and Conv",
        formula="w ~ N cut at ±2σ of its parent, widened to variance 1/(in · ∏k)",
        law=_flax_dense,
        defaults_of="flax Dense/Linear, Conv, ConvTranspose, attention projections",
        assumptions="As lecun_truncated_normal, for every activation alike.",
        source="Flax, default_kernel_init = jax.nn.initializers.lecun_normal()",
        suits="normalized networks, SELU",
        not_suits="plain ReLU chains: the second moment halves in each layer",
        differs="lecun_truncated_normal counts the stride of transposed convolutions, this not.",
    ),
    Technique(
        name="flax_embed",
        aliases=("jax_embed",),
        title="Flax's default: Embed",
        formula="w ~ N(0, 1/width)",
        law=_flax_embed,
        defaults_of="flax Embed",
        assumptions="Rows of unit length; the table may serve as the head as well (attend).",
        source="Flax, default_embed_init = variance_scaling(1, 'fan_in', 'normal', out_axis=0)",
        suits="embeddings tied to the head",
        not_suits="embeddings that are read without √width: the signal enters small",
        differs="torch N(0, 1), Keras U(±0.05).",
    ),
)

TORCH_LAYERS = {
    **dict.fromkeys(("Linear", "NonDynamicallyQuantizableLinear"), "torch_linear"),
    "Bilinear": "torch_bilinear",
    **dict.fromkeys(("Embedding", "EmbeddingBag"), "torch_embedding"),
    "MultiheadAttention": "torch_multihead_packed",
    **dict.fromkeys(("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"), "torch_rnn"),
    **{f"Conv{d}d": "torch_conv" for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": "torch_conv" for d in (1, 2, 3)},
}
"""Which technique a layer of torch starts with."""

KERAS_LAYERS = {
    **dict.fromkeys(("Dense", "EinsumDense"), "keras_dense"),
    **{f"{n}{d}D": "keras_dense" for n in ("Conv", "SeparableConv") for d in (1, 2, 3)},
    **{f"DepthwiseConv{d}D": "keras_dense" for d in (1, 2)},
    **{f"Conv{d}DTranspose": "keras_dense" for d in (1, 2, 3)},
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell"), "keras_dense"),
    "Embedding": "keras_embedding",
}
"""Of kernels, not of recurrent ones: those are one isometry over all gates."""

FLAX_LAYERS = {
    **dict.fromkeys(("Linear", "Dense", "LinearGeneral", "DenseGeneral", "Einsum"), "flax_dense"),
    **dict.fromkeys(("Conv", "ConvTranspose"), "flax_dense"),
    "Embed": "flax_embed",
}
"""Likewise; recurrent kernels are fused in some cells and not in others."""
