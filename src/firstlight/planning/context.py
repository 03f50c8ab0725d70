"""Everything that the rules may ask, worked out once per plan."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from firstlight.errors import BadInputError
from firstlight.network.graph import Chain, Graph
from firstlight.network.residual import Branch
from firstlight.planning.chains import ChainPlan, plan_chain
from firstlight.planning.stream import second_moment_at
from firstlight.records.checkup import Observation, ParameterReading
from firstlight.records.network import ActivationRef, Network, Operation, Parameter
from firstlight.theory.gains import moments
from firstlight.theory.odd_part import odd_part

DEEP_CHAIN = 8
"""Activations in a row from which rule 4 (mirrored, critical) replaces variance scaling.

`benchmarks/chain_depth.py` prints accuracy against depth for both; below this the difference is
within the spread over seeds.
"""

CHAIN_LOSS = 10.0
"""A shorter chain is deep too if variance scaling would change ‖δ‖² by more than this across it.

Forward gains let it change by E φ′² / E φ² a layer: 1 for ReLU, 0.15 for the sigmoid.
"""

HEAD_LOGITS_STD = 0.3
"""Standard deviation of the logits at the start: costs 2 % of ln 10 and, unlike zero, passes δ on.

With zero, nothing but the head learns at the first step.
"""


_ATTENTION = frozenset({"MultiheadAttention", "NonDynamicallyQuantizableLinear"})
"""Torch's attention, and the class of its output projection, which has no other use."""


def is_deep(chain: Chain) -> bool:
    """Whether variance scaling will not do for a chain, and a critical start exists."""
    if chain.activation is None:
        return chain.depth >= DEEP_CHAIN
    if odd_part(chain.activation).slope == 0:
        return False  # nothing passes at first order: no gain makes it critical
    seen = moments(chain.activation)
    per_layer = seen.derivative_second_moment / seen.second_moment
    loss = chain.depth * abs(math.log(per_layer))
    return chain.depth >= DEEP_CHAIN or loss > math.log(CHAIN_LOSS)


@dataclass(frozen=True)
class ChainPlace:
    """Where in a deep plain chain a weighted operation stands."""

    chain: Chain
    position: int

    @property
    def is_first(self) -> bool:
        """Whether the chain begins here."""
        return self.position == 0

    @property
    def is_last(self) -> bool:
        """Whether no activation of the chain follows."""
        return self.position == self.chain.depth


