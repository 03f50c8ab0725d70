"""The backward balance: what a weight does forward against what it does to δ.

After forward calibration the second moment at a weight's result is as wanted. Let r = Σ‖δ‖² at the
weighted result before it over Σ‖δ‖² at its own: what one layer does to the gradient's length. A
further factor f changes the layer's forward second moment by x = log f², and log r by the same x.
The least x² + (log r + x)² is at x = −½ log r, hence f = r^(−1/4): both directions are then off by
√r, one up and one down. It is Glorot's compromise between the two fans (as a geometric mean),
measured instead of assumed, activations included. The factors add up along a chain: the forward
drift is the price of the smaller backward drift. Where φ is homogeneous of degree one (ReLU, leaky
ReLU, linear) x·φ′ = φ makes r one and nothing is to be balanced; where it saturates, the smaller
signal meets a steeper φ, so that less than half of the drift goes. Only weights with one
predecessor through elementwise operations have an r; all others, heads too, keep their targets.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from firstlight.records.network import Network, Operation

_THROUGH = frozenset({"activation", "dropout", "shape", "pool", "other"})
_LARGEST = 2.0


def balancing_factors(
    network: Network, deltas: Mapping[int, float], weights: Collection[str]
) -> dict[str, float]:
    """A factor for each weight that has a predecessor.

    Args:
        network: what ran.
        deltas: Σ‖δ‖² at the results of weighted operations, by index.
        weights: those that may be changed; each used once.

    Returns:
        Factors within [½, 2]; weights that are no part of a chain are not in it.
    """
    consumers = network.consumers()
    found: dict[str, float] = {}
    for operation in network.weighted():
        name = next((n for n in operation.parameters if n in weights), None)
        before = _weighted_before(operation, network, consumers)
        follows = any(op.kind == "weighted" for op in network.operations[operation.index + 1 :])
        if name is None or before is None or not follows:
            continue
        here, there = deltas.get(operation.index, 0.0), deltas.get(before.index, 0.0)
        if here > 0 and there > 0 and math.isfinite(here) and math.isfinite(there):
            found[name] = min(_LARGEST, max(1 / _LARGEST, (there / here) ** -0.25))
    return found


def _weighted_before(
    operation: Operation, network: Network, consumers: tuple[tuple[int, ...], ...]
) -> Operation | None:
    """The weighted operation whose result reaches this one alone and elementwise."""
    current = operation
    while len(current.inputs) == 1:
        source = network.operations[current.inputs[0]]
        if len(consumers[source.index]) != 1:
            return None
        if source.kind == "weighted":
            return source
        if source.kind not in _THROUGH:
            return None
        current = source
    return None
