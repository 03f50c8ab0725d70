"""An observation as the judges see it: the graph, the profile over the depth, names of causes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from firstlight.network.graph import Graph
from firstlight.records.checkup import Observation, ParameterReading, Reading
from firstlight.records.network import ActivationRef, Operation
from firstlight.theory.gains import moments
from firstlight.verdicts import limits


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The typical scale of a network's hidden weights.

    Args:
        sigma_w2: weight variance times fan_in, the median over hidden weights.
        activation: what feeds most of them.
        forward: the factor of the second moment per layer, σ_w²·E φ²/q at q = 1.
        backward: the factor of ‖δ‖² per layer, χ₁ = σ_w²·E φ′².
    """

    sigma_w2: float
    activation: ActivationRef
    forward: float
    backward: float


class View:
    """Questions about an observation, answered once.

    Args:
        observation: what an adapter measured.
    """

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.graph = Graph(observation.network)
        self._readings = {reading.operation: reading for reading in observation.readings}

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
    def profile(self) -> tuple[Reading, ...]:
        """Where depth is measured: at residual additions, or else at hidden weights.

        Empty where a layer is silenced: the signal ends there, and its scale is not the reason.
        """
        if self.silenced:
            return ()
        additions = [branch.addition for branch in self.graph.branches]
        places = additions if len(additions) > 1 else self.hidden
        found = [self.reading(operation) for operation in places]
        return tuple(reading for reading in found if reading is not None)

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
            and operations[reading.operation].units * self.observation.samples
            >= limits.DEAD_SAMPLES
        )

    @cached_property
    def scale(self) -> Scale | None:
        """The typical scale of hidden weights, None if there are none with fans."""
        values: list[float] = []
        feeds: list[ActivationRef] = []
        for operation in self.hidden:
            feed = self.graph.feed(operation).activation
            weight = self.weight_of(operation)
            if feed is None or weight is None:
                continue
            fans = self.observation.network.parameter(weight.name).fans
            if fans is not None and math.isfinite(weight.value_rms):
                values.append(weight.value_rms**2 * fans.forward)
                feeds.append(feed)
        if not values:
            return None
        usual = max(set(feeds), key=feeds.count)
        sigma_w2 = median(values)
        seen = moments(usual)
        return Scale(
            sigma_w2=sigma_w2,
            activation=usual,
            forward=sigma_w2 * seen.second_moment,
            backward=sigma_w2 * seen.derivative_second_moment,
        )


def rms_ratio(after: float, before: float) -> float:
    """√(after/before) of two second moments, with 0/0 = 1."""
    if before == 0:
        return 1.0 if after == 0 else math.inf
    return math.sqrt(after / before)


def named(names: list[str], shown: int = 3) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"`{name}`" for name in names[:shown]) + more
