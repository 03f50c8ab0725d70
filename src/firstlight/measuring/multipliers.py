"""Factors of the model's own before a weight, such as the 1/width of mup's readout."""

from __future__ import annotations

from collections.abc import Sequence

from firstlight.measuring.coordinates import FOLLOWED, slope
from firstlight.records.network import Network
from firstlight.records.transfer import Traced

_LEAST = 0.25
"""Half-way to √width, the weakest factor that anybody writes."""

_ANCHORS = FOLLOWED - {"activation"}
"""Kinds that make a signal; what stands between one and a weight only scales or reshapes it."""


def own_multipliers(widths: Sequence[float], runs: Sequence[Sequence[Traced]]) -> dict[str, float]:
    """The exponents of the factors that a model multiplies a weight's input with, by parameter.

    A weight behind a factor ∝ width^c starts and moves as it should if both exponents are smaller
    by c than without it. The factor is what arrives at the weight over what the last layer, norm or
    sum before it made. Where that one's own start follows the width, nothing is concluded: what
    bounds a signal (tanh) changes the quotient, too.

    Args:
        widths: two or more different ones.
        runs: for each width one training of each seed.

    Returns:
        Those that are not zero. Of a weight with several uses the largest.
    """
    every = [traced for row in runs for traced in row]
    network = every[0].network
    found: dict[str, float] = {}
    for operation in network.weighted():
        anchor = _anchor(network, operation.inputs)
        if anchor is None or not all(
            operation.name in traced.arriving and anchor in traced.start for traced in every
        ):
            continue
        before, arrives = (
            slope(widths, [[values[name] for values in row] for row in sizes])
            for name, sizes in (
                (anchor, [[traced.start for traced in row] for row in runs]),
                (operation.name, [[traced.arriving for traced in row] for row in runs]),
            )
        )
        if before is None or arrives is None or abs(before.value) > _LEAST:
            continue
        factor = arrives.value - before.value
        for name in operation.parameters:
            owner = network.parameter(name).name
            found[owner] = max(found.get(owner, factor), factor)
    return {name: factor for name, factor in found.items() if abs(factor) > _LEAST}


def _anchor(network: Network, inputs: Sequence[int]) -> str | None:
    """The name of what made a signal, past activations, factors and reshaping."""
    while len(inputs) == 1:
        operation = network.operations[inputs[0]]
        if operation.kind in _ANCHORS:
            return operation.name
        inputs = operation.inputs
    return None
