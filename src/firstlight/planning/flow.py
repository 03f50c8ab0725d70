"""The planned signal of every operation, weight by weight in the order of execution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from firstlight.network.attention import SCALING
from firstlight.planning.signals import Signal, propagated
from firstlight.planning.targets import Target, target_of
from firstlight.records.network import Operation

if TYPE_CHECKING:
    from firstlight.planning.context import Context

ADDING = frozenset({"add", "radd", "iadd"})

_STATE_SQUARE = 0.2
"""Second moment of what comes out of a recurrent layer: a bounded function of unit sums, gated."""


class Flow:
    """Targets and signals, each from those before it.

    Args:
        context: the network as the rules see it.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._targets: dict[int, Target] = {}

    def _given(self, operation: Operation, signals: Sequence[Signal]) -> Signal | None:
        """What the plan sets a result to."""
        if operation.kind == "input":
            return Signal(0.0, self.context.observation.input_second_moment or 1.0)
        if operation.kind == "weighted":
            self._targets[operation.index] = target = target_of(operation, self.context, signals)
            return Signal(0.0, self._weighted_square(operation, target))
        if operation.kind == "embedding":
            squares = [
                self.context.planned_square(self.context.network.parameter(n))
                for n in operation.parameters
            ]
            return Signal(0.0, max(squares, default=1.0))
        if self.context.is_norm(operation):
            return Signal(0.0, 0.0 if self.context.stays_zero(operation) else 1.0)
        if operation.kind == "composite" and operation.score_scale is None:
            return Signal(0.0, _STATE_SQUARE)
        if operation.kind == "other" and operation.parameters and operation.inputs:
            return self._shifted(operation, signals[operation.inputs[0]])
        return None

    def _weighted_square(self, operation: Operation, target: Target) -> float:
        """The target, or what was measured where the weight stays as it is."""
        weights = [self.context.network.parameter(name) for name in operation.parameters]
        matrices = [p for p in weights if p.kind in ("weight", "embedding")]
        if matrices and all(self.context.is_kept(p) or not p.trainable for p in matrices):
            seen = self.context.observation.reading(operation.index)
            if seen is not None and seen.second_moment is not None:
                return seen.second_moment.value
        branch = self.context.branch_ending_with(operation)
        if branch is not None and any(self.context.is_zero(p) for p in matrices):
            return 0.0
        return target.value

    def _shifted(self, operation: Operation, signal: Signal) -> Signal | None:
        """A signal times a scale of the model's own, or plus positions."""
        parameters = [self.context.network.parameter(name) for name in operation.parameters]
        if operation.function in SCALING:
            readings = map(self.context.parameter_reading, parameters)
            square = math.prod(r.value_rms**2 for r in readings if r is not None)
            if operation.function in ("div", "truediv"):
                square = 1 / square if square else 1.0
            return Signal(signal.mean * math.sqrt(square), signal.square * square)
        if operation.function in ADDING:
            added = sum(
                self.context.planned_square(p) for p in parameters if self.context.is_position(p)
            )
            return Signal(signal.mean, signal.square + added)
        return None

    @cached_property
    def signals(self) -> tuple[Signal, ...]:
        """The planned signal of every operation."""
        return propagated(self.context.graph.operations, self._given)

    def target(self, operation: Operation) -> Target:
        """What a weighted operation's result should be."""
        _ = self.signals
        return self._targets[operation.index]

    def incoming(self, operation: Operation) -> Signal:
        """What arrives at a weighted operation."""
        sources = [self.signals[i] for i in operation.inputs]
        if not sources:
            return Signal(0.0, 1.0)
        if operation.function in ("bilinear", "einsum"):
            return Signal(0.0, math.prod(signal.square for signal in sources))
        return sources[0]
