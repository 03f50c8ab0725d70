"""What a start does, measured with torch alone: one forward and one backward pass.

Nothing of Firstlight is used here, so that it cannot be its own judge. What is looked at:

- every **weighted operation**: a product (linear, convolution, matmul, einsum …) of data with a
  parameter, or with what was computed from parameters alone; inside torch's fused attention and
  recurrent kernels the products are computed beside. Lookups are no products. A weight that is used
  several times is one operation, its second moment the mean over its uses; a use on nothing but
  zeros (an empty state) is left out.
- every **residual addition**: a + b of one shape, where what reaches a without passing a weight
  (the skip), or the data under a's one projection, is also what b's weights were fed with, and
  no value reaches both without a weight (or b mixes a, by a norm, a pooling or a Fourier
  transform). Additions of one shape on one stream are a **stage**.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from zoo.kernels import INSIDE, PRODUCTS
from zoo.streams import Delta, Measured, Node, free, is_gate, is_residual, waits

_LOOKUPS = {"embedding", "embedding_bag"}
_SUMS = {"add", "add_", "__add__", "__radd__", "__iadd__"}


class Recorder(TorchFunctionMode):
    """Follows a pass; ``nodes`` are the values that came from data."""

    def __init__(self, model: nn.Module, batch: Any) -> None:
        super().__init__()
        names = defaultdict[int, list[str]](list)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            names[id(parameter)].append(name)
        self.kept: list[Tensor] = [*model.parameters()]
        """Everything, so that no id is given twice."""
        self.made = {id(p): (p,) for p in self.kept}
        """The parameters that a value was computed from, if from nothing else."""
        self.names = {key: tuple(value) for key, value in names.items()}
        self.nodes: dict[int, Node] = {}
        self.order: list[Node] = []
        self.uses: dict[int, list[float]] = defaultdict(list)
        self.last_zero: Tensor | None = None
        for leaf in tree_leaves(batch):
            if isinstance(leaf, Tensor):
                self._add(leaf, Node("input", shape=tuple(leaf.shape)))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run it, and write down what it was."""
        name = getattr(func, "__name__", "")
        operands = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        before = [self._node(t) for t in operands]
        out = func(*args, **(kwargs or {}))
        results = [t for t in tree_leaves(out) if isinstance(t, Tensor) and t.is_floating_point()]
        if not results:
            return out
        parents = tuple(dict.fromkeys(node for node in before if node is not None))
        made = [p for t in operands for p in self.made.get(id(t), ())]
        weight, fed = self._product(name, operands)
        if made and not parents and name not in _LOOKUPS and fed is None:
            for result in results:
                self.made[id(result)] = tuple(dict.fromkeys(made))
                self.kept.append(result)
            return out
        if not parents and not made:
            return out
        weights: tuple[str, ...] = ()
        zero = False
        if name in INSIDE:
            for parameter, given, product in INSIDE[name](args, kwargs or {}):
                weights += self._use((parameter,), given, product)
        elif weight is not None and fed is not None:
            weights = self._use(self.made[id(weight)], fed, results[0])
            zero = not bool(weight.detach().any())
            self.last_zero = fed if zero and fed.requires_grad else self.last_zero
        for result in results:
            node = Node(name, parents, tuple(result.shape), weights, zero)
            self._add(result, node)
            if name in _SUMS and len(before) == 2 and all(before):
                self._join(node, before, operands)
            if result.requires_grad and (weights or node.stage):
                result.register_hook(lambda grad, node=node: _take(node, grad))
        return out

    def _product(
        self, name: str, operands: list[Tensor]
    ) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """The weight of a product and what it is multiplied with, which may be learned positions.

        A product of parameters alone is a weight in the making, but for `linear`.
        """
        own = [t for t in operands if id(t) in self.made and t.dim() > 1]
        if name not in PRODUCTS or not own:
            return None, None
        if name == "linear" and id(operands[1]) in self.made:
            return operands[1], operands[0]
        fed = next((t for t in operands if id(t) not in self.made), None)
        return (None, None) if fed is None else (max(own, key=Tensor.numel), fed)

    def _node(self, value: Tensor) -> Node | None:
        known = self.nodes.get(id(value))
        if known is None and id(value) not in self.made and value.requires_grad:
            self._add(value, known := Node("unseen", shape=tuple(value.shape)))
        return known

    def _add(self, value: Tensor, node: Node) -> None:
        self.nodes[id(value)] = node
        self.kept.append(value)
        self.order.append(node)
        for parent in node.parents:
            parent.children.append(node)

    def _use(self, made: tuple[Tensor, ...], fed: Tensor, product: Tensor) -> tuple[str, ...]:
        largest = max(made, key=Tensor.numel)
        if bool(fed.detach().any()):
            self.uses[id(largest)].append(float(product.detach().double().square().mean()))
        return tuple(n for p in made for n in self.names[id(p)])

    def _join(self, node: Node, before: list[Any], operands: list[Tensor]) -> None:
        a, b = before
        if operands[0].shape != operands[1].shape:
            return
        for skip, branch in ((a, b), (b, a)):
            if is_residual(skip, branch):
                same = (n for n in reversed(self.order) if n.stage and n.shape == node.shape)
                on_stream = free(skip)
                earlier = next((n for n in same if n in on_stream), None)
                node.stage = earlier.stage if earlier else node
                return


