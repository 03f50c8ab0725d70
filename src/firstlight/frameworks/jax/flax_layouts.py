"""The arrays of Flax's modules, NNX and Linen alike: which axis does what.

Read from the module that owns the array, by the name of its class, and checked against the
module's own numbers; what does not fit is unknown, never guessed wrongly. Linen's modules do not
say how many inputs they have, so that these are read off the stored shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from firstlight.frameworks.jax.uses import Use, guessed, layout, stacked, unknown, vector, weight
from firstlight.theory.fans import fans

Shape = tuple[int, ...]
Reader = Callable[[Any, str, Shape], Use | None]
"""(module, local name, stored shape) to a use, or None if this is not what the family stores."""

_CELLS = {"OptimizedLSTMCell": 4, "LSTMCell": 4, "GRUCell": 3, "SimpleCell": 1, "MGUCell": 2}
"""Flax's recurrent cells, and how many gates a fused kernel of theirs holds."""

_HIDDEN = ("dense_h", "hi", "hf", "hg", "ho", "hr", "hz", "hn", "h")
"""The sublayers of cells that read the hidden state."""


def _sizes(value: Any) -> Shape:
    """Features, one number or several."""
    if value is None:
        return ()
    return (int(value),) if not isinstance(value, Sequence) else tuple(int(n) for n in value)


def _outputs(module: Any) -> Shape:
    return _sizes(getattr(module, "out_features", getattr(module, "features", None)))


def _dense(module: Any, name: str, shape: Shape) -> Use | None:
    out = _outputs(module)
    if name == "bias" and shape == out:
        return vector(shape, "bias")
    inputs = getattr(module, "in_features", None)
    if name != "kernel" or len(shape) != 2 or shape[1:] != out or inputs not in (None, shape[0]):
        return None
    return weight(layout(shape, ("in", "out")))


def _general(module: Any, name: str, shape: Shape) -> Use | None:
    """Several axes of inputs or outputs, heads say, which count as one; batch axes stack."""
    out = _outputs(module)
    batch = len(_sizes(getattr(module, "batch_dims", ()))) or len(
        getattr(module, "batch_axis", None) or ()
    )
    front, rest = shape[:batch], shape[batch:]
    if name == "bias" and rest == out:
        roles, view = (*("stack",) * batch, "out"), (*front, prod(out))
        return Use(kind="bias", layout=layout(shape, roles, view))
    if name != "kernel" or len(rest) <= len(out) or rest[len(rest) - len(out) :] != out:
        return None
    fused = (*front, prod(rest[: len(rest) - len(out)]), prod(out))
    return weight(layout(shape, (*("stack",) * batch, "in", "out"), fused))


