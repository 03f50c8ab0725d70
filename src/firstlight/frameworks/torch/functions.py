"""What torch's functions are: one table from a function's name to the kind of operation.

Names are those that a `TorchFunctionMode` sees (``func.__name__``), with trailing and surrounding
underscores of in-place and operator forms taken off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from firstlight.frameworks.torch.beside import has_values
from firstlight.records.network import ActivationRef, OperationKind

_DIMENSIONS = ("1d", "2d", "3d")

WEIGHTED = frozenset(
    {"linear", "bilinear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "mv", "inner"}
    | {"grouped_mm"}
    | {f"{name}{d}" for name in ("conv", "conv_transpose") for d in _DIMENSIONS},
)
"""These multiply by a weight if one of their operands is a parameter."""

CONVOLUTIONS = frozenset(name for name in WEIGHTED if name.startswith("conv"))

PRODUCTS = frozenset({"matmul", "mm", "bmm"})
"""Products of two matrices, in either of which the weight may stand."""

LOOKUPS = frozenset({"getitem", "index_select", "gather", "index", "take", "embedding"})
"""Embeddings, if a parameter is read at integers that depend on the batch."""

TRANSPOSING = frozenset(
    {"transpose", "permute", "T", "mT", "movedim", "moveaxis", "swapaxes", "swapdims", "t"}
)
"""These move the axis of units to another place."""

OPEN = frozenset({"scaled_dot_product_attention"})
"""Composites without parameters: nothing inside is left to look at."""

_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "prelu": "prelu",
    "rrelu": "rrelu",
    "elu": "elu",
    "selu": "selu",
    "celu": "celu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "hardtanh": "hardtanh",
    "softplus": "softplus",
    "softsign": "softsign",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "expit": "sigmoid",
    "logsigmoid": "logsigmoid",
    "log_sigmoid": "logsigmoid",
    "tanhshrink": "tanhshrink",
    "softshrink": "softshrink",
    "sin": "sin",
    "erf": "erf",
}

_KINDS: dict[str, OperationKind] = {
    **dict.fromkeys(
        ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"), "norm"
    ),
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), "softmax"),
    **dict.fromkeys(
        (
            "dropout",
            "dropout1d",
            "dropout2d",
            "dropout3d",
            "alpha_dropout",
            "feature_alpha_dropout",
            "feature_dropout",
        ),
        "dropout",
    ),
    **dict.fromkeys(("mean", "lp_pool1d", "lp_pool2d", "interpolate", "upsample"), "pool"),
    **dict.fromkeys(
        [
            "flatten",
            "reshape",
            "view",
            "view_as",
            "reshape_as",
            "permute",
            "transpose",
            "contiguous",
            "squeeze",
            "unsqueeze",
            "expand",
            "expand_as",
            "getitem",
            "chunk",
            "split",
            "unbind",
            "t",
            "T",
            "mT",
            "to",
            "float",
            "double",
            "half",
            "bfloat16",
            "clone",
            "pad",
            "movedim",
            "moveaxis",
            "unflatten",
            "narrow",
            "select",
            "swapaxes",
            "swapdims",
            "ravel",
            "roll",
            "flip",
            "repeat",
            "channel_shuffle",
            "pixel_shuffle",
            "pixel_unshuffle",
            "type",
            "cpu",
            "cuda",
            "index_select",
        ],
        "shape",
    ),
    **dict.fromkeys(("add", "radd", "iadd", "sub", "rsub", "isub", "subtract", "sum"), "add"),
    **dict.fromkeys(("mul", "rmul", "imul", "multiply"), "multiply"),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), "concatenate"),
    **dict.fromkeys(("embedding", "embedding_bag"), "embedding"),
    **dict.fromkeys(
        (
            "multi_head_attention_forward",
            "lstm",
            "gru",
            "rnn_tanh",
            "rnn_relu",
            "lstm_cell",
            "gru_cell",
            "rnn_tanh_cell",
            "rnn_relu_cell",
            "scaled_dot_product_attention",
            "checkpoint",
        ),
        "composite",
    ),
    **dict.fromkeys(
        (
            "cross_entropy",
            "nll_loss",
            "mse_loss",
            "l1_loss",
            "smooth_l1_loss",
            "huber_loss",
            "binary_cross_entropy",
            "binary_cross_entropy_with_logits",
            "kl_div",
            "ctc_loss",
            "gaussian_nll_loss",
            "poisson_nll_loss",
            "hinge_embedding_loss",
            "margin_ranking_loss",
            "multi_margin_loss",
            "multilabel_soft_margin_loss",
            "soft_margin_loss",
            "triplet_margin_loss",
            "cosine_embedding_loss",
        ),
        "loss",
    ),
}

_LEAKY_DEFAULT = 0.01


def plain_name(func: Any) -> str:
    """The function's name without the marks of operators and in-place forms.

    >>> import torch
    >>> [plain_name(f) for f in (torch.Tensor.__iadd__, torch.relu_, torch.Tensor.T.__get__)]
    ['iadd', 'relu', 'T']
    """
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        name = getattr(func.__self__, "__name__", name)
    return str(name).strip("_").removeprefix("special_")


def is_in_place(func: Any) -> bool:
    """Whether the function overwrites its first argument (``relu_``, ``+=``)."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
    return bool(name.endswith("_"))


