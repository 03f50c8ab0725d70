"""Whether two models differ in nothing but the values of their parameters and buffers."""

from __future__ import annotations

from hashlib import sha256
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn


def signature(model: nn.Module) -> Any:
    """What is equal for two models, or for one at two times, that differ in those values only.

    Classes are told apart by their code, attributes by their values as far as these are numbers,
    words, functions, tensors or containers of such.
    """
    state = [*model.named_parameters(), *model.named_buffers()]
    tensors = tuple((n, tuple(t.shape), t.dtype, str(t.device), t.requires_grad) for n, t in state)
    hidden = {*vars(nn.Module()), "training"}
    own = tuple(
        (
            name,
            *_kind(module),
            tuple((k, _print(v)) for k, v in vars(module).items() if k not in hidden),
        )
        for name, module in model.named_modules()
    )
    return tensors, own


def _kind(module: nn.Module) -> tuple[Any, ...]:
    # By name and code: a class made anew by each call of a factory is the same class to us.
    kind = type(module)
    return kind.__module__, kind.__qualname__, getattr(kind.forward, "__code__", None)


def _print(value: Any) -> Any:
    """A hashable image of an attribute, as far as its kind is known."""
    if value is None or isinstance(value, int | float | str | bytes | torch.dtype):
        return value
    if isinstance(value, Tensor):
        kind = tuple(value.shape), str(value.dtype)
        if value.layout != torch.strided or not value.numel():
            return kind
        plain = value.detach().cpu().resolve_conj().reshape(-1).contiguous()
        return kind, sha256(plain.view(torch.uint8).numpy().tobytes()).digest()
    if isinstance(value, tuple | list):
        return tuple(_print(item) for item in value)
    if isinstance(value, dict):
        return tuple((str(key), _print(item)) for key, item in value.items())
    if isinstance(value, FunctionType):
        cells = tuple(_print(cell.cell_contents) for cell in value.__closure__ or ())
        return value.__code__, _print(value.__defaults__), cells
    return value if isinstance(value, BuiltinFunctionType) else type(value).__qualname__
