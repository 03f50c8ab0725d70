"""Faults that are planted alike in every framework: through the adapter, on logical tensors.

A fault sees each parameter as (out, in, kernel …) under the name that its numbers are drawn under,
so that the spoiled networks are the same ones everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from architectures import DEPTH, Array

from firstlight.records.checkup import Checkup
from firstlight.records.network import Layout, Parameter
from firstlight.verbs.adapters import adapter_for

Tensors = dict[str, Array]
"""Logical tensors by address; a fault changes them in place."""


def address(parameter: Parameter) -> str:
    """The name that a parameter's numbers are drawn under."""
    return parameter.address or parameter.name


def logical(values: Array, layout: Layout) -> Array:
    """A stored tensor with its axes in logical order."""
    return values.reshape(layout.view).transpose(layout.order)


def _stored(values: Array, layout: Layout) -> Array:
    back = np.argsort(layout.order)
    return np.ascontiguousarray(values.transpose(back).reshape(layout.shape))


def tensors(model: Any) -> Tensors:
    """A copy of every parameter, by address, in logical order."""
    adapter = adapter_for(model)
    parameters = adapter.inspect(model).parameters
    values = dict(adapter.values(model))
    return {address(p): logical(values[p.name], p.layout) for p in parameters}


def planted(model: Any, change: Callable[[Tensors], None]) -> Any:
    """The model with its parameters changed; the same object where models are mutable."""
    adapter = adapter_for(model)
    found = tensors(model)
    change(found)
    arrays = [
        (p.name, _stored(found[address(p)], p.layout).astype(np.float32))
        for p in adapter.inspect(model).parameters
    ]
    return adapter.write(model, arrays)


# Where findings are -------------------------------------------------------------------------------


def places(checkup: Checkup, where: tuple[str, ...]) -> frozenset[str]:
    """Culprits by the layer that they belong to: activations by the weight that feeds them."""
    return frozenset(_place(checkup, name) for name in where)


def _place(checkup: Checkup, name: str) -> str:
    network = checkup.network
    for parameter in network.parameters:
        if name == parameter.name:
            return address(parameter)
    for operation in network.operations:
        if name == operation.name:
            while not operation.parameters and operation.inputs:
                operation = network.operations[operation.inputs[0]]
            owners = {
                address(network.parameter(p)).rpartition(".")[0] for p in operation.parameters
            }
            return min(owners, default=operation.kind)
    return name


def signature(checkup: Checkup, *severities: str) -> frozenset[tuple[str, str, frozenset[str]]]:
    """The findings of these severities as (severity, kind, places)."""
    return frozenset(
        (f.severity, f.kind, places(checkup, f.where))
        for f in checkup.findings
        if f.severity in severities
    )


# The faults ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One fault.

    Args:
        name: unique.
        network: where it is planted.
        kinds: what the first finding must be, one of these.
        change: what it does to the logical tensors.
        culprit: a layer that the first finding must name, if one is to blame.
    """

    name: str
    network: str
    kinds: tuple[str, ...]
    change: Callable[[Tensors], None]
    culprit: str | None = None


def _weights(found: Tensors, hidden: bool = False) -> Iterator[tuple[str, Array]]:
    for name, values in found.items():
        if name.endswith("weight") and values.ndim > 1 and not (hidden and name.startswith("head")):
            yield name, values


def _filled(value: float) -> Callable[[Tensors], None]:
    def change(found: Tensors) -> None:
        for _, values in _weights(found):
            values[...] = value

    return change


def _scaled(factor: float) -> Callable[[Tensors], None]:
    def change(found: Tensors) -> None:
        for _, values in _weights(found, hidden=True):
            values *= factor

    return change


def _duplicated(found: Tensors) -> None:
    into, out, shift = found["fc1.weight"], found["fc2.weight"], found["fc1.bias"]
    half = len(into) // 2
    into[half:], shift[half:], out[:, half:] = into[:half], shift[:half], out[:, :half]


def _positive(found: Tensors) -> None:
    for index, (_, values) in enumerate(_weights(found, hidden=True)):
        uniform = np.random.default_rng([7, index]).random(values.shape)
        values[...] = uniform * (6 / values.shape[1]) ** 0.5  # He's second moment


def _cloned(found: Tensors) -> None:
    for i in range(2, DEPTH):
        found[f"fc{i}.weight"][...] = found["fc1.weight"]


def _not_a_number(found: Tensors) -> None:
    found["fc2.weight"][3, 4] = np.nan


def _bias(name: str, value: float) -> Callable[[Tensors], None]:
    def change(found: Tensors) -> None:
        found[name][...] = value

    return change


def _times(name: str, factor: float) -> Callable[[Tensors], None]:
    def change(found: Tensors) -> None:
        found[name] *= factor

    return change


_VANISHING = ("forward-vanishing", "backward-vanishing")
_EXPLODING = ("forward-exploding", "backward-exploding")

PLANTS = (
    Plant(name="zeros", network="mlp", kinds=("symmetric-units",), change=_filled(0.0)),
    Plant(name="constant", network="mlp", kinds=("symmetric-units",), change=_filled(0.05)),
    Plant(
        name="duplicated",
        network="mlp",
        kinds=("symmetric-units",),
        change=_duplicated,
        culprit="fc1",
    ),
    Plant(name="positive", network="mlp", kinds=("parallel-units",), change=_positive),
    Plant(
        name="not a number",
        network="mlp",
        kinds=("non-finite",),
        change=_not_a_number,
        culprit="fc2",
    ),
    Plant(
        name="dead",
        network="mlp",
        kinds=("dead-units",),
        change=_bias("fc1.bias", -30.0),
        culprit="fc1",
    ),
    Plant(
        name="overconfident",
        network="mlp",
        kinds=("loss-at-start",),
        change=_times("head.weight", 200.0),
    ),
    Plant(name="too small", network="deep_tanh", kinds=_VANISHING, change=_scaled(0.3)),
    Plant(name="too large", network="deep_relu", kinds=_EXPLODING, change=_scaled(3.0)),
    Plant(name="clones", network="deep_tanh", kinds=("cloned-layers",), change=_cloned),
    Plant(
        name="constant kernels", network="convnet", kinds=("symmetric-units",), change=_filled(0.05)
    ),
    Plant(
        name="dead channels",
        network="convnet",
        kinds=("dead-units",),
        change=_bias("bn1.bias", -30.0),
        culprit="bn1",
    ),
    Plant(
        name="overconfident tokens",
        network="gpt",
        kinds=("loss-at-start",),
        change=_times("head.weight", 200.0),
    ),
)
