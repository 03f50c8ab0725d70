"""Memory to draw into that a framework can take over as it is."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGNMENT = 64
"""Bytes: what JAX on a CPU wants of memory that it shares."""


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array without values that begins at a multiple of 64 bytes.

    >>> aligned((3, 5), np.dtype(np.float32)).ctypes.data % 64
    0
    """
    size = prod(shape) * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
