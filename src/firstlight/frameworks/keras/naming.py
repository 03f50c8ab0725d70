"""Names of a Keras model's variables: a layer's own names joined by dots, ``block.conv.kernel``.

Keras numbers layers without a name through the whole process, so the second model that a program
builds holds ``dense_5``. Numbers of weights hang on names; here such names count anew in each
model, in Keras's own order, so that a model that is built or loaded again has the names (and gets
the weights) of the first. A name that looks like an automatic one is taken for one, whoever gave
it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras import layers

_ENDS = re.compile(r"^(?P<base>.*?)(?:_(?P<count>\d+))?$")


@dataclass(frozen=True, kw_only=True)
class Held:
    """A variable, and one place at which a model holds it.

    Args:
        name: its canonical name there, ``block.conv.kernel``.
        local: what its layer calls it, ``kernel``.
        variable: the `keras.Variable`.
        layer: the layer that holds it.
        path: of the layer; empty for the model itself.
        holders: the layers around, the outermost first, the layer itself last.
    """

    name: str
    local: str
    variable: Any
    layer: Any
    path: str
    holders: tuple[Any, ...]


def _snake(name: str) -> str:
    """A class's name as Keras spells it in an automatic name.

    >>> _snake("Conv2DTranspose"), _snake("LSTMCell")
    ('conv2d_transpose', 'lstm_cell')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def automatic(layer: Any) -> tuple[str, int] | None:
    """The stem and number of a name that Keras gave; None for a name of the user's."""
    found = _ENDS.match(layer.name)
    if found is None:
        return None
    base = found["base"]
    # `Bidirectional` puts a word before the name of the layer that it wraps.
    plain = base.removeprefix("forward_").removeprefix("backward_")
    if plain != _snake(type(layer).__name__):
        return None
    return base, int(found["count"] or 0)


def _walk(layer: Any, holders: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Each layer with the layers around it, at each of its places."""
    yield (*holders, layer)
    for inner in layer._layers:
        if inner not in holders and inner is not layer and isinstance(inner, layers.Layer):
            yield from _walk(inner, (*holders, layer))


def _inside(model: Any) -> list[tuple[Any, ...]]:
    return list(_walk(model, ()))


def layer_names(model: Any) -> dict[int, str]:
    """What each layer is called here, by its identity; automatic names count from the model's own.

    >>> import keras
    >>> _ = keras.layers.Dense(3)
    >>> model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2, name="head")])
    >>> [name for name in layer_names(model).values()][1:]
    ['dense', 'head']
    """
    found = {id(chain[-1]): chain[-1] for chain in _inside(model)}
    names = {key: layer.name for key, layer in found.items()}
    counts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for key, layer in found.items():
        own = automatic(layer) if layer is not model else None
        if own is not None:
            counts[own[0]].append((own[1], key))
    for base, numbered in counts.items():
        # Layers of one number (cells, say, in different layers) keep one name.
        ranks = {given: rank for rank, given in enumerate(sorted({n for n, _ in numbered}))}
        for given, key in numbered:
            names[key] = f"{base}_{ranks[given]}" if ranks[given] else base
    return names


def layer_paths(model: Any) -> dict[int, str]:
    """The path of each layer by its identity, the model's own empty; of several the first."""
    names = layer_names(model)
    found: dict[int, str] = {}
    for chain in _inside(model):
        found.setdefault(id(chain[-1]), ".".join(names[id(layer)] for layer in chain[1:]))
    return found


def held(model: Any) -> Iterator[Held]:
    """Every variable of every layer at each of its places: weights, statistics, counters."""
    names = layer_names(model)
    taken: set[str] = set()
    seen: set[tuple[int, str]] = set()
    for chain in _inside(model):
        layer = chain[-1]
        path = ".".join(names[id(each)] for each in chain[1:])
        if (id(layer), path) in seen:
            continue
        seen.add((id(layer), path))
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            local = variable.name
            name = f"{path}.{local}" if path else local
            count = 1
            while name in taken:  # two weights that their layer gave one name
                count += 1
                name = f"{path}.{local}#{count}".lstrip(".")
            taken.add(name)
            yield Held(
                name=name,
                local=local,
                variable=variable,
                layer=layer,
                path=path,
                holders=chain,
            )
