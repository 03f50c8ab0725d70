"""A forward pass of moments: what its steps may ask of the network and of what came before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from firstlight.network.axes import BATCH, POSITION, UNIT
from firstlight.network.prescribed import Prescribed
from firstlight.network.signals import Root, Signal
from firstlight.records.checkup import InputReading
from firstlight.records.network import Network, Operation, Parameter


@dataclass
class Passage:
    """A forward pass of moments.

    Args:
        network: the model.
        weights: what its parameters will be.
        inputs: what was measured of its inputs.
        samples: size of the batch.
        signals: the results so far; None where theory does not reach.
    """

    network: Network
    weights: dict[str, Prescribed]
    inputs: Mapping[int, InputReading]
    samples: int
    signals: list[Signal | None] = field(default_factory=list)

    def place(self, operation: Operation, operand: int) -> int | None:
        """Which operation made an operand; None for constants and parameters."""
        places = operation.option("operands")
        if places:
            at = int(places[operand]) if operand < len(places) else -1
            return operation.inputs[at] if at >= 0 else None
        return operation.inputs[operand] if operand < len(operation.inputs) else None

    def source(self, operation: Operation, operand: int = 0) -> Signal | None:
        """The signal of an operand that an operation made."""
        index = self.place(operation, operand)
        return None if index is None else self.signals[index]

    def made(self, operation: Operation) -> list[int]:
        """The operations behind the operands, in their order, each as often as it stands there."""
        places = operation.option("operands")
        if not places:
            return list(operation.inputs)
        return [operation.inputs[int(p)] for p in places if p >= 0]

    def root(self, index: int) -> Root | None:
        """The root of a result; one without a key for a part that may be any of several."""
        signal = self.signals[index]
        return None if signal is None else signal.own_root(index)

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a result."""
        return self.network.operations[index].shape

    def parameters(self, operation: Operation, *kinds: str) -> list[Parameter]:
        """The operation's parameters of these kinds."""
        found = (self.network.parameter(name) for name in operation.parameters)
        return [p for p in found if p.kind in kinds]

    def weight(self, parameter: Parameter) -> Prescribed | None:
        """What a parameter will be."""
        return self.weights.get(parameter.name)

    @cached_property
    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """Who uses each result."""
        return self.network.consumers()

    def default_axes(self, operation: Operation) -> tuple[str, ...]:
        """Batch first, units where they were read, positions elsewhere."""
        rank = len(operation.shape)
        unit = operation.unit_axis if operation.unit_axis is not None else rank - 1
        return tuple(
            UNIT if a == unit else BATCH if a == 0 and rank > 1 else POSITION for a in range(rank)
        )
