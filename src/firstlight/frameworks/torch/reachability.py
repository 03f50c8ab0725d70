"""Intended zeros, told from dead ends: does one step give the gradient back?

LoRA's B = 0, a zero γ, a zero convolution and a zero head stop the gradient of what lies before
them at the very first step only. So one small virtual step is taken along the gradients there are,
and the gradients are looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_RELATIVE_STEP = 1e-2


class _Wrapped(nn.Module):
    """A module around (model, step), so that `functional_call` can swap the model's parameters."""

    def __init__(self, model: nn.Module, scalar_of: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.model = model
        self._scalar_of = scalar_of

    def forward(self) -> Any:
        return self._scalar_of(self.model)


def _stepped(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    value = parameter.detach()
    if gradient is not None:
        norm = torch.linalg.vector_norm(gradient)
        if bool(torch.isfinite(norm)) and float(norm) > 0:
            size = float(torch.linalg.vector_norm(value)) or 1.0
            value = value - (_RELATIVE_STEP * size / norm) * gradient
    return value.requires_grad_(parameter.requires_grad)


def wakes_after_one_step(
    model: nn.Module,
    trainable: Mapping[str, nn.Parameter],
    gradients: Mapping[str, Tensor | None],
    asleep: Sequence[str],
    scalar_of: Callable[[nn.Module], Tensor | None],
) -> frozenset[str]:
    """Which parameters of zero gradient have one after a small step of the others.

    Args:
        model: in the state in which the gradients were taken.
        trainable: parameters by canonical name.
        gradients: of the loss, by the same names.
        asleep: names whose gradient is exactly zero.
        scalar_of: runs a model and returns its loss.

    Returns:
        Those of ``asleep`` that wake up; none if the model cannot be run again.
    """
    canonical = {id(parameter): name for name, parameter in trainable.items()}
    moved = {name: _stepped(p, gradients[name]) for name, p in trainable.items()}
    swapped = {
        f"model.{name}": moved[canonical[id(parameter)]]
        for name, parameter in model.named_parameters()
        if id(parameter) in canonical
    }
    try:
        scalar = torch.func.functional_call(_Wrapped(model, scalar_of), swapped, ())
        wanted = [moved[name] for name in asleep]
        found = torch.autograd.grad(scalar, wanted, allow_unused=True)
    except Exception:
        return frozenset()
    return frozenset(
        name for name, g in zip(asleep, found, strict=True) if g is not None and bool(g.any())
    )
