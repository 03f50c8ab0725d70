"""What the axes of a Keras layer's variables do, told by the layer, never guessed from the rank.

Keras stores inputs before outputs and kernel sizes before both. Each reader below knows one family
of layers and checks the stored shape against the layer's own numbers; what does not fit is of kind
``other``. The logical tensor behind is torch's: (out, in, kernel …), groups and gates apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from keras import layers

from firstlight.records.network import Fans, Layout
from firstlight.theory.fans import fans

Kind = Literal["weight", "recurrent", "bias", "norm-scale", "norm-shift", "embedding", "other"]


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a layer makes of one of its variables.

    Args:
        kind: as in `Parameter`.
        layout: its axes.
        fans: None for vectors.
        leaf: the last part of its address, in torch's words.
    """

    kind: Kind
    layout: Layout
    fans: Fans | None = None
    leaf: str | None = None


Shape = tuple[int, ...]
Reader = Callable[[Any, str, Shape], Use | None]
"""(layer, local name, stored shape) to a use, or None if this is not what the family stores."""


def _weight(
    shape: Shape,
    roles: tuple[str, ...],
    view: Shape = (),
    *,
    kind: Kind = "weight",
    leaf: str | None = None,
    stride: Shape = (),
    transposed: bool = False,
) -> Use:
    layout = Layout(shape=shape, view=view or shape, roles=roles)
    spread = fans(layout, stride=stride, transposed=transposed)
    return Use(kind=kind, layout=layout, fans=spread, leaf=leaf)


def _vector(shape: Shape, kind: Kind, leaf: str | None = None) -> Use:
    layout = Layout(shape=shape, view=shape, roles=("out",) * len(shape))
    return Use(kind=kind, layout=layout, leaf=leaf)


def _dense(layer: Any, name: str, shape: Shape) -> Use | None:
    if name == "kernel" and len(shape) == 2 and shape[1] == layer.units:
        return _weight(shape, ("in", "out"))
    return _vector(shape, "bias") if name == "bias" and shape == (layer.units,) else None


def _terms(equation: str) -> tuple[str, str, str] | None:
    """The axes of input, kernel and output; leading axes left open count in neither."""
    inputs, arrow, output = equation.replace(" ", "").replace("...", "").partition("->")
    data, comma, kernel = inputs.partition(",")
    return (data, kernel, output) if arrow and comma else None


def _einsum(layer: Any, name: str, shape: Shape) -> Use | None:
    terms = _terms(layer.equation)
    if name == "kernel" and terms is not None and len(terms[1]) == len(shape):
        data, kernel, output = terms
        roles = tuple(
            "in" if axis not in output else "stack" if axis in data else "out" for axis in kernel
        )
        return _weight(shape, roles) if "in" in roles else None
    return _vector(shape, "bias") if name == "bias" else None


