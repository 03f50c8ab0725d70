"""A parameter's own memory as an array, so that nothing need be copied into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstlight.frameworks.torch.weights import plain_values

_TYPES = {
    torch.float32: np.dtype(np.float32).str,
    torch.float64: np.dtype(np.float64).str,
    torch.float16: np.dtype(np.float16).str,
    torch.bfloat16: np.dtype(np.uint16).str,
}


def has_memory(tensor: Tensor) -> bool:
    """Whether the numbers lie as they are in memory that NumPy may write to.

    Not those of subclasses (sharded ones, fakes), of other devices, of tensors with gaps or
    overlaps, and of inference mode, whose change torch itself would refuse.
    """
    return (
        type(tensor) in (nn.Parameter, Tensor)
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and tensor.dtype in _TYPES
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.is_inference()
        and tensor.untyped_storage().nbytes() > 0
    )


class _View:
    """What NumPy needs to know of a tensor's memory; the array keeps the tensor alive.

    ``Tensor.numpy`` would forbid the memory to change its size from then on, which FSDP1 does to
    free what it has gathered.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.__array_interface__ = {
            "shape": tuple(tensor.shape),
            "typestr": _TYPES[tensor.dtype],
            "data": (tensor.data_ptr(), False),
            "version": 3,
        }


def own_memory(tensor: Tensor) -> NDArray[Any]:
    """An array over the same memory; uint16 with the bits of bfloat16, which NumPy lacks."""
    if tensor.numel() == 0:  # no address
        return np.empty(tuple(tensor.shape), _TYPES[tensor.dtype])
    return np.asarray(_View(tensor.detach()))


def copied(tensor: Tensor) -> NDArray[Any]:
    """A copy of the values on the host; of complex numbers the moduli."""
    plain = plain_values(tensor).to("cpu")
    if has_memory(plain):
        return own_memory(plain).copy()
    array: NDArray[Any] = (plain.abs() if plain.is_complex() else plain.clone()).numpy()
    return array


def is_own_memory(values: NDArray[Any], tensor: Tensor) -> bool:
    """Whether an array is what `own_memory` gave."""
    return has_memory(tensor) and values.ctypes.data == tensor.data_ptr()
