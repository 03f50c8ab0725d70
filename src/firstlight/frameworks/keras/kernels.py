"""What the axes of a Keras variable do, read from the layer that asks for it.

Keras's initializers see a shape alone and guess from its rank: (kernel …, in, out). That is wrong
for depthwise kernels (fan_in √channels too large), transposed ones (fans swapped), groups, and the
gates of recurrent layers, which share one matrix. Each reader below knows one family of layers and
checks the shape against the layer's own numbers, so that a subclass that stores something else is
read as Keras would read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.records.network import Fans, Layout
from firstlight.theory.fans import fans

Shape = tuple[int, ...]
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a layer makes of one variable.

    Args:
        layout: its axes.
        fans: its effective fans, None for vectors.
        stored: brings what was drawn for ``layout`` into the layer's own order, where that is
            another than ``layout.shape`` says.
        twice: whether the variable holds two tensors of this layout, the second of which is added
            to the first (the biases of a GRU, for its inputs and for its state).
    """

    layout: Layout
    fans: Fans | None = None
    stored: Callable[[Values], Values] | None = None
    twice: bool = False


def _weight(
    shape: Shape,
    roles: Sequence[str],
    view: Shape = (),
    *,
    strides: Shape = (),
    transposed: bool = False,
) -> Use:
    layout = Layout(shape=shape, view=view or shape, roles=tuple(roles))
    return Use(layout=layout, fans=fans(layout, stride=strides, transposed=transposed))


def _vector(shape: Shape) -> Use:
    return Use(layout=Layout(shape=shape, view=shape, roles=("out",) * len(shape)))


def by_roles(shape: Shape, roles: Sequence[str]) -> Use:
    """Axes of given roles in any order; neighbours of one role count as one axis.

    >>> by_roles((512, 8, 64), ("in", "out", "out")).fans
    Fans(forward=512.0, backward=512.0)
    """
    if len(roles) != len(shape):
        raise BadInputError(
            f"axes: one role for each axis of {shape} is needed, got {tuple(roles)}"
        )
    # A law fills (out, in): an axis of one of them that another axis separates moves to its like.
    first = {role: roles.index(role) for role in roles}
    joined = [role for role in dict.fromkeys(roles) if role in ("in", "out")]
    order = sorted(range(len(shape)), key=lambda i: first[roles[i]] if roles[i] in joined else i)
    view: list[int] = []
    kept: list[str] = []
    for role, group in groupby(order, key=lambda i: roles[i]):
        sizes = [shape[i] for i in group]
        fused = role in joined
        view += [prod(sizes)] if fused else sizes
        kept += [role] * (1 if fused else len(sizes))
    if order == list(range(len(shape))):
        return _weight(shape, kept, tuple(view))
    back = np.argsort(order)
    moved = _weight(tuple(shape[i] for i in order), kept, tuple(view))
    return Use(
        layout=moved.layout,
        fans=moved.fans,
        stored=lambda values: np.ascontiguousarray(values.transpose(back)),
    )


def by_axes(shape: Shape, input_axes: Sequence[int], output_axes: Sequence[int]) -> Use:
    """Axes as Keras's ``input_axes`` and ``output_axes`` name them.

    An axis in both is a kernel's (it multiplies either fan), one in neither counts independent
    matrices.

    >>> by_axes((3, 3, 16, 32), [0, 1, 2], [0, 1, 3]).fans
    Fans(forward=144.0, backward=288.0)
    """
    rank = len(shape)
    for axis in (*input_axes, *output_axes):
        if not -rank <= axis < rank:
            raise BadInputError(f"input_axes, output_axes: shape {shape} has no axis {axis}")
    ins, outs = {a % rank for a in input_axes}, {a % rank for a in output_axes}
    names = {(True, True): "kernel", (True, False): "in", (False, True): "out"}
    return by_roles(shape, [names.get((i in ins, i in outs), "stack") for i in range(rank)])


def by_rank(shape: Shape) -> Use:
    """As Keras reads a shape of which nothing is known: (kernel …, in, out).

    Vectors and numbers get the fans that Keras gives them, their size both ways.

    >>> by_rank((3, 3, 16, 32)).fans
    Fans(forward=144.0, backward=288.0)
    """
    if len(shape) < 2:
        size = float(max(1, prod(shape)))
        return Use(layout=_vector(shape).layout, fans=Fans(forward=size, backward=size))
    return _weight(shape, (*("kernel",) * (len(shape) - 2), "in", "out"))


def _dense(_layer: Any, name: str, shape: Shape) -> Use | None:
    return _weight(shape, ("in", "out")) if len(shape) == 2 and name != "bias" else None