def _convolution(module: Any, name: str, shape: Shape) -> Use | None:
    """Stored (kernel …, in/groups, out), the groups along the outputs."""
    (out,) = _outputs(module) or (0,)
    if name == "bias" and shape == (out,):
        return vector(shape, "bias")
    kernel = _sizes(module.kernel_size)
    rank = len(kernel)
    if name != "kernel" or len(shape) != rank + 2 or shape[:rank] != kernel or shape[-1] != out:
        return None
    groups = int(getattr(module, "feature_group_count", 1) or 1)
    roles, view = (*("kernel",) * rank, "in", "out"), shape
    if groups > 1:
        roles = (*("kernel",) * rank, "in", "group", "out")
        view = (*shape[:-1], groups, out // groups)
    axes = layout(shape, roles, view)
    return replace(weight(axes), fans=fans(axes, stride=_strides(module, rank)))


def _strides(module: Any, rank: int) -> Shape:
    given = _sizes(getattr(module, "strides", None) or 1)
    return given * rank if len(given) == 1 else given


def _transposed(module: Any, name: str, shape: Shape) -> Use | None:
    """Stored (kernel …, in, out); with ``transpose_kernel`` (kernel …, out, in)."""
    (out,) = _outputs(module) or (0,)
    if name == "bias" and shape == (out,):
        return vector(shape, "bias")
    kernel = _sizes(module.kernel_size)
    rank, flipped = len(kernel), bool(getattr(module, "transpose_kernel", False))
    outputs = shape[-2] if flipped and len(shape) > 1 else shape[-1] if shape else 0
    if name != "kernel" or len(shape) != rank + 2 or shape[:rank] != kernel or outputs != out:
        return None
    ends = ("out", "in") if flipped else ("in", "out")
    axes = layout(shape, (*("kernel",) * rank, *ends))
    spread = fans(axes, stride=_strides(module, rank), transposed=True)
    return replace(weight(axes), fans=spread)


def _embed(module: Any, name: str, shape: Shape) -> Use | None:
    if name != "embedding" or shape != (module.num_embeddings, module.features):
        return None
    return weight(layout(shape, ("index", "out")), "embedding")


def _einsum(module: Any, name: str, shape: Shape) -> Use | None:
    """An axis of the kernel that the inputs have and the result has not is summed over."""
    formula = str(getattr(module, "einsum_str", None) or "").replace(" ", "")
    if name == "bias":
        return vector(shape, "bias")
    if name != "kernel" or formula.count(",") != 1 or "->" not in formula:
        return None
    terms, result = formula.split("->")
    inputs, kernel = terms.split(",")
    if len(kernel) != len(shape) or "." in kernel:
        return None
    roles = tuple(
        "out" if axis not in inputs else "stack" if axis in result else "in" for axis in kernel
    )
    return weight(layout(shape, roles))


def _norm(_module: Any, name: str, shape: Shape) -> Use | None:
    if name == "scale":
        return vector(shape, "norm-scale")
    return vector(shape, "norm-shift") if name == "bias" else None


def _adapter(_module: Any, name: str, shape: Shape) -> Use | None:
    """Low-rank adapters: x · A · B, stored (in, rank) and (rank, out)."""
    if name in ("lora_a", "lora_b") and len(shape) == 2:
        return weight(layout(shape, ("in", "out")))
    return None


def _magnitudes(_module: Any, name: str, shape: Shape) -> Use | None:
    return vector(shape, "magnitude") if name.endswith("scale") else None


_READERS: dict[str, Reader] = {
    "Linear": _dense,
    "Dense": _dense,
    "DenseParams": _dense,
    "LinearGeneral": _general,
    "DenseGeneral": _general,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Embed": _embed,
    "Einsum": _einsum,
    "BatchNorm": _norm,
    "LayerNorm": _norm,
    "RMSNorm": _norm,
    "GroupNorm": _norm,
    "InstanceNorm": _norm,
    "LoRA": _adapter,
    "WeightNorm": _magnitudes,
}


def _reader(module: Any) -> Reader | None:
    ours = (kind for kind in type(module).__mro__ if kind.__module__.startswith("flax."))
    return next((_READERS[kind.__name__] for kind in ours if kind.__name__ in _READERS), None)


def _class(module: Any) -> str:
    return type(module).__name__


def read(owners: Sequence[Any], path: Sequence[str], shape: Shape) -> Use:
    """What the last of the owners makes of an array.

    Args:
        owners: the modules around the array, from the model down.
        path: the array's name in parts.
        shape: as stored.
    """
    leaf, module = path[-1], owners[-1]
    reader = _reader(module)
    found = reader(module, leaf, shape) if reader else None
    if found is None and reader is not None and len(shape) > 1:
        # `nnx.vmap` and `nn.scan` store several modules as one, along a first axis.
        inner = reader(module, leaf, shape[1:])
        found = None if inner is None else stacked(inner, shape[0])
    if found is None:
        # Of a module of the user's own; a known one that stores something else is not guessed at.
        bare = unknown(shape, _class(module))
        return guessed(leaf, shape, _class(module)) if reader is None else bare
    found = replace(found, module=_class(module))
    if len(owners) > 1 and _class(owners[-2]) in _CELLS:
        found = _of_cell(found, owners, path)
    if any(_class(owner) == "WeightNorm" for owner in owners[:-1]) and found.kind == "weight":
        found = replace(found, parametrization="weight_norm")
    if any(_class(owner) == "SpectralNorm" for owner in owners[:-1]) and found.kind == "weight":
        found = replace(found, parametrization="spectral_norm")
    return found


def _of_cell(use: Use, owners: Sequence[Any], path: Sequence[str]) -> Use:
    """A sublayer of a recurrent cell; those of all gates are torch's ``weight_ih``."""
    sublayer, leaf, shape = path[-2], path[-1], use.layout.shape
    hidden = sublayer in _HIDDEN
    kind = "recurrent" if hidden and use.kind == "weight" else use.kind
    if not sublayer.startswith("dense_"):
        return replace(use, kind=kind)
    gates = _CELLS[_class(owners[-2])]
    view = (*shape[:-1], gates, shape[-1] // gates)
    axes = layout(shape, (*use.layout.roles[:-1], "gate", "out"), view)
    found = weight(axes, "recurrent" if hidden else "weight") if len(shape) > 1 else use
    # Torch's layer over a sequence calls them weight_ih_l0, its cell weight_ih.
    layer = len(owners) > 2 and _class(owners[-3]) == "RNN"
    stem = path[: -3 if layer else -2]
    word = "weight" if leaf == "kernel" else "bias"
    address = ".".join((*stem, f"{word}_{'hh' if hidden else 'ih'}{'_l0' if layer else ''}"))
    return replace(found, layout=axes, module=use.module, address=address)
