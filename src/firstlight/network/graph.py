"""What feeds a weight, what follows it, which weights are heads, chains and ends of branches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from firstlight.network.residual import Branch, residual_branches
from firstlight.records.network import ActivationRef, Network, Operation

_PASSING = frozenset({"shape", "dropout", "pool", "other"})
"""Kinds that hand the signal on with its scale roughly kept."""

_ELEMENTWISE = frozenset({"activation", "add", "multiply", "other", "shape"})

_WEIGHING = frozenset({"sigmoid", "hardsigmoid", "softmax"})
"""Functions into [0, 1] that make weights of a signal."""

_ATTENDING = frozenset({"scaled_dot_product_attention"})
"""Query, key, value: only the last one is handed on."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What arrives at a weight.

    Args:
        origin: the operation that the signal was made by: a weighted one, an addition, a norm, an
            input … ; None if it could not be followed.
        activation: the nearest activation on the way, None if the signal comes as it is.
        normed: whether the origin is a norm.
        kept: share of values that dropouts on the way keep.
    """

    origin: Operation | None
    activation: ActivationRef | None
    normed: bool
    kept: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Weights in a row with nothing but one activation between each and the next.

    Args:
        operations: the weighted operations, in order.
        activation: the one between all of them; None for a linear chain.
    """

    operations: tuple[Operation, ...]
    activation: ActivationRef | None

    @property
    def depth(self) -> int:
        """Number of activations on the way."""
        return len(self.operations) - 1


