"""Learning rates that a chain's length asks for: what a small signal does to its biases.

A chain at second moment q is the same network as one at unit length, in other units. With
h = √q·h′, b = √q·b′, W₁ = √q·W₁′ and the head H = H′/√q its activation is φ(√q·z)/√q, and every
inner weight stands as it is. A step of SGD at one rate η in the units of that network is, in the
chain's own, η for inner weights, η·q for biases and the first weight, and η/q for the head. With η
for all, biases move 1/q times too fast: ‖∂b‖ / ‖∂W‖ = 1/‖h‖ = 1/√(n·q) for each sample, while the
steps of all biases add up along the chain, in one direction for every sample.

The plan holds these rates beside those that follow width and depth (`planning.transfer`), and
`Plan.param_groups` sets both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from firstlight.network.graph import Chain
from firstlight.planning.chains import operating
from firstlight.records.network import ActivationRef, Network
from firstlight.records.transfer import Rate
from firstlight.theory.activations import activation

Kind = Literal["first weight", "inner weight", "bias", "last weight"]

# How many factors √q a parameter carries relative to its own in the chain of unit length.
_HALF_POWERS: dict[Kind, int] = {
    "first weight": 1,
    "inner weight": 0,
    "bias": 1,
    "last weight": -1,
}


def relative_rate(kind: Kind, length: float, *, adaptive: bool = False) -> float:
    """Learning rate, relative to the inner weights', that trains as a chain of unit length would.

    For p = c·p′: ∂p′ = c·∂p, so that η in p′ is c²·η in p for SGD, and c·η where the size of a
    step does not depend on the gradient's (Adam).

    Args:
        kind: what the parameter is to its chain.
        length: second moment of the pre-activations, above 0.
        adaptive: whether the optimizer divides by the gradient's size, as Adam does.

    >>> relative_rate("bias", 0.01)
    0.01
    >>> relative_rate("bias", 0.01, adaptive=True)
    0.1
    """
    power: float = _HALF_POWERS[kind]
    return float(length ** (power / 2 if adaptive else power))


def bias_rate(reference: ActivationRef, depth: int, fan_in: float) -> float:
    """Relative learning rate of the biases in a chain; 1 where they may learn as its weights do.

    Below fan_in · q = 1 the biases would take the larger part of every step, and get q. A constant
    part φ(0) ≠ 0 (the sigmoid's ½) acts as a bias within the weights' own gradients, which no rate
    of the biases can mend: 1.

    Args:
        reference: the chain's activation, one that `operating` knows.
        depth: number of activations.
        fan_in: smallest number of inputs of a unit inside the chain.

    >>> bias_rate(ActivationRef(name="tanh"), 100, 64)
    1.0
    >>> round(bias_rate(ActivationRef(name="tanh"), 10_000, 64), 4)
    0.0093
    """
    if float(activation(reference).function(np.zeros(1))[0]) != 0:
        return 1.0
    length = operating(reference, depth).length
    return relative_rate("bias", length) if fan_in * length < 1 else 1.0


def _slow_biases(
    network: Network, chains: Iterable[Chain]
) -> Iterator[tuple[Chain, tuple[str, ...], float]]:
    """Each chain whose biases need a rate of their own, with their names and that rate."""
    for chain in chains:
        inner = [network.parameter(name) for op in chain.operations[1:-1] for name in op.parameters]
        fans = [p.fans.forward for p in inner if p.kind == "weight" and p.fans is not None]
        biases = tuple(p.name for p in inner if p.kind == "bias" and p.trainable)
        if chain.activation is None or not fans or not biases:
            continue
        rate = bias_rate(chain.activation, chain.depth, min(fans))
        if rate != 1:
            yield chain, biases, rate


def bias_rates(network: Network, chains: Iterable[Chain]) -> tuple[Rate, ...]:
    """The rates of the biases in chains that need one of their own; `Plan.param_groups` sets them.

    Args:
        network: the model as it was read.
        chains: those that are planned as deep chains.
    """
    return tuple(
        Rate(
            name=name,
            role="vector",
            adam=relative_rate("bias", rate, adaptive=True),
            sgd=relative_rate("bias", rate),
            reason=f"a chain of {chain.depth:,} at second moment {rate:.2g}: biases would take"
            " most of each step",
        )
        for chain, biases, rate in _slow_biases(network, chains)
        for name in biases
    )


def bias_rate_remarks(network: Network, chains: Iterable[Chain]) -> tuple[str, ...]:
    """One line for each kind of chain whose biases need a learning rate of their own.

    Args:
        network: the model as it was read.
        chains: those that are planned as deep chains.
    """
    remarks: dict[str, None] = {}
    for chain, _, rate in _slow_biases(network, chains):
        slow = relative_rate("bias", rate, adaptive=True)
        line = (
            f"{chain.depth:,} × {chain.activation} at second moment {rate:.2g}: at one rate,"
            f" biases take most of each step; give them lr × {rate:.2g} (Adam: {slow:.2g}):"
            ' plan.param_groups("sgd", model, lr=lr)'
        )
        remarks[line] = None
    return tuple(remarks)
