"""Gradients of a scalar by name, whichever way they have to be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def differentiate(
    scalar: Tensor,
    trainable: Mapping[str, nn.Parameter],
    leaf: Tensor | None,
    *,
    retain: bool = False,
) -> dict[str, Tensor | None]:
    """Gradients by name; nothing is left in ``.grad``, and no hook of an optimizer fires.

    Reversible layers and reentrant checkpoints run a backward pass of their own inside: it fills
    ``.grad`` and returns nothing, or refuses `torch.autograd.grad`. So where a custom function is
    on the way, ``backward()`` is called, unless hooks wait for the gradient: an optimizer that
    steps in them would step.

    Args:
        scalar: what is differentiated.
        trainable: parameters by canonical name, of a guarded model.
        leaf: a further tensor whose gradient lets hooks fire that lie before all parameters.
        retain: keep the graph for a second pass.
    """
    wanted = [*trainable.values(), *([leaf] if leaf is not None else [])]
    if not wanted:
        return {}
    hooked = any(getattr(p, "_post_accumulate_grad_hooks", None) for p in trainable.values())
    if _has_custom_function(scalar) and not hooked:
        found = _accumulated(scalar, wanted, retain)
    else:
        found = list(torch.autograd.grad(scalar, wanted, allow_unused=True, retain_graph=retain))
    dense = (g.to_dense() if g is not None and g.layout != torch.strided else g for g in found)
    return dict(zip(trainable, dense, strict=False))


def _accumulated(scalar: Tensor, wanted: list[Any], retain: bool) -> list[Tensor | None]:
    kept = [tensor.grad for tensor in wanted]
    try:
        for tensor in wanted:
            tensor.grad = None
        scalar.backward(retain_graph=retain)
        return [tensor.grad for tensor in wanted]
    finally:
        for tensor, gradient in zip(wanted, kept, strict=True):
            tensor.grad = gradient


def _has_custom_function(scalar: Tensor) -> bool:
    """Whether a `torch.autograd.Function` written in Python is in the graph."""
    custom: type = torch.autograd.function.BackwardCFunction
    stack: list[Any] = [scalar.grad_fn]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if isinstance(node, custom):
            return True
        following = () if node is None else (f for f, _ in node.next_functions)
        fresh = [f for f in following if f is not None and f not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return False
