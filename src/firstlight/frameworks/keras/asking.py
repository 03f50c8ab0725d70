"""Which variable an initializer is called for: Keras passes it a shape and a dtype, nothing else.

The variable that is being made, its layer and the layers around it stand on the call stack, on
every backend alike (`keras.Variable`, `Layer.add_weight`, `Layer.__call__`), and only there: the
name scope that Keras keeps has the layer but not the variable, and is gone when variables of a
layer without ``build`` are filled after a first trace. Nothing is changed by looking.

Automatic names (``dense_7``) count all layers of the process. They are renumbered within what is
being built, so that a model built again starts alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras

from firstlight.frameworks.keras.layouts import is_known
from firstlight.frameworks.keras.naming import automatic
from firstlight.laws.naming import address_of

_CELL_NAMES = frozenset({"lstm_cell", "gru_cell", "simple_rnn_cell"})


@dataclass(frozen=True, kw_only=True)
class Asker:
    """The variable that an initializer is to fill.

    Args:
        layer: the layer that owns it, or None.
        name: its name within the layer, ``kernel``.
        path: Keras's path of it, ``block/dense_7/kernel``.
        address: what its numbers are drawn under, ``block.dense.weight``.
        settled: whether automatic names in the address were counted within a known whole; if not,
            equal addresses may mean different layers.
        shape: of the whole variable.
        placeholder: Keras only traces shapes and drops the values.
    """

    layer: Any
    name: str
    path: str
    address: str
    settled: bool
    shape: tuple[int, ...]
    placeholder: bool


def _selves(frame: FrameType | None) -> Iterator[tuple[Any, str, FrameType]]:
    """What `self` is, and in which function, from a frame outward."""
    while frame is not None:
        code = frame.f_code
        if "self" in code.co_varnames[:1] or "self" in code.co_freevars:
            held = frame.f_locals.get("self")
            if isinstance(held, keras.Variable | keras.Layer):
                yield held, code.co_name, frame
        frame = frame.f_back


def who_asks() -> Asker | None:
    """The variable being filled by the initializer that calls this, or None outside of any.

    >>> who_asks() is None
    True
    """
    variable: Any = None
    layer: Any = None
    placeholder = False
    around: dict[str, Any] = {}
    tensors: list[Any] = []
    for held, function, frame in _selves(sys._getframe(2)):
        if isinstance(held, keras.Variable):
            if variable is None:
                variable, placeholder = held, function == "value"
            elif held is not variable:
                break  # another variable's making encloses this one; what follows is not ours
            continue
        if variable is None:
            continue  # a layer's own function around the initializer (LSTM's bias)
        if layer is None and function == "add_weight":
            layer = held
        around.setdefault(getattr(held, "name", ""), held)
        if function == "__call__":
            tensors = _symbolic(frame) or tensors
    if variable is None:
        return None
    parts = variable.path.split("/")
    owners = _owners(parts[:-1], around)
    if layer is None and owners:
        layer = owners[-1]
    address, settled = _address(parts, owners, tensors, tuple(variable.shape))
    return Asker(
        layer=layer,
        name=parts[-1],
        path=variable.path,
        address=address,
        settled=settled,
        shape=tuple(variable.shape),
        placeholder=placeholder,
    )


def _symbolic(frame: FrameType) -> list[Any]:
    """The tensors of a functional model that a layer's call was given."""
    given = (frame.f_locals.get("args", ()), frame.f_locals.get("kwargs", {}))
    return [leaf for leaf in keras.tree.flatten(given) if isinstance(leaf, keras.KerasTensor)]


def _owners(parts: list[str], around: dict[str, Any]) -> list[Any]:
    """The layer behind each part of a path, None where it is not found."""
    found: list[Any] = []
    for part in parts:
        above = found[-1] if found else None
        inside = {child.name: child for child in _children(above)}
        found.append(around.get(part) or inside.get(part))
    return found


def _children(layer: Any) -> list[Any]:
    flatten = getattr(layer, "_flatten_layers", None)
    return list(flatten(include_self=False, recursive=False)) if flatten else []


def _address(
    parts: list[str], owners: list[Any], tensors: list[Any], shape: tuple[int, ...]
) -> tuple[str, bool]:
    settled = True
    names: list[str] = []
    for depth, (part, layer) in enumerate(zip(parts[:-1], owners, strict=True)):
        own = automatic(layer) if layer is not None else None
        if own is None:
            names.append(part)
            continue
        stem, number = own
        whole = _children(owners[depth - 1]) if depth else _graph(tensors)
        numbers = {automatic(each) for each in whole if each is not layer}
        rank = sum(n is not None and n[0] == stem and n[1] < number for n in numbers)
        model = depth == 0 and isinstance(layer, keras.Model) and len(parts) > 2
        if model and not rank:
            continue  # the model's own automatic name says nothing
        settled = settled and (bool(whole) or model)
        names.append(f"{stem}_{rank}" if rank else stem)
    owner = owners[-1] if owners else None
    use = is_known(owner, parts[-1], shape) if owner is not None else None
    leaf = (use.leaf if use is not None else None) or address_of(parts[-1])
    if leaf.endswith("_l0") and len(names) > 1 and names[-1] in _CELL_NAMES:
        names.pop()  # torch has no cell inside its recurrent layers
    return ".".join([*names, leaf]), settled


def _graph(tensors: list[Any]) -> list[Any]:
    """All layers of the functional graph that these tensors belong to, as far as it is built."""
    found: dict[int, Any] = {}
    waiting = [tensor._keras_history.operation for tensor in tensors]
    while waiting:
        operation = waiting.pop()
        if id(operation) in found:
            continue
        found[id(operation)] = operation
        for node in operation._inbound_nodes:
            waiting += [parent.operation for parent in node.parent_nodes]
        waiting += [node.operation for node in operation._outbound_nodes]
    return list(found.values())
