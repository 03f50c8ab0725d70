"""Moments carried forward over a network: what each operation's result will be under a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite

import numpy as np

from firstlight.network.attending import scaled_dot_product, softmax
from firstlight.network.combining import activated, added, concatenated, multiplied
from firstlight.network.normalizing import normalized
from firstlight.network.passage import Passage
from firstlight.network.pooling import pooled
from firstlight.network.prescribed import Prescribed
from firstlight.network.reshaping import dropped, moved
from firstlight.network.signals import Signal, independent
from firstlight.network.single import single
from firstlight.network.stepping import recurrent
from firstlight.network.weighing import embedded, entered, weighed
from firstlight.records.checkup import InputReading
from firstlight.records.network import Network, Operation


def forward(
    network: Network,
    weights: Mapping[str, Prescribed],
    inputs: Mapping[int, InputReading],
    samples: int,
) -> Passage:
    """The moments of every result, in order of execution.

    Args:
        network: the model, with its operations.
        weights: what its parameters will be, by name.
        inputs: what was measured of its inputs, by operation.
        samples: size of the batch.

    Returns:
        The passage, with one signal per operation (None where theory does not reach) and the
        weights as calibration will leave them.
    """
    passage = Passage(network=network, weights=dict(weights), inputs=inputs, samples=samples)
    used: set[str] = set()
    for operation in network.operations:
        signal = _calibrated(operation, _carried(operation, passage), passage, used)
        if signal is not None and not _sound(signal):
            signal = None
        passage.signals.append(signal)
    return passage


def _carried(operation: Operation, passage: Passage) -> Signal | None:
    """What follows for a result; None where the numbers leave the range of float64."""
    try:
        with np.errstate(all="ignore"):
            return _HANDLERS.get(operation.kind, single)(operation, passage)
    except OverflowError:
        return None


def _sound(signal: Signal) -> bool:
    return isfinite(signal.square) and isfinite(signal.mean) and signal.square >= 0


def _calibrated(
    operation: Operation, signal: Signal | None, passage: Passage, used: set[str]
) -> Signal | None:
    """A measurement rescales a weight by its first result, to its target exactly."""
    for name in operation.parameters:
        parameter = passage.network.parameter(name)
        weight = passage.weight(parameter)
        if weight is None or weight.target is None or parameter.name in used:
            continue
        used.add(parameter.name)
        if signal is None:
            return independent(0.0, weight.target, passage.default_axes(operation))
        if signal.square > 0:
            factor = weight.target / signal.square
            passage.weights[parameter.name] = replace(weight, square=factor * weight.square)
            return signal.scaled(factor**0.5)
    return signal


def _activation(operation: Operation, passage: Passage) -> Signal | None:
    inside = recurrent(operation, passage)
    return inside if inside is not None else activated(operation, passage)


def _composite(operation: Operation, passage: Passage) -> Signal | None:
    if operation.function == "scaled_dot_product_attention":
        return scaled_dot_product(operation, passage)
    return recurrent(operation, passage)


def _nothing(operation: Operation, passage: Passage) -> Signal | None:  # noqa: ARG001
    return None


Handler = Callable[[Operation, Passage], Signal | None]

_HANDLERS: dict[str, Handler] = {
    "input": entered,
    "weighted": weighed,
    "embedding": embedded,
    "shape": moved,
    "dropout": dropped,
    "activation": _activation,
    "add": added,
    "multiply": multiplied,
    "concatenate": concatenated,
    "norm": normalized,
    "pool": pooled,
    "softmax": softmax,
    "composite": _composite,
    "loss": _nothing,
}
