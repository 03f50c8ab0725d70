"""An observation as the judges see it: the graph, the profile over the depth, names of causes."""

from __future__ import annotations

import math
from functools import cached_property

from firstlight.network.graph import Graph
from firstlight.network.recurrence import earlier_steps
from firstlight.records.checkup import Observation, ParameterReading, Reading
from firstlight.records.network import Operation, Parameter
from firstlight.verdicts import limits
from firstlight.verdicts.cures import Habit, habit_of
from firstlight.verdicts.sigmas import Sigmas


class View:
    """Questions about an observation, answered once.

    Args:
        observation: what an adapter measured.
    """

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.graph = Graph(observation.network)
        self._readings = {reading.operation: reading for reading in observation.readings}

    @cached_property
    def habit(self) -> Habit:
        """What the model's framework says in its own way."""
        return habit_of(self.observation.network)

    def reading(self, operation: Operation | None) -> Reading | None:
        """The measurements of an operation, if it has any."""
        return None if operation is None else self._readings.get(operation.index)

    @cached_property
    def parameters(self) -> dict[str, ParameterReading]:
        """Parameter readings by name."""
        return {reading.name: reading for reading in self.observation.parameters}

    def weight_of(self, operation: Operation) -> ParameterReading | None:
        """The weight (not the bias) of a weighted operation."""
        for name in operation.parameters:
            if self.observation.network.parameter(name).kind != "bias":
                return self.parameters.get(name)
        return None

    @cached_property
    def hidden(self) -> tuple[Operation, ...]:
        """Weighted operations that are no heads."""
        return tuple(op for op in self.observation.network.weighted() if not self.graph.is_head(op))

    @cached_property
    def profiles(self) -> tuple[tuple[Reading, ...], ...]:
        """Where depth is measured: along each residual stream, or else at hidden weights.

        Streams are never compared with each other: between an encoder and a decoder, or two stages
        of other widths, lies more than depth. Empty where a layer is silenced: the signal ends
        there, and its scale is not the reason.
        """
        if self.silenced:
            return ()
        steering = self.graph.steering
        streams = [
            [b.addition for b in stream if b.addition.index not in steering]
            for stream in self.graph.streams
        ]
        rows = [stream for stream in streams if len(stream) > 1] or self.rows
        return tuple(tuple(r for op in row if (r := self.reading(op)) is not None) for row in rows)

    @cached_property
    def rows(self) -> list[list[Operation]]:
        """The spine in rows along which one operation feeds the next, the longest first.

        An actor and a critic, or the two towers of a contrastive model, are two rows: nothing that
        one makes reaches the other.
        """
        spine = {op.index for op in self.spine}
        before: dict[int, int | None] = {}
        depth: dict[int | None, int] = {None: 0}
        arriving: list[int | None] = []  # the deepest of the spine that each operation stems from
        for op in self.graph.operations:
            source = max((arriving[i] for i in op.inputs), key=depth.__getitem__, default=None)
            if op.index in spine:
                before[op.index], depth[op.index] = source, depth[source] + 1
                source = op.index
            arriving.append(source)
        rows, taken = [], set[int]()
        for last in sorted(spine, key=lambda index: (-depth[index], index)):
            row: list[Operation] = []
            current: int | None = last
            while current is not None and current not in taken:
                taken.add(current)
                row.append(self.graph.operations[current])
                current = before[current]
            if row:
                rows.append(row[::-1])
        return rows

    def is_passed(self, operation: Operation) -> bool:
        """Whether a weight's zeros are only added to, or weigh, something that lives."""
        stack, seen = [operation.index], set[int]()
        while stack:
            for index in self.graph.consumers[stack.pop()]:
                user, reading = self.graph.operations[index], self._readings.get(index)
                if index in seen or user.kind in ("weighted", "composite"):
                    continue
                seen.add(index)
                if reading is not None and reading.second_moment is not None:
                    spread = reading.sample_spread
                    if reading.second_moment.value if spread is None else spread:
                        return True
                stack.append(index)
        return False

    @cached_property
    def spine(self) -> list[Operation]:
        """Hidden weights that the signal passes one after another, and residual additions."""
        beside = self.graph.steering.union(
            op.index for branch in self.graph.branches for op in branch.weights
        )
        beside = beside.union(op.index for op, _ in self.sigmas.outliers if self.is_normed(op))
        earlier = earlier_steps(self.graph)
        beside = beside | self.zero_heads | earlier
        row = [
            op
            for op in self.hidden
            if op.index not in beside
            and not self._starts_from_nothing(op)
            and not (self.is_zero(op) and self.is_passed(op))
        ]
        additions = (branch.addition for branch in self.graph.branches)
        row += [op for op in additions if op.index not in earlier]
        return sorted(row, key=lambda op: op.index)

    def is_normed(self, operation: Operation) -> bool:
        """Whether a norm follows at once, so that the scale of the result does not matter."""
        follower = self.graph.follower(operation)
        return follower is not None and follower.kind == "norm"

    def is_zero(self, operation: Operation) -> bool:
        """Whether all values of its weight are zero."""
        weight = self.weight_of(operation)
        return weight is not None and weight.value_rms == 0

    @cached_property
    def twinned(self) -> frozenset[str]:
        """Weights that make or read units that were measured to be equal."""
        found: set[str] = set()
        for operation in self.observation.network.weighted():
            places = (operation, self.graph.feed(operation).origin)
            readings = [seen for place in places if (seen := self.reading(place)) is not None]
            if any(reading.twin_units for reading in readings):
                found.update(operation.parameters)
        return frozenset(found)

    @cached_property
    def zero_heads(self) -> frozenset[int]:
        """Zero weights from which only linear operations lead to the output: parts of a head."""
        return frozenset(
            operation.index
            for operation in self.observation.network.weighted()
            if self.is_zero(operation) and self.graph.ends_linear(operation)
        )

    def _starts_from_nothing(self, operation: Operation) -> bool:
        """Whether a weight is multiplied with a constant zero, as with a first hidden state."""
        reading, weight = self.reading(operation), self.weight_of(operation)
        zero = reading is not None and reading.second_moment and reading.second_moment.value == 0
        origin = self.graph.feed(operation).origin
        return bool(zero and weight and weight.value_rms) and self.reading(origin) is None

    @cached_property
    def silenced(self) -> tuple[Reading, ...]:
        """Activations whose units are all zero on every sample: nothing passes in either way.

        By chance a healthy ReLU layer of n units does that with probability 2^(−n·samples).
        """
        operations = self.observation.network.operations
        return tuple(
            reading
            for reading in self.observation.readings
            if reading.dead_fraction == 1
            and reading.operation <= self.model_ends
            and reading.operation not in self.graph.steering
            and not self.receives_nothing(operations[reading.operation])
            and operations[reading.operation].units * self.observation.samples
            >= limits.DEAD_SAMPLES
        )

    def receives_nothing(self, operation: Operation) -> bool:
        """Whether what made the input of an operation is zero: that is where to look."""
        while operation.inputs:
            operation = self.observation.network.operations[operation.inputs[0]]
            reading = self.reading(operation)
            if reading is not None and reading.second_moment is not None:
                return reading.second_moment.value == 0
        return False

    @cached_property
    def model_ends(self) -> int:
        """The last operation of the model itself; what follows belongs to the loss."""
        network = self.observation.network
        return max(network.outputs, default=len(network.operations))

    @cached_property
    def sigmas(self) -> Sigmas:
        """The scales of the hidden weights, in words of their fans."""
        rows = []
        for operation in self.hidden:
            weight = self.weight_of(operation)
            fans = weight and self.observation.network.parameter(weight.name).fans
            if weight and fans and math.isfinite(weight.value_rms):
                sigma_w2 = weight.value_rms**2 * fans.forward
                rows.append((operation, sigma_w2, self.graph.feed(operation).activation))
        return Sigmas(rows)


def is_norm_scale(parameter: Parameter) -> bool:
    """Whether a parameter scales a norm; norms written by hand are known by their class's name."""
    by_hand = parameter.module.endswith("Norm") and parameter.name.endswith(("weight", "scale"))
    vector = len(parameter.layout.shape) == 1
    return parameter.kind == "norm-scale" or (parameter.kind == "other" and by_hand and vector)


def asleep(reading: ParameterReading) -> bool:
    """Whether a parameter gets no gradient now, nor after a few steps."""
    return not reading.gradient_rms and not reading.zero_gradient_at_start_only


def rms_ratio(after: float, before: float) -> float:
    """√(after/before) of two second moments, with 0/0 = 1."""
    if before == 0:
        return 1.0 if after == 0 else math.inf
    return math.sqrt(after / before)


def named(names: list[str], shown: int = 3) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"`{name}`" for name in names[:shown]) + more
