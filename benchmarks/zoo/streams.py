"""Residual additions, gates, and what was seen of δ: the rules of `zoo.measure`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_PARTS = {"__getitem__", "select", "narrow", "chunk", "split", "unbind", "tensor_split"}
_SQUASHES = {"softmax", "sigmoid", "sigmoid_", "hardsigmoid"}
_MIXERS = {
    "group_norm",
    "layer_norm",
    "batch_norm",
    "avg_pool2d",
    "fft_fft",
    "fft_fft2",
    "fft_fftn",
}
_JOINS = {"mul", "mul_", "__mul__", "__rmul__", "__imul__", "matmul", "__matmul__", "bmm", "einsum"}

Delta = tuple[float, int]


@dataclass(eq=False)
class Node:
    """One value on its way: by what function it came, from which other data."""

    function: str
    parents: tuple[Node, ...] = ()
    shape: tuple[int, ...] = ()
    weights: tuple[str, ...] = ()
    zero_weight: bool = False
    children: list[Node] = field(default_factory=list)
    delta: Delta | None = None
    """Sum and number of the squared δ."""
    stage: Node | None = None
    """For a residual addition: the first of its stage."""


def free(node: Node, through_parts: bool = True) -> set[Node]:
    """The values that reach a node without passing a weight, itself included."""
    found, waiting = {node}, [node]
    while waiting:
        here = waiting.pop()
        if not here.weights and (through_parts or here.function not in _PARTS):
            waiting += (new := [p for p in here.parents if p not in found])
            found.update(new)
    return found


def is_residual(a: Node, b: Node) -> bool:
    """Whether a is a skip around b; see `zoo.measure`."""
    near = free(b)
    if near & free(a):  # a branch without weights must mix values, as no activation does
        return any(m.function in _MIXERS and a in free(m) for m in near - free(a))
    entries = [p for node in near if node.weights for p in node.parents]
    if free(a, through_parts=False) & _before(entries):
        return True
    while not a.weights and len(a.parents) == 1 and a.function not in _PARTS:
        a = a.parents[0]
    # A projection: the branch has a weight more on its way from the same data.
    shallow = set[Node]().union(*map(free, entries))
    return bool(a.weights) and bool(set(a.parents) & (_before(entries) - shallow))


def _before(nodes: list[Node]) -> set[Node]:
    """The nodes and all that they came from."""
    found, waiting = set(nodes), list(nodes)
    while waiting:
        waiting += (new := [p for p in waiting.pop().parents if p not in found])
        found.update(new)
    return found


def is_gate(node: Node) -> bool:
    """Whether all that a weighted result does passes a softmax or sigmoid that weighs data."""
    waiting, seen = list(node.children), set[Node]()
    while waiting:
        here = waiting.pop()
        if here in seen or (here.function in _SQUASHES and _weighs(here)):
            continue
        seen.add(here)
        if not here.children or (here.weights and not is_gate(here)):
            return False
        if not here.weights:
            waiting += here.children
    return bool(node.children)


def _weighs(node: Node) -> bool:
    return any(
        (len(c.parents) > 1 and c.function in _JOINS) or (len(c.parents) == 1 and _weighs(c))
        for c in node.children
        if not c.weights
    )


def waits(node: Node) -> bool:
    """Whether all that follows is weights that are zero: δ is zero until they move."""
    followers = list(node.children)
    nexts, seen = [], set[Node]()
    while followers:
        here = followers.pop()
        if here in seen:
            continue
        seen.add(here)
        if here.weights:
            nexts.append(here)
        else:
            followers += here.children
    return bool(nexts) and all(n.zero_weight for n in nexts)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was seen.

    Args:
        loss: its value.
        moments: second moment of the results of each trainable weight, by name.
        zeros: weights that are all zero, and those whose every use saw only zeros.
        deltas: (sum, number) of the squared δ where it is compared: by stage of residual additions;
            all in one list where no stage has two; where there are not two at all, the weighted
            operations, without gates, routers, queries and keys.
        at_additions: whether those are residual additions.
    """

    loss: float
    moments: dict[str, float]
    zeros: frozenset[str]
    deltas: tuple[tuple[Delta, ...], ...]
    at_additions: bool

    @property
    def delta_range(self) -> float:
        """Largest over smallest RMS δ within a stage, of the worst stage; ∞ if one is 0 or NaN."""
        return max((_range([s / n for s, n in stage]) for stage in self.deltas), default=1.0) ** 0.5

    @property
    def delta_norm_range(self) -> float:
        """The same of ‖δ‖ per sample: other shapes by themselves make no difference."""
        return max((_range([s for s, _ in stage]) for stage in self.deltas), default=1.0) ** 0.5


def _range(values: list[float]) -> float:
    sound = all(math.isfinite(v) and v > 0 for v in values)
    return max(values) / min(values) if sound else math.inf
