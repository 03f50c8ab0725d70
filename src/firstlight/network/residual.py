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

_HOPS = 4
"""So many additions are walked back in search of where a branch left, as for
``x + attention(x) + mlp(x)``; more would cost the square of the depth."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One residual branch: it leaves the stream, and an addition brings it back.

    Args:
        addition: where it joins.
        weights: its weighted operations, in order.
        last_norm: the norm after that weight, if there is one.
        normed: whether there is any norm inside the branch.
        projected: whether the stream passes it through a weight, not as it is.
        stream: the first addition of its stream, which hands on one signal from each
            of its additions to the next.
    """

    addition: Operation
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
    inside: int | None = None
    """The addition in whose branch it lies, if it is not on the trunk."""


class _Walker:
    def __init__(self, network: Network) -> None:
        self.operations = network.operations
        self.found: dict[int, _Found] = {}

    def carried(self, index: int) -> list[int]:
        """The operations whose results arrive here as they were made, back to the one that did."""
        chain = [index]
        operation = self.operations[index]
        while operation.kind in _CARRYING and len(operation.inputs) == 1:
            operation = self.operations[operation.inputs[0]]
            chain.append(operation.index)
        return chain

    def skips(self, side: int) -> Iterator[tuple[list[int], bool]]:
        """What a side may have carried past a branch, its origin last; whether by a projection."""
        chain = self.carried(side)
        yield chain, False
        maker = self.operations[chain[-1]]
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
            for source in self.operations[stack.pop()].inputs:
                if source in skip:
                    reached = True
                elif source > skip[-1] and source not in seen:
                    seen.add(source)
                    stack.append(source)
        return sorted(seen) if reached else None

    def branch(self, addition: Operation) -> _Found | None:
        """The branch that ends at an addition, if it is a residual one."""
        candidates = []
        for start, side in (addition.inputs, addition.inputs[::-1]):
            for skip, projected in self.skips(start):
                region = self.region(side, skip)
                if region is None:
                    continue
                weights = sum(self.operations[i].kind == "weighted" for i in region)
                if weights > projected:  # a projection on the skip has one weight, the branch more
                    candidates.append(_Found(addition, skip, region, projected))
                break
        return min(candidates, key=lambda found: found.projected) if candidates else None


def residual_branches(network: Network) -> tuple[Branch, ...]:
    """All residual branches, in the order of their additions.

    Args:
        network: read by an adapter, with operations.
    """
    walker = _Walker(network)
    for addition in network.operations:
        if addition.kind == "add" and len(addition.inputs) == 2:
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
        weights=weights,
        last_norm=after[-1] if after else None,
        normed=bool(norms),
        projected=found.projected,
        stream=stream,
    )