def _einsum(layer: Any, name: str, shape: Shape) -> Use | None:
    left, _, result = layer.equation.replace(" ", "").partition("->")
    data, _, weight = left.partition(",")
    if name != "kernel" or len(weight) != len(shape):
        return None
    # A letter of all three keeps matrices apart; one that the result lacks is summed over.
    names = {(True, True): "stack", (True, False): "in", (False, True): "out"}
    roles = [names.get((letter in data, letter in result)) for letter in weight]
    return None if None in roles else by_roles(shape, [str(role) for role in roles])


def _convolution(layer: Any, name: str, shape: Shape) -> Use | None:
    rank, groups = layer.rank, layer.groups
    if name != "kernel" or shape[-1:] != (layer.filters,) or len(shape) != rank + 2:
        return None
    kernel, taps = shape[:rank], ("kernel",) * rank
    if groups == 1:
        return _weight(shape, (*taps, "in", "out"), strides=layer.strides)
    view = (*kernel, shape[rank], groups, layer.filters // groups)
    return _weight(shape, (*taps, "in", "group", "out"), view, strides=layer.strides)


def _transposed(layer: Any, name: str, shape: Shape) -> Use | None:
    rank = layer.rank
    if name != "kernel" or len(shape) != rank + 2 or shape[rank] != layer.filters:
        return None
    roles = (*("kernel",) * rank, "out", "in")
    return _weight(shape, roles, strides=layer.strides, transposed=True)


def _by_channel(layer: Any, name: str, shape: Shape) -> Use | None:
    """Kernels (kernel …, channels, multiplier): each channel is a group with one input."""
    rank = layer.rank
    if len(shape) != rank + 2:
        return None
    if name == "pointwise_kernel":
        return _weight(shape, (*("kernel",) * rank, "in", "out"))
    if name not in ("kernel", "depthwise_kernel") or shape[-1] != layer.depth_multiplier:
        return None
    view = (*shape[:-1], 1, shape[-1])
    return _weight(shape, (*("kernel",) * rank, "group", "in", "out"), view, strides=layer.strides)


def _embedding(_layer: Any, name: str, shape: Shape) -> Use | None:
    roles = {"embeddings": ("index", "out"), "reverse_embeddings": ("in", "out")}
    return _weight(shape, roles[name]) if name in roles and len(shape) == 2 else None


_GATES = {"LSTMCell": 4, "GRUCell": 3, "SimpleRNNCell": 1, "ConvLSTMCell": 4}


def is_recurrent(layer: Any) -> bool:
    """Whether a layer is a cell whose variables are named as a recurrent layer's.

    >>> import keras
    >>> is_recurrent(keras.layers.LSTMCell(2)), is_recurrent(keras.layers.Dense(2))
    (True, False)
    """
    return any(cls.__name__ in _GATES for cls in type(layer).__mro__)


def _recurrent(layer: Any, name: str, shape: Shape) -> Use | None:
    cell = next(cls.__name__ for cls in type(layer).__mro__ if cls.__name__ in _GATES)
    gates = _GATES[cell]
    units = layer.filters if cell == "ConvLSTMCell" else layer.units
    if not shape or shape[-1] != gates * units:
        return None
    twice = name == "bias" and shape[:-1] == (2,)
    shape = shape[1:] if twice else shape
    view = (*shape[:-1], gates, units)
    if name == "bias" and len(shape) == 1:
        use = _weight(shape, ("gate", "out"), view)
    elif name in ("kernel", "recurrent_kernel") and len(shape) >= 2:
        use = _weight(shape, (*("kernel",) * (len(shape) - 2), "in", "gate", "out"), view)
    else:
        return None
    if cell != "GRUCell":
        return use

    def reordered(values: Values) -> Values:
        # Drawn in torch's order (reset, update, new); Keras stores the update gate first.
        return values.reshape(view)[..., [1, 0, 2], :].reshape(shape)

    return Use(layout=use.layout, fans=use.fans, stored=reordered, twice=twice)


_READERS: tuple[tuple[tuple[str, ...], Callable[[Any, str, Shape], Use | None]], ...] = (
    (("Dense",), _dense),
    (("EinsumDense",), _einsum),
    (("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"), _by_channel),
    (("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    (("Conv1D", "Conv2D", "Conv3D"), _convolution),
    (("Embedding",), _embedding),
    (tuple(_GATES), _recurrent),
)


def use_of(layer: Any, name: str, shape: Shape) -> Use | None:
    """What a layer makes of a variable, or None if that is not known.

    Args:
        layer: the layer that owns the variable.
        name: of the variable within the layer, ``kernel``.
        shape: as stored.

    >>> import keras
    >>> layer = keras.layers.DepthwiseConv2D(3)
    >>> use_of(layer, "kernel", (3, 3, 64, 1)).fans
    Fans(forward=9.0, backward=9.0)
    """
    classes = {cls.__name__ for cls in type(layer).__mro__}
    reader = next((read for names, read in _READERS if classes & set(names)), None)
    return reader(layer, name, shape) if reader is not None and 0 not in shape else None
