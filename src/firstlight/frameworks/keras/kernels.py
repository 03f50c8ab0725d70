"""How a variable is to be drawn: from its layer, from axes that were given, or from its rank.

Keras's initializers see a shape alone and guess from its rank: (kernel …, in, out). That is wrong
for depthwise kernels (fan_in too large by the channels), transposed ones (fans swapped), groups,
and the gates of recurrent layers, which share one matrix. `layouts` asks the layer instead; what it
does not know is read as Keras would read it.
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
from firstlight.frameworks.keras.layouts import Use, is_known, is_reordered
from firstlight.records.network import Fans, Layout
from firstlight.theory.fans import fans

Shape = tuple[int, ...]
Values = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A tensor to draw, and the way from it to the variable.

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
    shape: Shape, roles: Sequence[str], view: Shape = (), effective: Fans | None = None
) -> Drawing:
    layout = Layout(shape=shape, view=view or shape, roles=tuple(roles))
    return Drawing(layout=layout, fans=effective or fans(layout))


def by_roles(shape: Shape, roles: Sequence[str], effective: Fans | None = None) -> Drawing:
    """Axes of given roles in any order; several of inputs, or of outputs, count as one axis.

    Args:
        shape: as stored.
        roles: one for each axis.
        effective: the fans, where more is known than the roles tell (strides).

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
        return _weight(shape, kept, tuple(view), effective)
    back = np.argsort(order)
    moved = _weight(tuple(shape[i] for i in order), kept, tuple(view), effective)
    return Drawing(
        layout=moved.layout,
        fans=moved.fans,
        stored=lambda values: np.ascontiguousarray(values.transpose(back)),
    )


def by_axes(shape: Shape, input_axes: Sequence[int], output_axes: Sequence[int]) -> Drawing:
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


def by_rank(shape: Shape) -> Drawing:
    """As Keras reads a shape of which nothing is known: (kernel …, in, out).

    Vectors and numbers get the fans that Keras gives them, their size both ways.

    >>> by_rank((3, 3, 16, 32)).fans
    Fans(forward=144.0, backward=288.0)
    """
    if len(shape) < 2:
        size = float(max(1, prod(shape)))
        return Drawing(
            layout=Layout(shape=shape, view=shape, roles=("out",) * len(shape)),
            fans=Fans(forward=size, backward=size),
        )
    return _weight(shape, (*("kernel",) * (len(shape) - 2), "in", "out"))


def _convolving_cell(layer: Any, name: str, shape: Shape) -> Drawing | None:
    """A ConvLSTM's kernels (kernel …, in, 4 · filters), gates in the last axis."""
    if len(shape) < 3 or shape[-1] != 4 * layer.filters or not name.endswith("kernel"):
        return None
    roles = (*("kernel",) * (len(shape) - 2), "in", "gate", "out")
    return _weight(shape, roles, (*shape[:-1], 4, layer.filters))


def _gru(use: Use, shape: Shape) -> Drawing:
    twice = use.kind == "bias" and shape[:-1] == (2,)
    one = shape[1:] if twice else shape
    view = (*one[:-1], 3, one[-1] // 3)
    roles = ("gate", "out") if use.kind == "bias" else ("in", "gate", "out")

    def reordered(values: Values) -> Values:
        # Drawn in torch's order (reset, update, new); Keras stores the update gate first.
        return values.reshape(view)[..., [1, 0, 2], :].reshape(one)

    layout = Layout(shape=one, view=view, roles=roles)
    return Drawing(layout=layout, fans=use.fans, stored=reordered, twice=twice)


def drawing_of(layer: Any, name: str, shape: Shape) -> Drawing | None:
    """How a layer's variable is to be drawn, or None if the layer is not known.

    Args:
        layer: the layer that owns the variable.
        name: of the variable within the layer, ``kernel``.
        shape: as stored.

    >>> import keras
    >>> layer = keras.layers.DepthwiseConv2D(3)
    >>> drawing_of(layer, "kernel", (3, 3, 64, 1)).fans
    Fans(forward=9.0, backward=9.0)
    """
    if type(layer).__name__ == "ConvLSTMCell":
        return _convolving_cell(layer, name, shape)
    use = is_known(layer, name, shape)
    if use is None:
        return None
    if is_reordered(layer):
        return _gru(use, shape)
    if use.kind == "weight" and use.layout.view == shape:
        return by_roles(shape, use.layout.roles, use.fans)
    return Drawing(layout=use.layout, fans=use.fans)
