"""A Keras model as named parameters, on whatever backend: nothing here computes with a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.keras.layouts import Use, is_known, is_reordered, use_of
from firstlight.frameworks.keras.naming import Held, held
from firstlight.frameworks.keras.placing import asked, from_boxes
from firstlight.laws.naming import LEAVES, apart
from firstlight.records.held import Boxes
from firstlight.records.network import Parameter

_OWN_BUILD = (layers.Layer, keras.Model, keras.Sequential)
"""What these do when they are built makes no weight."""


def is_model(model: Any) -> bool:
    """Whether an object is a model or layer of Keras 3."""
    return isinstance(model, getattr(keras, "Layer", ()))


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One of a model's parameters, with the variable that carries it.

    Args:
        variable: the `keras.Variable`.
        parameter: what it is.
        reordered: whether its gates are stored in another order than they are told.
        owner: the layer that gives it its name.
    """

    variable: Any
    parameter: Parameter
    reordered: bool
    owner: Any


def _is_parameter(place: Held) -> bool:
    """Weights, frozen ones and quantised ones as well; no statistics, seeds and counters."""
    variable = place.variable
    own = any(variable is each for each in place.layer._trainable_variables)
    shape = tuple(variable.shape)
    known = is_known(place.layer, place.local, shape) is not None
    stored = place.local in ("kernel", "embeddings") and "int" in str(variable.dtype)
    return own or known or stored


def _address(place: Held, use: Use) -> str:
    """The name that a variable's numbers are drawn under."""
    leaf = use.leaf or LEAVES.get(place.local, place.local)
    around, path = place.holders[:-1], place.path
    if isinstance(
        place.layer, layers.RNN | layers.LSTMCell | layers.GRUCell | layers.SimpleRNNCell
    ):
        outer = around[-1] if around else None
        if isinstance(outer, layers.RNN) and len(around) > 1:
            # Torch has no cell inside its recurrent layers, and one layer for both directions.
            path = path.rpartition(".")[0]
            wrapper = around[-2]
            if isinstance(wrapper, layers.Bidirectional) and len(around) > 2:
                path = path.rpartition(".")[0]
                leaf += "_reverse" if outer is wrapper.backward_layer else ""
    return f"{path}.{leaf}".lstrip(".")


def _read(place: Held) -> Parameter:
    variable = place.variable
    use = use_of(place.layer, place.local, tuple(variable.shape))
    dtype = str(variable.dtype)
    drawn = dtype.startswith(("float", "bfloat")) and not dtype.startswith("float8")
    return Parameter(
        name=place.name,
        kind=use.kind if drawn else "other",
        module=type(place.layer).__name__,
        layout=use.layout,
        fans=use.fans if drawn else None,
        dtype=dtype,
        trainable=bool(variable.trainable) and drawn,
        address=_address(place, use),
    )


def weights(model: Any) -> tuple[Weight, ...]:
    """Every parameter once, in the order in which the model holds them.

    A variable that is held at several places takes the first of its names in sorted order; if an
    embedding shares it with a dense layer, it is an ``embedding``.
    """
    places: dict[int, list[Held]] = {}
    for place in held(model):
        places.setdefault(id(place.variable), []).append(place)
    found: list[Weight] = []
    for several in places.values():
        kept = sorted(filter(_is_parameter, several), key=lambda place: place.name)
        if not kept:
            continue
        read = [_read(place) for place in kept]
        chosen = next((p for p in read if p.kind == "embedding"), read[0])
        first = kept[0]
        parameter = replace(
            chosen,
            name=first.name,
            address=read[0].address,
            ties=tuple(place.name for place in kept[1:]),
        )
        found.append(
            Weight(
                variable=first.variable,
                parameter=parameter,
                reordered=is_reordered(first.layer),
                owner=first.layer,
            )
        )
    own = apart({w.parameter.name: w.parameter.address or w.parameter.name for w in found})
    return tuple(
        replace(w, parameter=replace(w.parameter, address=_other(w.parameter.name, own)))
        for w in found
    )


