"""Moments of what only moves values about or drops some: reshapes, padding, dropout."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from firstlight.network.axes import ordered, reshaped
from firstlight.network.passage import Passage
from firstlight.network.signals import Root, Signal, independent
from firstlight.records.network import Operation

_SAME = frozenset({"contiguous", "clone", "to", "float", "double", "half", "bfloat16", "type"})
_SEVERAL = frozenset({"chunk", "split", "unbind"})
"""One operation stands for all parts; nobody can tell which of them is used."""

_PARTS = frozenset({"getitem", "narrow", "select", "index_select"})


def moved(operation: Operation, passage: Passage) -> Signal | None:
    """A result in another shape, or a part of it; zeros around it thin it out."""
    made = passage.made(operation)
    if not made:
        return _constant_table(operation, passage)
    signal = passage.signals[made[0]]
    if signal is None:
        return None
    old, new = passage.shape(made[0]), operation.shape
    name = operation.function
    if name in _SAME:
        return replace(signal, root=signal.own_root(made[0]))
    order = operation.option("order")
    if name == "pad":
        axes = signal.axes
    elif order:
        axes = ordered(signal.axes, order)
    elif len(old) == len(new) and name not in ("view", "reshape"):
        axes = signal.axes
    else:
        axes = reshaped(signal.axes, old, new)
    if len(axes) != len(new):
        axes = passage.default_axes(operation)
    root = signal.own_root(made[0])
    key: tuple[Any, ...] | None = (*(root.key or ()), name, *new)
    if name in _SEVERAL:
        key = None
    elif name in _PARTS and new != old:
        key = (operation.index,)
    result = replace(signal, axes=axes, root=Root(key, root.base, root.function))
    if name == "pad":
        share = min(1.0, prod(old) / max(1, prod(new)))
        result = replace(
            signal.scaled(share**0.5), mean=signal.mean * share, axes=axes, odd=None, root=None
        )
    return result


def _constant_table(operation: Operation, passage: Passage) -> Signal | None:
    """A parameter in another shape: the same at all samples."""
    found = [passage.weights.get(passage.network.parameter(n).name) for n in operation.parameters]
    if len(found) != 1 or found[0] is None:
        return None
    mean, square = found[0].mean, found[0].square
    axes = passage.default_axes(operation)
    return replace(independent(mean, square, axes), samples=square)


def dropped(operation: Operation, passage: Passage) -> Signal | None:
    """Inverted dropout: the mean stays, the mean square is divided by what is kept."""
    signal = passage.source(operation)
    rate = operation.rate
    if signal is None or rate is None:
        return None
    if rate == 0:
        return replace(signal, root=signal.own_root(operation.inputs[0]))
    if rate >= 1 or operation.function not in ("dropout", "dropout1d", "dropout2d", "dropout3d"):
        return None
    return replace(signal, square=signal.square / (1 - rate), root=None, odd=None)