def _convolution(layer: Any, name: str, shape: Shape) -> Use | None:
    if name == "bias" and shape == (layer.filters,):
        return _vector(shape, "bias")
    kernel, groups = tuple(layer.kernel_size), layer.groups
    if name != "kernel" or shape[:-2] != kernel or shape[-1] != layer.filters:
        return None
    roles, view = (*("kernel",) * len(kernel), "in", "out"), shape
    if groups > 1:
        roles = (*roles[:-1], "group", "out")
        view = (*shape[:-1], groups, layer.filters // groups)
    return _weight(shape, roles, view, stride=tuple(layer.strides))


def _depthwise_kernel(shape: Shape, stride: Shape, leaf: str | None = None) -> Use:
    # Each channel is a group with one input, as torch has it.
    roles = (*("kernel",) * (len(shape) - 2), "group", "in", "out")
    view = (*shape[:-1], 1, shape[-1])
    return _weight(shape, roles, view, stride=stride, leaf=leaf)


def _depthwise(layer: Any, name: str, shape: Shape) -> Use | None:
    fits = shape[:-2] == tuple(layer.kernel_size) and shape[-1:] == (layer.depth_multiplier,)
    if name in ("kernel", "depthwise_kernel") and fits:
        return _depthwise_kernel(shape, tuple(layer.strides))
    return _vector(shape, "bias") if name == "bias" and len(shape) == 1 else None


def _separable(layer: Any, name: str, shape: Shape) -> Use | None:
    size = tuple(layer.kernel_size)
    if name == "depthwise_kernel" and shape[:-2] == size:
        return _depthwise_kernel(shape, tuple(layer.strides), "depthwise.weight")
    if name == "pointwise_kernel" and shape[-1] == layer.filters:
        roles = (*("kernel",) * len(size), "in", "out")
        return _weight(shape, roles, leaf="pointwise.weight")
    return _vector(shape, "bias", "pointwise.bias") if name == "bias" else None


def _transposed(layer: Any, name: str, shape: Shape) -> Use | None:
    if name == "bias" and shape == (layer.filters,):
        return _vector(shape, "bias")
    if name != "kernel" or shape[:-1] != (*layer.kernel_size, layer.filters):
        return None
    roles = (*("kernel",) * (len(shape) - 2), "out", "in")
    return _weight(shape, roles, stride=tuple(layer.strides), transposed=True)


def _embedding(layer: Any, name: str, shape: Shape) -> Use | None:
    if name == "embeddings" and shape == (layer.input_dim, layer.output_dim):
        return _weight(shape, ("index", "out"), kind="embedding")
    return None


_GATES = {"LSTMCell": 4, "GRUCell": 3, "SimpleRNNCell": 1}


def _cell(layer: Any, name: str, shape: Shape) -> Use | None:
    gates = next(n for cls, n in _GATES.items() if isinstance(layer, getattr(layers, cls)))
    units = layer.units
    if not shape or shape[-1] != gates * units:
        return None
    stacked = ("gate",) if gates > 1 else ()
    view = (*shape[:-1], *((gates,) if gates > 1 else ()), units)
    if name == "kernel" and len(shape) == 2:
        return _weight(shape, ("in", *stacked, "out"), view, leaf="weight_ih_l0")
    if name == "recurrent_kernel" and len(shape) == 2:
        roles = ("in", *stacked, "out")
        return _weight(shape, roles, view, kind="recurrent", leaf="weight_hh_l0")
    if name == "bias":  # a GRU that resets after the product has one for each of its products
        roles = (*("stack",) * (len(shape) - 1), *stacked, "out")
        layout = Layout(shape=shape, view=view, roles=roles)
        return Use(kind="bias", layout=layout, leaf="bias_ih_l0")
    return None


def _norm(_layer: Any, name: str, shape: Shape) -> Use | None:
    kinds: dict[str, Kind] = {"gamma": "norm-scale", "scale": "norm-scale", "beta": "norm-shift"}
    return (
        _vector(shape, kinds[name], "weight" if name == "scale" else None)
        if (name in kinds)
        else None
    )


def _of(*names: str) -> tuple[type, ...]:
    """The layer classes of these names that this version of Keras has."""
    return tuple(getattr(layers, name) for name in names if hasattr(layers, name))


_D = ("1D", "2D", "3D")

NORMS = _of(
    "BatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "RMSNormalization",
    "UnitNormalization",
)

_READERS: tuple[tuple[tuple[type, ...], Reader], ...] = (
    (_of("Dense"), _dense),
    (_of("EinsumDense"), _einsum),
    (_of(*(f"SeparableConv{d}" for d in _D)), _separable),
    (_of(*(f"DepthwiseConv{d}" for d in _D)), _depthwise),
    (_of(*(f"Conv{d}Transpose" for d in _D)), _transposed),
    (_of(*(f"Conv{d}" for d in _D)), _convolution),
    (_of("Embedding"), _embedding),
    (_of("LSTMCell", "GRUCell", "SimpleRNNCell"), _cell),
    (NORMS, _norm),
)


def _unknown(name: str, shape: Shape) -> Use:
    if len(shape) == 1:
        return _vector(shape, "bias" if name == "bias" else "other")
    # Without a layer that says so, no axis is an input: no fans, no matrix laws.
    roles = ("index", *("out",) * (len(shape) - 1)) if shape else ()
    return Use(kind="other", layout=Layout(shape=shape, view=shape, roles=roles))


def use_of(layer: Any, local: str, shape: Shape) -> Use:
    """What a layer makes of its variable ``local`` of this shape; kind ``other`` if not known.

    >>> from keras import layers
    >>> use_of(layers.Conv2D(8, 3, strides=2), "kernel", (3, 3, 4, 8)).layout.logical
    (8, 4, 3, 3)
    """
    known = is_known(layer, local, shape)
    return known or _unknown(local, shape)


def is_known(layer: Any, local: str, shape: Shape) -> Use | None:
    """The use of a variable that is a weight, bias, scale or shift of a layer of Keras's own."""
    if not prod(shape):
        return None
    reader = next((read for classes, read in _READERS if isinstance(layer, classes)), None)
    return None if reader is None else reader(layer, local, shape)


def is_reordered(layer: Any) -> bool:
    """Whether a layer keeps its gates in another order than torch does: a GRU, update gate first.

    Such variables are told and written in torch's order (reset, update, new).
    """
    return isinstance(layer, layers.GRUCell)
