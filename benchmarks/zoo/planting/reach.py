"""Parameters out of the gradient's reach, heads that do not fit their loss, and controls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo import parts
from zoo.parts import Culprits, Operator, names, zero_bias


class _LowRank(nn.Module):
    """A frozen layer and a low-rank addition, of which one or both factors are zero."""

    def __init__(self, base: nn.Linear, both: bool, noise: torch.Generator) -> None:
        super().__init__()
        self.base = base
        a = torch.randn(4, base.in_features, generator=noise) * base.in_features**-0.5
        self.lora_a = nn.Parameter(torch.zeros_like(a) if both else a)
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.lora_a.T @ self.lora_b.T

    @property
    def weight(self) -> Tensor:
        """Models look at their layers' dtype."""
        return self.base.weight


def adapters(both_zero: bool) -> Operator:
    """Everything frozen, and LoRA on the hidden dense layers; B = 0 is right, A = B = 0 is not."""

    def plant(model: nn.Module, seed: int) -> Culprits:
        own = {n: p for n, p in model.named_parameters() if "lora_" in n}
        if own:
            for name, factor in own.items():
                if name.endswith("lora_a"):
                    factor.mul_(0.0 if both_zero else 0.5)
            return tuple(own)
        rows = [
            (n, m)
            for n, m in parts.hidden(model)
            if type(m) is nn.Linear and not n.rpartition(".")[0].endswith("self_attn")
        ]
        if not rows:
            return None
        model.requires_grad_(False)
        for name, _ in rows:
            parts.replace(
                model, name, partial(_LowRank, both=both_zero, noise=parts.noise_for(name, seed))
            )
        return tuple(f"{name}.lora_{factor}" for name, _ in rows for factor in "ab")

    return plant


def two_zeros(model: nn.Module, _seed: int) -> Culprits:
    """Two zero layers in a row inside a branch: neither ever gets a gradient."""
    found = [] if parts.chain(model) else parts.pairs(model)
    if not found:
        return None
    (name, first), (other, second) = found[len(found) // 2]
    for layer in (first, second):
        parts.weight(layer).zero_()
        zero_bias(layer)
    return name, other


def detached(model: nn.Module, _seed: int) -> Culprits:
    """The output of the first half of a chain, or of a block, is detached."""
    groups = parts.blocks(model)
    rows = parts.chain(model)[:-1]
    if len(rows) > 2:
        name = rows[len(rows) // 2][0]
        culprits = tuple(n for n, _ in rows[: len(rows) // 2 + 1])
    elif groups:
        name = groups[0][len(groups[0]) // 2][0]
        culprits = (name,)
    else:
        return None
    parts.replace(model, name, lambda m: parts.Wrapped(m, _detach))
    return culprits


def _detach(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, tuple):
        items = [_detach(item) for item in output]
        return type(output)(*items) if hasattr(output, "_fields") else tuple(items)
    return output


def frozen(model: nn.Module, _seed: int) -> Culprits:
    """One hidden layer was left frozen."""
    found = parts.middle(model)
    if found is None or len(parts.hidden(model)) < 3:
        return None
    found[1].requires_grad_(False)
    return (found[0],)


def unused(model: nn.Module, _seed: int) -> Culprits:
    """A layer that forward never calls."""
    if isinstance(model, nn.Sequential):
        return None  # it would be called
    model.add_module("forgotten", nn.Linear(16, 16))
    return ("forgotten",)


# Head and loss ---


def after_head(after: Callable[[Tensor], Tensor]) -> Operator:
    """Something that does not belong there stands between the head and its loss."""

    def plant(model: nn.Module, _seed: int) -> Culprits:
        found = parts.head(model)
        if found is None:
            return None
        parts.replace(model, found[0], lambda m: parts.Wrapped(m, after))
        return (found[0],)

    return plant


def one_unit(after: Callable[[], nn.Module]) -> Operator:
    """The head becomes one unit, with something behind it; behind a softmax it is always 1."""

    def plant(model: nn.Module, seed: int) -> Culprits:
        found = parts.head(model)
        if found is None or type(found[1]) is not nn.Linear:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            single = nn.Linear(found[1].in_features, 1)
        parts.replace(model, found[0], lambda _: nn.Sequential(single, after(), nn.Flatten(0)))
        return (found[0],)

    return plant


# Controls: these are no faults ---


def untouched(_model: nn.Module, _seed: int) -> Culprits:
    """The model stays; the fault is in what it is fed."""
    return ("input",)


def zero_head(model: nn.Module, _seed: int) -> Culprits:
    """A head that starts at zero is healthy: one step wakes it."""
    found = parts.head(model)
    if found is None or found[0] == "lm_head" or not parts.weight(found[1]).any():
        return None
    parts.weight(found[1]).zero_()
    zero_bias(found[1])
    return (found[0],)


def zero_branch_ends(model: nn.Module, _seed: int) -> Culprits:
    """The last layer of each feed-forward branch at zero is healthy."""
    rows = [] if parts.chain(model) else [second for _, second in parts.pairs(model)]
    for _, layer in rows:
        parts.weight(layer).zero_()
        zero_bias(layer)
    return names(rows)