class Context:
    """A network as the rules see it.

    Args:
        observation: one pass over the model.
        keep: patterns of parameters to leave alone.

    Raises:
        BadInputError: a pattern of ``keep`` matches no parameter.
    """

    def __init__(self, observation: Observation, keep: Sequence[str] = ()) -> None:
        self.observation = observation
        self.graph = Graph(observation.network)
        self._chain_plans: dict[int, ChainPlan | None] = {}
        self._kept: set[str] = set()
        for pattern in [keep] if isinstance(keep, str) else keep:
            self._kept.update(self._matching(pattern))

    def _matching(self, pattern: str) -> list[str]:
        """The parameters of which one name (a tied one has several) fits a pattern of ``keep``."""
        if not isinstance(pattern, str):
            raise BadInputError(f"keep: expected names or patterns, got {pattern!r}")
        matched = [
            parameter.name
            for parameter in self.network.parameters
            if any(fnmatch.fnmatchcase(n, pattern) for n in (parameter.name, *parameter.ties))
        ]
        if not matched:
            names = [parameter.name for parameter in self.network.parameters]
            raise BadInputError(
                f"keep: pattern '{pattern}' matches none of the {len(names)} parameters;"
                f" the first are {', '.join(names[:4])}"
            )
        return matched

    @property
    def network(self) -> Network:
        """The model as plain data."""
        return self.observation.network

    def is_kept(self, parameter: Parameter) -> bool:
        """Whether the user asked to leave this parameter alone."""
        return parameter.name in self._kept

    @cached_property
    def _users(self) -> dict[str, list[Operation]]:
        users: dict[str, list[Operation]] = {}
        for operation in self.network.operations:
            for name in operation.parameters:
                users.setdefault(name, []).append(operation)
        return users

    def user(self, parameter: Parameter) -> Operation | None:
        """The first weighted operation that uses a parameter, or else the first operation."""
        users = self._users.get(parameter.name, [])
        return next((op for op in users if op.kind == "weighted"), users[0] if users else None)

    @cached_property
    def _readings(self) -> dict[str, ParameterReading]:
        return {reading.name: reading for reading in self.observation.parameters}

    def parameter_reading(self, parameter: Parameter) -> ParameterReading:
        """What was measured of a parameter."""
        return self._readings[parameter.name]

    @cached_property
    def _places(self) -> dict[int, ChainPlace]:
        return {
            operation.index: ChainPlace(chain, position)
            for chain in self.graph.chains
            if is_deep(chain) and self._all_drawn(chain)
            for position, operation in enumerate(chain.operations)
        }

    def _all_drawn(self, chain: Chain) -> bool:
        """Whether no weight of a chain is frozen or kept: those follow no law of ours."""
        parameters = (
            self.network.parameter(name) for op in chain.operations for name in op.parameters
        )
        return all(p.trainable and not self.is_kept(p) for p in parameters if p.kind == "weight")

    def chain_plan(self, place: ChainPlace, input_second_moment: float) -> ChainPlan | None:
        """The laws of a deep chain, worked out once; None if no such start fits its sizes."""
        first, last = place.chain.operations[0], place.chain.operations[-1]
        if first.index not in self._chain_plans:
            weights = [self._weights_of(operation) for operation in place.chain.operations]
            self._chain_plans[first.index] = (
                plan_chain(
                    place.chain.activation or ActivationRef(name="linear"),
                    [weight.name for (weight,) in weights],
                    [weight.layout for (weight,) in weights],
                    input_second_moment=input_second_moment,
                    output_std=HEAD_LOGITS_STD if self.graph.is_head(last) else 1.0,
                )
                if all(len(found) == 1 for found in weights)
                else None
            )
        return self._chain_plans[first.index]

    @property
    def chain_remarks(self) -> tuple[str, ...]:
        """What the chains planned so far cannot do whatever the start."""
        return tuple(r for plan in self._chain_plans.values() if plan for r in plan.remarks)

    def _weights_of(self, operation: Operation) -> list[Parameter]:
        parameters = map(self.network.parameter, operation.parameters)
        return [parameter for parameter in parameters if parameter.kind == "weight"]

    def chain_place(self, operation: Operation) -> ChainPlace | None:
        """The operation's place in a deep plain chain, if it stands in one."""
        return self._places.get(operation.index)

    def is_in_attention(self, operation: Operation) -> bool:
        """Whether a weight belongs to `nn.MultiheadAttention`, which is planned by its fans."""
        owners = {self.network.parameter(name).module for name in operation.parameters}
        return bool(owners & _ATTENTION)

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """The residual branches whose ends are scaled with their number."""
        return tuple(b for b in self.graph.branches if not self.is_in_attention(b.last_weight))

    @cached_property
    def _branch_ends(self) -> dict[int, Branch]:
        return {branch.last_weight.index: branch for branch in self.branches}

    @cached_property
    def bare_branches(self) -> int:
        """Residual branches without any norm inside."""
        return sum(not branch.normed for branch in self.branches)

    def branch_ending_with(self, operation: Operation) -> Branch | None:
        """The residual branch whose last weight this is."""
        return self._branch_ends.get(operation.index)

    def stream_second_moment(self, operation: Operation) -> float:
        """Planned second moment of the residual stream that an operation reads."""
        given = {
            branch.last_weight.index: 1 / self.bare_branches
            for branch in self.branches
            if not branch.normed
        }
        for branch in self.branches:
            if branch.last_norm is not None and self.stays_zero(branch.last_norm):
                given[branch.last_norm.index] = 0.0
        return second_moment_at(
            operation, self.graph, given, self.observation.input_second_moment or 1.0
        )

    def stays_zero(self, norm: Operation) -> bool:
        """Whether the model has set a norm's scale to zero, and the plan leaves it there."""
        readings = (self._readings[name] for name in norm.parameters)
        scales = (r for r in readings if self.network.parameter(r.name).kind == "norm-scale")
        return any(reading.constant and reading.value_rms == 0 for reading in scales)

    def input_second_moment(self, operation: Operation) -> float:
        """Measured mean square of what enters an operation at the network's input; 1 if unknown."""
        origin = self.graph.feed(operation).origin
        measured = self.observation.input_second_moment
        if origin is not None and origin.kind == "input" and measured:
            return measured
        return 1.0
