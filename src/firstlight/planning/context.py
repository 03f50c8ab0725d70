"""Everything that the rules may ask, worked out once per plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from firstlight.network.attention import SCALING, opens_gates, query_factors
from firstlight.network.branch_ends import has_own_size
from firstlight.network.graph import Chain, Graph
from firstlight.network.looking_up import looks_up_alike
from firstlight.network.norms import norms_by_hand
from firstlight.network.recurrence import Recurrence, recurrences
from firstlight.network.residual import Branch
from firstlight.planning.chains import ChainPlan, plan_chain
from firstlight.planning.flow import ADDING, Flow
from firstlight.planning.targets import TIED_LOGITS_STD
from firstlight.planning.wishes import Wishes, resolved
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

_ATTENTION = frozenset({"MultiheadAttention", "NonDynamicallyQuantizableLinear"})
"""Torch's attention, and the class of its output projection, which has no other use."""

_WIDEST_GATE_BIAS = 5.0
"""Beyond this a gate is shut for good: σ(−5) = 0.7 %."""
_SQUASHING = frozenset({"sigmoid", "tanh", "hardsigmoid", "hardtanh"})
_RECTIFIERS = frozenset({"relu", "leaky_relu", "relu6"})
_SAME = 1e-6


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
        wishes: what the user asked for.

    Raises:
        BadInputError: a pattern matches no parameter.
    """

    def __init__(self, observation: Observation, wishes: Wishes | None = None) -> None:
        self.observation = observation
        self.graph = Graph(observation.network)
        self._chain_plans: dict[int, ChainPlan | None] = {}
        self.asked = resolved(wishes or Wishes(), observation.network.parameters)

    @property
    def network(self) -> Network:
        """The model as plain data."""
        return self.observation.network

    def is_kept(self, parameter: Parameter) -> bool:
        """Whether the user asked to leave this parameter alone."""
        return parameter.name in self.asked.kept

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

    def parameter_reading(self, parameter: Parameter) -> ParameterReading | None:
        """What was measured of a parameter; None of one that has no values yet."""
        return self._readings.get(parameter.name)

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

    def chain_plan(self, place: ChainPlace) -> ChainPlan | None:
        """The laws of a deep chain, worked out once; None if no such start fits its sizes."""
        first = place.chain.operations[0].index
        if first not in self._chain_plans:
            weights = [self._weights_of(operation) for operation in place.chain.operations]
            self._chain_plans[first] = (
                plan_chain(
                    place.chain.activation or ActivationRef(name="linear"),
                    [weight.name for (weight,) in weights],
                    [weight.layout for (weight,) in weights],
                )
                if all(len(found) == 1 for found in weights)
                else None
            )
        return self._chain_plans[first]

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

    # What the model is, as the rules ask it ---------------------------------------------------

    def is_constant(self, parameter: Parameter) -> bool:
        """Whether all values are one finite number, as the module's own constants are."""
        reading = self.parameter_reading(parameter)
        single = math.prod(parameter.layout.shape) == 1
        if reading is None:
            return single
        return reading.non_finite == 0 and (reading.constant or single)

    def is_zero(self, parameter: Parameter) -> bool:
        """Whether all values are zero."""
        reading = self.parameter_reading(parameter)
        return reading is not None and self.is_constant(parameter) and reading.value_rms == 0

    def has_pattern(self, parameter: Parameter) -> bool:
        """Whether a bias holds a few moderate values that somebody chose, zero not alone."""
        reading = self.parameter_reading(parameter)
        if reading is None:
            return False
        few = reading.distinct_values is not None
        return few and 0 < (reading.largest or 0) <= _WIDEST_GATE_BIAS

    def stays_zero(self, norm: Operation) -> bool:
        """Whether the model has set a norm's scale to zero, and the plan leaves it there."""
        scales = (self.network.parameter(name) for name in norm.parameters)
        return any(p.kind == "norm-scale" and self.is_zero(p) for p in scales)

    @cached_property
    def _norms_by_hand(self) -> frozenset[int]:
        return norms_by_hand(self.network)

    def is_norm(self, operation: Operation | None) -> bool:
        """Whether an operation normalizes, as one function or by hand."""
        if operation is None:
            return False
        return operation.kind == "norm" or operation.index in self._norms_by_hand

    def is_plain_head(self, operation: Operation) -> bool:
        """Whether a weight ends the network with nothing behind it but the loss."""
        inside = any(
            self.network.parameter(name).module in _ATTENTION for name in operation.parameters
        )
        if inside or not self.graph.is_head(operation):
            return False
        behind = self.graph.activation_after(operation)
        if behind is None or behind.activation is None:
            return True
        # A sigmoid or tanh is a part of the head if a loss is known that reads its result.
        return self.observation.task != "unknown" and behind.activation.name in _SQUASHING

    def makes_output(self, operation: Operation) -> bool:
        """Whether a weight's result, reshaped at most, is what the loss reads."""
        if not self.is_plain_head(operation):
            return False
        ends: set[int] = set()
        for output in self.network.outputs:
            current = self.graph.operations[output]
            while current.kind in ("shape", "dropout") and len(current.inputs) == 1:
                current = self.graph.operations[current.inputs[0]]
            ends.add(current.index)
        return ends == {operation.index}

    def keeps_pattern(self, parameter: Parameter) -> bool:
        """Whether a bias opens or closes gates by constants that the model's author chose."""
        operation = self.user(parameter)
        patterned = operation is not None and self.has_pattern(parameter)
        return patterned and operation is not None and opens_gates(self.graph, operation)

    def head_bias(self, parameter: Parameter) -> tuple[float, ...] | None:
        """What an output's bias should start at: class shares, means; None where that is zero."""
        constant, operation = self.observation.best_constant, self.user(parameter)
        if constant is None or operation is None or not self.makes_output(operation):
            return None
        return constant if len(constant) == parameter.layout.out else None

    def bias_square(self, operation: Operation) -> float:
        """Mean square of the biases that an operation adds and that do not start at zero."""
        found = 0.0
        for name in operation.parameters:
            parameter = self.network.parameter(name)
            if parameter.kind != "bias":
                continue
            stays = self.is_kept(parameter) or not parameter.trainable
            if stays or self.keeps_pattern(parameter):
                reading = self.parameter_reading(parameter)
                found += 0.0 if reading is None else reading.value_rms**2
            elif (constant := self.head_bias(parameter)) is not None:
                found += sum(value**2 for value in constant) / len(constant)
        return found

    # Residual streams ---------------------------------------------------------------------------

    @cached_property
    def _streams(self) -> dict[int, tuple[Branch, ...]]:
        """The branches that add to the stream of each addition."""
        return {branch.addition.index: stream for stream in self.graph.streams for branch in stream}

    def stream_of(self, branch: Branch) -> tuple[Branch, ...]:
        """The branches that add to the same stream, in order."""
        return self._streams[branch.addition.index]

    def starts_with_norm(self, branch: Branch) -> bool:
        """Whether a branch normalizes what it takes from the stream."""
        return branch.normed or self.is_norm(self.graph.feed(branch.weights[0]).origin)

    @cached_property
    def _branch_ends(self) -> dict[int, Branch]:
        return {branch.last_weight.index: branch for branch in self.graph.branches}

    def branch_ending_with(self, operation: Operation) -> Branch | None:
        """The residual branch whose size this weight sets; None if a norm or a scale does."""
        branch = self._branch_ends.get(operation.index)
        own = branch is None or has_own_size(self.graph, branch, self.is_norm)
        return None if own else branch

    @cached_property
    def query_factors(self) -> dict[int, float]:
        """Variance of the attention logits that unit queries and keys would make, if not one."""
        return query_factors(self.graph)

    @cached_property
    def _recurrences(self) -> dict[str, Recurrence]:
        return recurrences(self.graph)

    def recurrence(self, parameter: Parameter) -> Recurrence | None:
        """The loop in which a weight reads its own result, if it stands in one."""
        return self._recurrences.get(parameter.name)

    def steps_of_sum(self, operation: Operation) -> int:
        """How many steps of a loop of rectified units add this result up; 1 outside of such."""
        for found in self._recurrences.values():
            rectified = found.activation is not None and found.activation.name in _RECTIFIERS
            if rectified and found.inputs.intersection(operation.parameters):
                return found.steps
        return 1

    # Signals --------------------------------------------------------------------------------------

    def is_tied(self, parameter: Parameter) -> bool:
        """Whether an embedding also multiplies a signal: its vectors make the logits."""
        return any(op.kind == "weighted" for op in self._users.get(parameter.name, ()))

    def is_position(self, parameter: Parameter) -> bool:
        """Whether what is looked up or added is the same for all samples."""
        operation = self.user(parameter)
        if operation is None or parameter.kind not in ("embedding", "other"):
            return False
        if operation.kind == "embedding":
            return self._is_same_for_all(operation)
        wide = sum(size > 1 for size in parameter.layout.shape) > 1
        return operation.function in ADDING and wide

    def _is_same_for_all(self, operation: Operation) -> bool:
        samples = self.observation.samples
        if samples < 2 or not operation.shape:
            return False
        if operation.shape[0] % samples:
            return True  # it has no axis of samples
        seen = self.observation.reading(operation.index)
        if seen is None or seen.second_moment is None:
            return looks_up_alike(operation)  # on the meta device; the rows are known, not drawn
        if seen.sample_spread is None:
            return False
        return seen.sample_spread <= _SAME**2 * seen.second_moment.value

    def is_alone(self, parameter: Parameter, operation: Operation) -> bool:
        """Whether no weight but this one takes part in an operation."""
        others = (self.network.parameter(n) for n in operation.parameters if n != parameter.name)
        return all(other.kind in ("bias", "other") for other in others)

    def is_scale(self, parameter: Parameter) -> bool:
        """Whether a raw parameter multiplies or shifts unit by unit, or steers attention."""
        operation = self.user(parameter)
        if operation is None or operation.kind in ("concatenate", "weighted", "shape"):
            return False
        return not self.is_position(parameter) or operation.index in self.graph.steering

    @cached_property
    def _token_square(self) -> float:
        """Planned second moment of the token embeddings, which positions are measured by."""
        tables = [p for p in self.network.parameters if p.kind == "embedding" and self.is_tied(p)]
        return min((self.lookup_square(p) for p in tables), default=1.0)

    def lookup_square(self, parameter: Parameter) -> float:
        """Planned second moment of an embedding, a position or a token."""
        if parameter.kind == "embedding" and self.is_tied(parameter):
            return TIED_LOGITS_STD**2 / parameter.layout.out / self._scale_before_head(parameter)
        if self.is_position(parameter):
            return self._token_square / 2
        return 1.0

    def _scale_before_head(self, parameter: Parameter) -> float:
        """The square of the constants by which a signal is multiplied before tied logits (T5)."""
        head = next(op for op in self._users[parameter.name] if op.kind == "weighted")
        square, current = 1.0, head
        while len(current.inputs) == 1:
            current = self.graph.operations[current.inputs[0]]
            if current.kind not in ("shape", "dropout", "other") or current.parameters:
                break
            if current.function in SCALING and len(current.option("constant")) > 1:
                factor = current.option("constant")[1]
                square *= 1 / factor if "div" in current.function else factor
        return square if 0 < square < math.inf else 1.0

    def planned_square(self, parameter: Parameter) -> float:
        """The same, or what was measured where the parameter stays as it is."""
        if self.is_kept(parameter) or not parameter.trainable:
            reading = self.parameter_reading(parameter)
            if reading is not None:
                return reading.value_rms**2
        return self.lookup_square(parameter)

    @cached_property
    def flow(self) -> Flow:
        """What arrives where, and what each weight is asked to make of it."""
        return Flow(self)

    def direction_of(self, magnitude: Parameter) -> Parameter | None:
        """The direction v that belongs to a weight norm's scale g."""
        ending = (("original0", "original1"), ("_g", "_v"))
        for old, new in ending:
            if magnitude.name.endswith(old):
                name = magnitude.name.removesuffix(old) + new
                return next((p for p in self.network.parameters if p.name == name), None)
        return None