def weights_behind(node: Node) -> bool:
    """Whether another product with a weight reads what a node made."""
    stack, seen = list(node.children), set()
    while stack:
        current = stack.pop()
        if current.weights:
            return True
        if id(current) not in seen:
            seen.add(id(current))
            stack.extend(current.children)
    return False


def _take(node: Node, grad: Tensor) -> None:
    node.delta = (float(grad.detach().double().square().sum()), grad.numel())


def measure(model: nn.Module, batch: Any, loss: Callable[[nn.Module, Any], Tensor]) -> Measured:
    """One forward and one backward pass, in the mode that the model is in.

    Where δ is zero everywhere, because the last weight is, the backward pass starts from a normal
    cotangent at what that weight is fed with.

    Args:
        model: is left as it was but for buffers and the random state.
        batch: what ``loss`` hands to the model.
        loss: (model, batch) → scalar.
    """
    with Recorder(model, batch) as seen:
        value = loss(model, batch)
    trainable = [p for p in model.parameters() if p.requires_grad]
    torch.autograd.grad(value, trainable, allow_unused=True, retain_graph=True)
    inner = [n for n in seen.order if n.delta and not n.zero_weight]
    fed = seen.last_zero
    if fed is not None and all(n.delta[0] == 0 for n in inner if n.delta):
        torch.autograd.grad((fed * torch.randn_like(fed)).sum(), trainable, allow_unused=True)
    stages = defaultdict[Node, list[Delta]](list)
    weighted, heads = (defaultdict[tuple[str, ...], list[Delta]](list) for _ in range(2))
    for node in seen.order:
        if node.delta and node.stage:
            stages[node.stage].append(node.delta)
        if node.delta and node.weights and not is_gate(node) and not waits(node):
            ends = not weights_behind(node)  # a head is small on purpose, and all behind it with it
            (heads if ends else weighted)[node.weights].append(node.delta)
    lists = list(stages.values())
    at_additions = sum(map(len, lists)) > 1
    if not at_additions:
        weighted = weighted if len(weighted) > 1 else weighted | heads
        lists = [[(sum(s for s, _ in d), sum(n for _, n in d)) for d in weighted.values()]]
    elif all(len(stage) == 1 for stage in lists):
        lists = [[stage[0] for stage in lists]]
    moments, zeros = {}, set()
    for parameter in trainable:
        name = seen.names[id(parameter)][0]
        uses = seen.uses.get(id(parameter))
        if uses is not None and bool(parameter.detach().any()):
            moments[name] = sum(uses) / len(uses)
        elif uses is not None:
            zeros.add(name)
    return Measured(
        loss=float(value.detach()),
        moments=moments,
        zeros=frozenset(zeros),
        deltas=tuple(tuple(stage) for stage in lists if stage),
        at_additions=at_additions,
    )
