"""Intended zeros, told from dead ends: do the first steps give the gradient back?

LoRA's B = 0, a zero γ, a zero convolution and a zero head stop the gradient of what lies before
them at the very first step only; a zero head on zero branches takes two. So small virtual steps are
taken along the gradients there are, for as long as each wakes something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch.foreign import Foreign

_RELATIVE_STEP = 1e-2
_MOST_STEPS = 3


class _Wrapped(nn.Module):
    """A module around (model, step), so that `functional_call` can swap the model's parameters."""

    def __init__(self, model: nn.Module, scalar_of: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.model = model
        self._scalar_of = scalar_of

    def forward(self) -> Any:
        return self._scalar_of(self.model)


def _stepped(value: Tensor, gradient: Tensor | None) -> Tensor:
    value = value.detach()
    if gradient is not None:
        norm = torch.linalg.vector_norm(gradient)
        if bool(torch.isfinite(norm)) and float(norm) > 0:
            size = float(torch.linalg.vector_norm(value)) or 1.0
            value = value - (_RELATIVE_STEP * size / norm) * gradient
    return value.requires_grad_()


def _scalar(
    model: nn.Module,
    canonical: Mapping[int, str],
    values: Mapping[str, Tensor],
    scalar_of: Callable[[nn.Module], Any],
) -> Any:
    """The loss with ``values`` as parameters."""
    if isinstance(model, Foreign):
        with model.swapped(values):
            return scalar_of(model)
    swapped = {
        f"model.{name}": values[canonical[id(parameter)]]
        for name, parameter in model.named_parameters()
        if id(parameter) in canonical
    }
    return torch.func.functional_call(_Wrapped(model, scalar_of), swapped, ())


def waking(
    model: nn.Module,
    trainable: Mapping[str, nn.Parameter],
    gradients: Mapping[str, Tensor | None],
    asleep: Sequence[str],
    scalar_of: Callable[[nn.Module], Tensor | None],
) -> frozenset[str]:
    """Which parameters of zero gradient have one after a few small steps of the others.

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
    values: dict[str, Tensor] = {name: p.detach() for name, p in trainable.items()}
    woken: set[str] = set()
    for _ in range(_MOST_STEPS):
        try:
            values = {name: _stepped(value, gradients[name]) for name, value in values.items()}
            scalar = _scalar(model, canonical, values, scalar_of)
            found = torch.autograd.grad(scalar, list(values.values()), allow_unused=True)
        except Exception:
            break  # a model that cannot run twice, or not be stepped, has no second look
        gradients = dict(zip(values, found, strict=True))
        fresh = {n for n in asleep if n not in woken and _is_awake(gradients[n])}
        woken |= fresh
        if not fresh or len(woken) == len(asleep):
            break
    return frozenset(woken)


def _is_awake(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.to_dense().any())