def _other(name: str, addresses: dict[str, str]) -> str | None:
    return None if addresses[name] == name else addresses[name]


def checked(model: Any) -> tuple[Weight, ...]:
    """The weights of a model that can be looked at; a `BadInputError` for one that cannot."""
    if not is_model(model):
        raise BadInputError(f"model: expected a Keras model, got {type(model).__name__}")
    lazy = next(_unbuilt(model), None)
    found = weights(model)
    if lazy is not None or (not found and not model.built):
        inner = "" if lazy is None or lazy is model else f" ('{lazy.name}' in it)"
        raise BadInputError(
            f"model: {type(model).__name__} '{model.name}' is not built{inner}, so it has no"
            " weights yet; call it once on a batch, model(batch), or model.build((None, …)), then"
            " look again"
        )
    if not found:
        raise BadInputError(
            f"model: {type(model).__name__} has no parameters, so there is nothing to initialize"
        )
    return found


def check_learns(model: Any) -> None:
    """Refuse a model in which training changes nothing.

    Raises:
        BadInputError: one line.
    """
    if not any(weight.parameter.trainable for weight in checked(model)):
        raise BadInputError(
            f"model: {type(model).__name__} has no trainable parameter, so training changes"
            " nothing; set trainable = True on what is to learn"
        )


def _unbuilt(model: Any) -> Iterator[Any]:
    """Layers whose first call would make weights."""
    for layer in model._flatten_layers():
        build = type(layer).build
        own = any(build is getattr(kind, "build", None) for kind in _OWN_BUILD)
        chain = layer is model and isinstance(model, keras.Sequential)
        if not layer.built and (chain or not own):
            yield layer


def reordered(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The first two of three gates exchanged: Keras's order to torch's, and back."""
    update, reset, new = np.split(array, 3, axis=-1)
    return np.concatenate([reset, update, new], axis=-1)


def numbers_of(tensor: Any) -> NDArray[Any]:
    """A copy of a backend's tensor, 16-bit types widened."""
    if hasattr(tensor, "detach"):  # Keras's way to NumPy warns on torch
        tensor = tensor.detach().cpu()
        half = tensor.is_floating_point() and tensor.element_size() < 4
        return np.array((tensor.float() if half else tensor).numpy())
    value = np.array(keras.ops.convert_to_numpy(tensor))
    half = value.dtype.kind == "f" and value.dtype.itemsize < 4
    return value.astype(np.float32) if half or value.dtype.kind not in "fiub" else value


def values(model: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Each parameter's name and a copy of its values, 16-bit types widened."""
    for weight in checked(model):
        value = numbers_of(weight.variable._value)
        yield weight.parameter.name, reordered(value) if weight.reordered else value


def memory(model: Any) -> dict[str, Boxes]:
    """Of the variables that lie on several devices the question for their parts.

    Gates in another order are not asked for: a part of them is no part of what is drawn.
    """
    found = {
        weight.parameter.name: asked(weight.variable, weight.parameter.name)
        for weight in checked(model)
        if not weight.reordered
    }
    return {name: boxes for name, boxes in found.items() if boxes is not None}


def write(model: Any, arrays: Any) -> Any:
    """Write values into named parameters, each rounded once to its type; the model itself."""
    named = {weight.parameter.name: weight for weight in checked(model)}
    for name, array in arrays:
        weight = named[name]
        if isinstance(array, Boxes):
            weight.variable.assign(from_boxes(array, weight.variable, name))
            continue
        weight.variable.assign(reordered(array) if weight.reordered else array)
    return model


def save(model: Any, path: str) -> None:
    """Every variable of the layers as safetensors; one that is held twice is stored once."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors: dict[str, NDArray[Any]] = {}
    seen: set[int] = set()
    for place in held(model):
        if id(place.variable) not in seen:
            seen.add(id(place.variable))
            value = numbers_of(place.variable._value)
            # 16 bits are widened on the way to NumPy, and go back where it has the type.
            kept = "float16" if str(place.variable.dtype) == "float16" else value.dtype
            tensors[place.name] = np.ascontiguousarray(value.astype(kept))
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