def kind_of(name: str) -> OperationKind:
    """The kind of an operation by its function's plain name; ``other`` if it is not known."""
    if name in _ACTIVATIONS:
        return "activation"
    if name in _KINDS:
        return _KINDS[name]
    if "pool" in name:
        return "pool"
    return "other"


def dropout_rate(name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> float | None:
    """The share of values that a dropout drops in this call, 0 outside training."""
    if kind_of(name) != "dropout":
        return None
    rate = keywords.get("p", args[1] if len(args) > 1 else 0.5)
    training = keywords.get("training", args[2] if len(args) > 2 else True)
    return float(rate) if training else 0.0


def score_scale(name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> float | None:
    """What attention multiplies query · key with, in units of 1/√d; None for other functions."""
    if name != "scaled_dot_product_attention" or not args:
        return None
    given = keywords.get("scale", args[6] if len(args) > 6 else None)
    return 1.0 if given is None else float(given) * float(args[0].shape[-1]) ** 0.5


def _hardtanh(args: tuple[Any, ...], keywords: Mapping[str, Any]) -> ActivationRef | None:
    """Torch computes ReLU6 as hardtanh between 0 and 6; other bounds have no name here."""
    bounds = tuple(
        keywords.get(name, args[i] if len(args) > i else default)
        for i, name, default in ((1, "min_val", -1.0), (2, "max_val", 1.0))
    )
    name = {(-1.0, 1.0): "hardtanh", (0.0, 6.0): "relu6"}.get(bounds)
    return None if name is None else ActivationRef(name=name)


def _slope(weight: Any) -> float | None:
    """A PReLU's present slope; of many, the one that lets the same second moment through."""
    values = getattr(weight, "detach", lambda: None)()
    if values is None or not has_values(values) or not values.numel():
        return None
    first = float(values.flatten()[0])
    square = float((values.float() ** 2).mean())
    return first if math.isclose(square, first * first, rel_tol=1e-6) else math.sqrt(square)


def activation_of(
    name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> ActivationRef | None:
    """Which activation a call computes, with its parameter; None if it is none."""
    if name in ("clamp", "clamp_min"):
        low = keywords.get("min", args[1] if len(args) > 1 else None)
        high = keywords.get("max", args[2] if len(args) > 2 else None)
        return ActivationRef(name="relu") if low == 0 and high is None else None
    known = _ACTIVATIONS.get(name)
    if known is None:
        return None
    if known == "hardtanh":
        return _hardtanh(args, keywords)
    if known == "gelu" and keywords.get("approximate", "none") == "tanh":
        return ActivationRef(name="gelu_tanh")
    parameter: Any = None
    if known == "leaky_relu":
        parameter = keywords.get("negative_slope", args[1] if len(args) > 1 else _LEAKY_DEFAULT)
    elif known in ("elu", "celu"):
        parameter = keywords.get("alpha", args[1] if len(args) > 1 else 1.0)
    elif known == "prelu":
        parameter = _slope(keywords.get("weight", args[1] if len(args) > 1 else None))
    elif known == "softshrink":
        width = keywords.get("lambd", args[1] if len(args) > 1 else 0.5)
        parameter = None if width == 0.5 else width
    elif known == "softplus":
        beta = keywords.get("beta", args[1] if len(args) > 1 else 1)
        parameter = None if beta == 1 else beta
    return ActivationRef(name=known, parameter=None if parameter is None else float(parameter))
