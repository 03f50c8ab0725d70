"""Letting a model of meta tensors run as it would on the CPU.

Models ask where their tensors are: for a mask to be made there, for a kernel that only one device
has. Under `AsOnCpu` meta tensors say that they are on the CPU, and what is made there is made on
the meta device, with its values beside it (`firstlight.frameworks.torch.shapes`). So the operations
are those of the same model with values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode

from firstlight.frameworks.torch.beside import readable
from firstlight.frameworks.torch.shapes import NoValueError

_META = torch.device("meta")
_CPU = torch.device("cpu")
_FLASH = int(SDPBackend.FLASH_ATTENTION.value)

_FROM_NUMBERS = frozenset({torch.tensor, torch.as_tensor, torch.asarray})
"""They make a tensor without an operation; on the meta device the numbers would be lost."""

_FROM_SHAPES: frozenset[Callable[..., Any]] = frozenset(
    {
        *(torch.arange, torch.empty, torch.empty_permuted, torch.empty_strided, torch.eye),
        *(torch.full, torch.linspace, torch.logspace, torch.ones, torch.zeros, torch.rand),
        *(torch.randint, torch.randn, torch.randperm, torch.scalar_tensor, torch.tril_indices),
        *(torch.triu_indices, torch.hann_window, torch.hamming_window, torch.blackman_window),
        *(torch.bartlett_window, torch.kaiser_window, torch.fft.fftfreq, torch.fft.rfftfreq),
    }
)


class AsOnCpu(TorchFunctionMode):
    """Inside, what is on the meta device passes for being on the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__self__", None) is Tensor.device:
            return _CPU if args[0].is_meta else func(*args)
        if func in _FROM_NUMBERS and not isinstance(args[0] if args else None, Tensor):
            if _is_here(kwargs.get("device", _CPU)):
                return func(*args, **{**kwargs, "device": _CPU}).to(_META)
            return func(*args, **kwargs)
        if func in _FROM_SHAPES:
            if _is_here(kwargs.get("device") or _CPU):
                kwargs["device"] = _META
            return func(*args, **kwargs)
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            return _of_meta(func, args, kwargs)
        return func(*args, **kwargs)


def _is_here(device: Any) -> bool:
    """Whether a device is the CPU, or the one that passes for it."""
    if device is None:
        return True
    try:
        return torch.device(device) in (_CPU, _META)
    except (TypeError, RuntimeError):
        return False


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value == "cpu")


def _of_meta(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A call whose first operand is on the meta device."""
    if kwargs.get("device") is not None and _is_here(kwargs["device"]):
        kwargs["device"] = _META
    if func is Tensor.cpu:
        return args[0]
    if getattr(func, "__name__", "") == "to":
        args = [_META if _is_device(a) and _is_here(a) else a for a in args]
    if func is Tensor.new_tensor and len(args) > 1 and not isinstance(args[1], Tensor):
        return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs, "device": _CPU}).to(_META)
    if func in (Tensor.tolist, Tensor.numpy):
        value = readable(args[0])
        if value is None:
            raise NoValueError(f"{func.__name__} asks for numbers that weights decide")
        return func(value.detach(), *args[1:], **kwargs)
    if func is functional.scaled_dot_product_attention:
        args = [a.to(_META) if isinstance(a, Tensor) else a for a in args]
        kwargs = {n: a.to(_META) if isinstance(a, Tensor) else a for n, a in kwargs.items()}
        result = func(*args, **kwargs)
        return _laid_out(result, args[0]) if _is_fused(*args, **kwargs) else result
    return func(*args, **kwargs)


def _is_fused(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, *rest: Any, **named: Any
) -> bool:
    """Whether the CPU has one kernel for an attention of these shapes."""

    def like(tensor: Tensor) -> Tensor:
        return torch.empty_strided(
            tensor.shape,
            tensor.stride(),
            dtype=tensor.dtype,
            device="cpu",
            requires_grad=tensor.requires_grad,
        )

    mask = like(attn_mask) if isinstance(attn_mask, Tensor) else attn_mask
    choice = torch._fused_sdp_choice(like(query), like(key), like(value), mask, *rest, **named)
    return int(choice) == _FLASH


def _laid_out(result: Tensor, query: Tensor) -> Tensor:
    """In the order in which that kernel writes its result: that of the query.

    Whether a model's ``contiguous()`` and ``reshape`` copy, and so are operations, depends on it.
    """
    order = sorted(range(query.dim()), key=query.stride, reverse=True)
    back = sorted(range(query.dim()), key=order.__getitem__)
    return result.permute(order).contiguous().permute(back)
