"""Functions of tensors that keep the shape: named activations, and what no table knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Backwards(torch.autograd.Function):
    """A function of its own, whose gradient is not the one that autograd would take."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.sign() * value.abs().sqrt()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.clamp(-1, 1)


def _written(value: Tensor) -> Tensor:
    """Overwrites a part of a copy."""
    copied = value.clone()
    copied[..., 0] = 1.0
    copied[..., 1:] *= 2
    return copied


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: getattr(functional, name) for name in ("relu", "gelu", "silu", "elu", "softplus")},
    **{name: getattr(functional, name) for name in ("mish", "hardswish", "softsign", "selu")},
    **{name: getattr(torch, name) for name in ("tanh", "sigmoid", "sin", "erf", "square", "abs")},
    "leaky": lambda v: functional.leaky_relu(v, 0.2),
    "softmax": lambda v: v.softmax(dim=-1),
    "clamp": lambda v: v.clamp(min=0),
    "relu in place": lambda v: (v + 0).relu_(),
    "add in place": lambda v: v.clone().add_(0.5),
    "written": _written,
    "fft": lambda v: torch.fft.ifft(torch.fft.fft(v) * 2).real,
    "real fft": lambda v: torch.fft.irfft(torch.fft.rfft(v), n=v.shape[-1]),
    "cumsum": lambda v: v.cumsum(dim=-1),
    "cummax": lambda v: v.cummax(dim=-1).values,
    "sort": lambda v: v.sort(dim=-1).values,
    "top": lambda v: v * (v >= v.topk(2, dim=-1).values[..., -1:]),
    "einsum": lambda v: torch.einsum("b...,b...->b...", v, v) / 2,
    "own function": Backwards.apply,
    "standardised": lambda v: (v - v.mean(-1, keepdim=True)) / (v.std(-1, keepdim=True) + 1),
    "unit length": lambda v: functional.normalize(v, dim=-1),
    "roll": lambda v: v.roll(1, dims=-1),
    "halves": lambda v: torch.cat([half.tanh() for half in v.chunk(2, dim=1)], dim=1),
    "where": lambda v: torch.where(v > 0, v, v.clamp(max=0).exp() - 1),
    "masked": lambda v: v.masked_fill(v > 2, 2.0),
    "detached mean": lambda v: v - v.mean().detach(),
    "unbound": lambda v: torch.stack([row * 2 for row in v.unbind(0)]),
    "bfloat16": lambda v: v.to(torch.bfloat16).float(),
    "logaddexp": lambda v: torch.logaddexp(v, v.flip(-1)),
    "over the batch": lambda v: v - v.mean(dim=0),
    "nothing": lambda v: v,
}