class Graph:
    """A network with its questions answered once.

    Args:
        network: read by an adapter, with operations.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.operations = network.operations

    @cached_property
    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """For each operation, who uses its result."""
        return self.network.consumers()

    @cached_property
    def uses(self) -> Counter[str]:
        """How many operations use each parameter."""
        return Counter(name for op in self.operations for name in op.parameters)

    @cached_property
    def _weights_behind(self) -> tuple[bool, ...]:
        """Whether another weighted operation comes after each operation."""
        later = [False] * len(self.operations)
        for operation in reversed(self.operations):
            later[operation.index] = any(
                later[user] or self.operations[user].kind in ("weighted", "composite")
                for user in self.consumers[operation.index]
            )
        return tuple(later)

    def is_head(self, operation: Operation) -> bool:
        """Whether no weighted operation follows."""
        return operation.kind == "weighted" and not self._weights_behind[operation.index]

    def feed(self, operation: Operation) -> Feed:
        """What arrives at a weighted operation, walking back from its data."""
        activation: ActivationRef | None = None
        kept = 1.0
        current = operation
        while current.inputs:
            current = self.operations[current.inputs[0]]
            kept *= 1 - (current.rate or 0.0)
            if current.kind == "activation":
                activation = activation or current.activation
            elif current.kind not in _PASSING:
                normed = current.kind == "norm"
                return Feed(origin=current, activation=activation, normed=normed, kept=kept)
        return Feed(origin=None, activation=activation, normed=False, kept=kept)

    def follower(self, operation: Operation) -> Operation | None:
        """The activation or norm that a weighted operation's result goes into, if only there."""
        current = operation
        while len(users := self.consumers[current.index]) == 1:
            current = self.operations[users[0]]
            if current.kind in ("activation", "norm"):
                return current
            if current.kind not in _PASSING:
                return None
        return None

    def activation_after(self, operation: Operation) -> Operation | None:
        """The activation that follows a weighted operation, past a norm if there is one."""
        found = self.follower(operation)
        if found is not None and found.kind == "norm":
            found = self.follower(found)
        return found if found is not None and found.kind == "activation" else None

    def _next_in_chain(self, operation: Operation) -> tuple[Operation, Operation | None] | None:
        """The next weight of a plain chain and the activation before it."""
        activation: Operation | None = None
        current = operation
        while len(users := self.consumers[current.index]) == 1:
            current = self.operations[users[0]]
            if current.kind == "weighted":
                return current, activation
            if current.kind == "activation" and activation is None:
                activation = current
            elif current.kind != "shape" and not (current.kind == "dropout" and not current.rate):
                return None  # a norm, a branch, pooling or noise ends the chain
        return None

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Maximal plain chains of at least two weights, each weight used once, one activation."""
        chains: list[Chain] = []
        taken: set[int] = set()
        for start in self.network.weighted():
            if start.index in taken or not self._can_stand_in_chain(start):
                continue
            row = [start]
            activations: list[ActivationRef | None] = []
            while (found := self._next_in_chain(row[-1])) is not None:
                following, activation = found
                same = not activations or activation_ref(activation) == activations[0]
                if not same or not self._can_stand_in_chain(following):
                    break
                activations.append(activation_ref(activation))
                row.append(following)
            taken.update(op.index for op in row)
            if len(row) > 1:
                chains.append(Chain(operations=tuple(row), activation=activations[0]))
        return tuple(chains)

    def _can_stand_in_chain(self, operation: Operation) -> bool:
        """Used once, dense across channels, not spread over a finer grid.

        Groups keep mirrored pairs apart, and the delta kernel of a strided transposed convolution
        reaches only some of its outputs.
        """
        return "transpose" not in operation.function and all(
            self.uses[name] == 1 and not self.network.parameter(name).layout.stacks
            for name in operation.parameters
        )

    def ancestors(self, indices: Iterable[int]) -> set[int]:
        """These operations, and all that they stem from."""
        stack = list(indices)
        seen = set(stack)
        while stack:
            fresh = [i for i in self.operations[stack.pop()].inputs if i not in seen]
            seen.update(fresh)
            stack.extend(fresh)
        return seen

    @cached_property
    def steering(self) -> frozenset[int]:
        """Operations whose results only weigh others: gates, attention scores, routers.

        They end in a bounded function that is multiplied with a signal; their own scale is not
        handed on.
        """
        found: set[int] = set()
        for operation in reversed(self.operations):
            users = [self.operations[user] for user in self.consumers[operation.index]]
            if users and all(
                user.index in found or self._is_weighed_by(user, operation) for user in users
            ):
                found.add(operation.index)
        return frozenset(found)

    def ends_linear(self, operation: Operation) -> bool:
        """Whether no activation, norm or sum follows: the operation is a part of the head."""
        stack, seen = [operation.index], {operation.index}
        while stack:
            for user in self.consumers[stack.pop()]:
                if self.operations[user].kind in ("activation", "norm", "add", "multiply"):
                    return False
                if user not in seen and self.operations[user].kind != "loss":
                    seen.add(user)
                    stack.append(user)
        return True

    def is_self_gate(self, operation: Operation) -> bool:
        """Whether an activation only weighs what it was computed from, as in a GELU by hand."""
        if operation.part_of is not None:
            return self._is_passed_by(operation)
        current = operation
        while len(users := self.consumers[current.index]) == 1:
            product = self.operations[users[0]]
            if product.kind == "multiply":
                others = [i for i in product.inputs if i != current.index]
                return bool(others) and self._stems_from(operation, others[0])
            if product.kind not in _PASSING:
                return False
            current = product
        return False

    def parts(self, activation: Operation) -> tuple[Operation, ...]:
        """The operations that an activation written out was computed by, itself left out."""
        return self._parts.get(activation.index, ())

    @cached_property
    def _parts(self) -> dict[int, tuple[Operation, ...]]:
        found: dict[int, tuple[Operation, ...]] = {}
        for operation in self.operations:
            if operation.part_of is not None:
                found[operation.part_of] = (*found.get(operation.part_of, ()), operation)
        return found

    def _is_passed_by(self, part: Operation) -> bool:
        """Whether the signal also reaches the end of an activation by another way than a part."""
        whole = self.operations[part.part_of or 0]
        later = (*(op for op in self.parts(whole) if op.index > part.index), whole)
        reached = {part.index}
        for operation in later:
            sources = set(operation.operands or operation.inputs)
            if sources & reached:
                if len(sources) > 1:
                    return True
                reached.add(operation.index)
        return False

    def _stems_from(self, operation: Operation, source: int) -> bool:
        """Whether ``operation`` was computed from ``source`` element by element."""
        while self.operations[source].kind in _PASSING and len(self.operations[source].inputs) == 1:
            source = self.operations[source].inputs[0]
        stack, seen = [operation.index], {operation.index}
        while stack:
            current = self.operations[stack.pop()]
            if current.index == source:
                return True
            if current.kind in _ELEMENTWISE:
                fresh = [i for i in current.inputs if i not in seen and i >= source]
                seen.update(fresh)
                stack.extend(fresh)
        return False

    def _is_weighed_by(self, product: Operation, factor: Operation) -> bool:
        """Whether ``factor`` is a bounded weight of what else goes into a product."""
        if product.function in _ATTENDING:
            return factor.index in product.inputs[:-1]  # query and key; the value comes last
        joins = product.kind in ("multiply", "other") and len(product.inputs) > 1
        return joins and self._is_bounded(factor)

    def _is_bounded(self, operation: Operation) -> bool:
        """Whether a sigmoid or softmax made it, past what hands values on."""
        while True:
            sources = operation.operands or operation.inputs
            passes = operation.kind in _PASSING or bool(operation.operands)
            if not (passes and len(sources) == 1) or self._is_weighing(operation):
                break
            operation = self.operations[sources[0]]
        return self._is_weighing(operation)

    @staticmethod
    def _is_weighing(operation: Operation) -> bool:
        name = operation.activation.name if operation.activation else operation.function
        return name in _WEIGHING

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """The residual branches, in the order of their additions."""
        return residual_branches(self.network)

    @cached_property
    def streams(self) -> tuple[tuple[Branch, ...], ...]:
        """The residual streams, each by its branches in order; streams inside branches apart."""
        grouped: dict[int, list[Branch]] = {}
        for branch in self.branches:
            grouped.setdefault(branch.stream, []).append(branch)
        return tuple(tuple(branches) for branches in grouped.values())

    @cached_property
    def has_norm(self) -> bool:
        """Whether any normalization runs."""
        return any(op.kind == "norm" for op in self.operations)


def activation_ref(operation: Operation | None) -> ActivationRef | None:
    """The activation of an operation that may be absent."""
    return None if operation is None else operation.activation
