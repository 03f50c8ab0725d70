"""A parameter's own memory as an array, so that nothing need be copied into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_DRAWABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def has_memory(tensor: Tensor) -> bool:
    """Whether the numbers lie as they are in memory that NumPy may write to.

    Not those of subclasses (sharded ones, fakes), of other devices, of tensors with gaps or
    overlaps, and of inference mode, whose change torch itself would refuse.
    """
    return (
        type(tensor) in (nn.Parameter, Tensor)
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and tensor.dtype in _DRAWABLE
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.is_inference()
        and tensor.untyped_storage().nbytes() > 0
    )


def own_memory(tensor: Tensor) -> NDArray[Any]:
    """An array over the same memory; uint16 with the bits of bfloat16, which NumPy lacks."""
    values = tensor.detach()
    if values.dtype == torch.bfloat16:
        return values.view(torch.int16).numpy().view(np.uint16)
    array: NDArray[Any] = values.numpy()
    return array


def is_own_memory(values: NDArray[Any], tensor: Tensor) -> bool:
    """Whether an array is what `own_memory` gave."""
    return has_memory(tensor) and values.ctypes.data == tensor.data_ptr()
