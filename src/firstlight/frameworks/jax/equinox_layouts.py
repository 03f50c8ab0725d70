"""The arrays of Equinox's modules, which are stored as torch's: which axis does what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from firstlight.frameworks.jax.uses import Use, guessed, layout, unknown, vector, weight
from firstlight.theory.fans import fans

Shape = tuple[int, ...]
Reader = Callable[[Any, str, Shape], Use | None]


def _linear(module: Any, name: str, shape: Shape) -> Use | None:
    def size(features: Any) -> int:
        return 1 if features == "scalar" else int(features)

    out, inputs = size(module.out_features), size(module.in_features)
    if name == "weight" and shape == (out, inputs):
        return weight(layout(shape, ("out", "in")))
    return vector(shape, "bias") if name == "bias" and shape == (out,) else None


def _convolution(module: Any, name: str, shape: Shape) -> Use | None:
    """Stored (out, in/groups, kernel …), also where transposed."""
    out, groups = module.out_channels, module.groups
    kernel, transposed = tuple(module.kernel_size), "Transpose" in type(module).__name__
    if name == "bias" and shape == (out, *(1,) * len(kernel)):
        return vector(shape, "bias")
    if name != "weight" or shape != (out, module.in_channels // groups, *kernel):
        return None
    roles, view = ("out", "in", *("kernel",) * len(kernel)), shape
    if groups > 1:
        roles, view = ("group", *roles), (groups, out // groups, *shape[1:])
    axes = layout(shape, roles, view)
    spread = fans(axes, stride=tuple(module.stride), transposed=transposed)
    return replace(weight(axes), fans=spread)


def _embedding(module: Any, name: str, shape: Shape) -> Use | None:
    if name != "weight" or shape != (module.num_embeddings, module.embedding_size):
        return None
    return weight(layout(shape, ("index", "out")), "embedding")


def _norm(_module: Any, name: str, shape: Shape) -> Use | None:
    if name == "weight":
        return vector(shape, "norm-scale")
    return vector(shape, "norm-shift") if name == "bias" else None


def _recurrent(module: Any, name: str, shape: Shape) -> Use | None:
    """Gates of the LSTM: input, forget, cell, output; of the GRU: reset, update, new."""
    hidden = module.hidden_size
    if not shape or shape[0] % hidden:
        return None
    gates = shape[0] // hidden
    if name in ("bias", "bias_n"):
        roles, view = ("gate", "out"), (gates, hidden)
        return Use(kind="bias", layout=layout(shape, roles, view))
    if name not in ("weight_ih", "weight_hh") or len(shape) != 2:
        return None
    axes = layout(shape, ("gate", "out", "in"), (gates, hidden, shape[1]))
    return weight(axes, "recurrent" if name == "weight_hh" else "weight")


_READERS: dict[str, Reader] = {
    "Linear": _linear,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Embedding": _embedding,
    "LayerNorm": _norm,
    "RMSNorm": _norm,
    "GroupNorm": _norm,
    "BatchNorm": _norm,
    "GRUCell": _recurrent,
    "LSTMCell": _recurrent,
}


def read(owners: Sequence[Any], path: Sequence[str], shape: Shape) -> Use:
    """What the last of the owners makes of an array; as `flax_layouts.read`."""
    module, leaf = owners[-1], path[-1]
    kind = type(module).__name__
    ours = (c for c in type(module).__mro__ if c.__module__.startswith("equinox."))
    reader = next((_READERS[c.__name__] for c in ours if c.__name__ in _READERS), None)
    found = reader(module, leaf, shape) if reader and prod(shape) else None
    if found is None:
        if reader is None and leaf == "bias":
            return guessed(leaf, shape, kind)
        return unknown(shape, kind)
    made_by = next((type(o).__name__ for o in owners[:-1] if type(o).__name__ in _NORMS), None)
    parametrization = _NORMS.get(made_by or "") if found.kind == "weight" else None
    return replace(found, module=kind, parametrization=parametrization)


_NORMS = {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}
