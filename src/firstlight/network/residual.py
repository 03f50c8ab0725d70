"""Residual additions: told from other additions by the side that hands the stream on as it is.

An addition is residual if one of its sides reaches, through nothing but reshaping, dropout, norms
and activations (or one projection), an operation that the other side starts from. Scores plus a
bias, sums of modulations or merged pyramids are additions too, but no streams pass through them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from firstlight.records.network import Network, Operation

_CARRYING = frozenset({"shape", "dropout", "pool", "other", "norm", "activation"})
"""Kinds that, with one data input, hand on what they got."""

_SPLITTING = frozenset({"chunk", "split", "split_with_sizes", "tensor_split", "unbind"})
"""Their parts are different signals, such as the shift, scale and gate of a modulation."""

_HOPS = 4
"""So many additions are walked back in search of where a branch left, as for
``x + attention(x) + mlp(x)``; more would cost the square of the depth."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One residual branch: it leaves the stream, and an addition brings it back.

    Args:
        addition: where it joins.
        skip: the operation whose result the addition takes from the stream.
        weights: its weighted operations, in order.
        last_norm: the norm after that weight, if there is one.
        normed: whether there is any norm inside the branch.
        projected: whether the stream passes it through a weight, not as it is.
        stream: the first addition of its stream, which hands on one signal from each
            of its additions to the next.
    """

    addition: Operation
    skip: int
    weights: tuple[Operation, ...]
    last_norm: Operation | None
    normed: bool
    projected: bool
    stream: int

    @property
    def last_weight(self) -> Operation:
        """The weight that its result comes from."""
        return self.weights[-1]


@dataclass
class _Found:
    """A branch on the way to becoming a record."""

    addition: Operation
    skip: list[int]
    region: list[int]
    projected: bool
    root: int
    """The operation that its stream began with."""
    inside: int | None = None
    """The addition in whose branch it lies, if it is not on the trunk."""


class _Walker:
    def __init__(self, network: Network) -> None:
        self.operations = network.operations
        self.found: dict[int, _Found] = {}
        self.injections: dict[int, int] = {}
        """Additions of an older signal to a stream (the embedding again, at every block), each
        with the side that is the stream."""
        self.conditions: dict[int, int] = {}
        """Additions of a projected signal, each with the origin of that."""

    def carried(self, index: int) -> list[int]:
        """The operations whose results arrive here as they were made, back to the one that did."""
        chain = [index]
        operation = self.operations[index]
        while (source := self._source(operation)) is not None:
            operation = self.operations[source]
            chain.append(source)
        return chain

    def _source(self, operation: Operation) -> int | None:
        """What an operation hands on, if it hands on one signal."""
        if operation.index in self.injections:
            return self.injections[operation.index]
        one = operation.kind in _CARRYING and len(operation.inputs) == 1
        return operation.inputs[0] if one else None

    def skips(self, side: int) -> Iterator[tuple[list[int], bool]]:
        """What a side may have carried past a branch, its origin last; whether by a projection."""
        chain = self.carried(side)
        maker = self.operations[chain[-1]]
        split = any(self.operations[index].function in _SPLITTING for index in chain)
        if maker.kind != "weighted" or not split:
            yield chain, False
        if maker.kind == "weighted" and maker.inputs:
            yield chain + self.carried(maker.inputs[0]), True
        for _ in range(_HOPS):
            known = self.found.get(chain[-1])
            if known is None:
                return
            chain = [*chain, known.skip[-1]]
            yield chain, False

    def region(self, side: int, skip: list[int]) -> list[int] | None:
        """The operations between a skip and the other side, or None if that starts elsewhere.

        Operations are in the order of execution, so nothing before the origin can lead there.
        """
        if side in skip:
            return None
        seen, stack, reached = {side}, [side], False
        while stack:
            current = stack.pop()
            inner = self.found.get(current)
            from_here = inner is not None and inner.skip[-1] == skip[-1]
            if from_here or self.conditions.get(current) == skip[-1]:
                reached = True  # by an inner branch, whose inside was walked before
                continue
            for source in self.operations[current].inputs:
                if source in skip:
                    reached = True
                elif source > skip[-1] and source not in seen:
                    seen.add(source)
                    stack.append(source)
        return sorted(seen) if reached else None

    def _injected_into(self, addition: Operation) -> int | None:
        """The side that is a stream, where the other one is what that stream began with."""
        ends = [self.carried(side)[-1] for side in addition.inputs]
        older, newer = sorted((0, 1), key=lambda side: ends[side])
        stream = self.found.get(ends[newer])
        injects = stream is not None and not stream.projected and ends[older] == stream.root
        return addition.inputs[newer] if injects else None

    def _conditioned_before(self, region: list[int], origin: int) -> list[int]:
        """Additions of the same projected origin on the way: it conditions, it is no stream."""
        return [i for i in region if self.conditions.get(i) == origin]

    def branch(self, addition: Operation) -> _Found | None:
        """The branch that ends at an addition, if it is a residual one."""
        if (stream := self._injected_into(addition)) is not None:
            self.injections[addition.index] = stream
            return None
        candidates = []
        for start, side in (addition.inputs, addition.inputs[::-1]):
            for skip, projected in self.skips(start):
                region = self.region(side, skip)
                if region is None:
                    continue
                if projected and (seen := self._conditioned_before(region, skip[-1])):
                    self.found.pop(seen[0], None)  # the first of many, not known as such yet
                    self.conditions[addition.index] = skip[-1]
                    break
                weights = sum(self.operations[i].kind == "weighted" for i in region)
                if weights > projected:  # a projection on the skip has one weight, the branch more
                    before = next((self.found[i] for i in skip if i in self.found), None)
                    root = skip[-1] if before is None else before.root
                    candidates.append(_Found(addition, skip, region, projected, root))
                    if projected:
                        self.conditions[addition.index] = skip[-1]
                break
        return min(candidates, key=lambda found: found.projected) if candidates else None


def residual_branches(network: Network) -> tuple[Branch, ...]:
    """All residual branches, in the order of their additions.

    Args:
        network: read by an adapter, with operations.
    """
    walker = _Walker(network)
    for addition in network.operations:
        if addition.kind == "add" and len(addition.inputs) == 2 and addition.part_of is None:
            found = walker.branch(addition)
            if found is not None:
                walker.found[addition.index] = found
    for found in walker.found.values():
        for index in found.region:
            inner = walker.found.get(index)
            if inner is not None and inner.inside is None:
                inner.inside = found.addition.index
    streams = _streams(walker.found)
    return tuple(_record(found, streams[index], network) for index, found in walker.found.items())


def within_streams(network: Network) -> frozenset[str]:
    """Names of the operations from where the first residual branch leaves to where the last joins.

    At another depth the operation of such a name stands at another share of the way.

    Args:
        network: read by an adapter, with operations.
    """
    branches = residual_branches(network)
    if not branches:
        return frozenset()
    first = min(branch.skip for branch in branches)
    last = max(branch.addition.index for branch in branches)
    return frozenset(op.name for op in network.operations[first + 1 : last + 1])


def _streams(found: dict[int, _Found]) -> dict[int, int]:
    """The stream of each addition: that of the one before it, unless a sibling took it already.

    Three adapters on query, key and value read one signal, but none hands its sum to the next.
    """
    streams: dict[int, int] = {}
    continued: set[int] = set()
    for index, branch in found.items():
        before = next((i for i in branch.skip if i in found), None)
        fits = before is not None and found[before].inside == branch.inside
        if before is not None and fits and before not in continued:
            continued.add(before)
            streams[index] = streams[before]
        else:
            streams[index] = index
    return streams


def _record(found: _Found, stream: int, network: Network) -> Branch:
    inside = [network.operations[i] for i in found.region]
    weights = tuple(op for op in inside if op.kind == "weighted")
    norms = [op for op in inside if op.kind == "norm"]
    after = [op for op in norms if op.index > weights[-1].index]
    return Branch(
        addition=found.addition,
        skip=next(i for i in found.addition.inputs if i not in found.region),
        weights=weights,
        last_norm=after[-1] if after else None,
        normed=bool(norms),
        projected=found.projected,
        stream=stream,
    )
