"""From drawn numbers to tensors of the backend, where a layout asks for them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import keras
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from firstlight.laws.memory import aligned
from firstlight.records.held import Boxes

_WRITABLE = ("float32", "float16", "bfloat16")
"""What laws write as it is; other types are made from float32."""


def drawn_as(dtype: str) -> np.dtype[Any]:
    """The type to draw in for a variable of ``dtype``.

    >>> drawn_as("float16"), drawn_as("float64")
    (dtype('float16'), dtype('float32'))
    """
    if dtype not in _WRITABLE:
        return np.dtype(np.float32)
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def filled(shape: tuple[int, ...], value: float, dtype: str, layout: Any) -> Any:
    """One value everywhere; a float64 variable holds 0.1 and not the float32 next to it.

    >>> filled((2,), 0.25, "float32", None).tolist()
    [0.25, 0.25]
    """
    known = np.full((), value, dtype if dtype in np.sctypeDict else "float32")
    if layout is not None:
        return placed(np.broadcast_to(known, shape), dtype, layout)
    if not known.tobytes().strip(b"\0"):  # 0, but not −0: memory that the system has cleared
        return keras.ops.zeros(shape, dtype=dtype)
    return keras.ops.full(shape, known.item(), dtype=dtype)


def placed(values: Any, dtype: str, layout: Any) -> Any:
    """A tensor of the backend, distributed as the layout says.

    With a layout no device holds more than its part; the host holds the whole, which `by_parts`
    spares it.

    Args:
        values: of the whole tensor.
        dtype: of the tensor.
        layout: a `keras.distribution.TensorLayout`, a layout of the backend, or None.
    """
    if layout is None:
        return keras.ops.convert_to_tensor(values, dtype=dtype)
    if keras.backend.backend() == "jax":
        return _placed_by_jax(values, dtype, layout)
    return keras.distribution.distribute_tensor(
        keras.ops.convert_to_tensor(values, dtype=dtype), layout
    )


def handed_over(values: NDArray[Any], dtype: str, layout: Any) -> Any:
    """`placed` for values that nobody else holds: the tensor may take over their memory.

    Args:
        values: in a type of `drawn_as`; JAX wants `aligned` memory.
        dtype: of the tensor.
        layout: as in `placed`.
    """
    lent: Any = values
    if keras.backend.backend() == "torch":  # Keras's own way copies twice
        import torch  # it is the backend

        bits = values.view(np.uint16) if values.dtype == ml_dtypes.bfloat16 else values
        lent = torch.from_numpy(bits)
        lent = lent.view(torch.bfloat16) if bits is not values else lent
    return placed(lent, dtype, layout)


def _placed_by_jax(values: NDArray[Any], dtype: str, layout: Any) -> Any:
    room = _parts()
    # Keras names the axes only; the mesh with its devices is set around the call.
    sharding = room.concrete(getattr(layout, "backend_layout", layout))
    return room.cut(values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype), sharding)


def by_parts(
    shape: tuple[int, ...],
    dtype: str,
    layout: Any,
    draw: Callable[[tuple[range, ...], NDArray[Any]], object],
) -> Any:
    """A tensor that the host holds one part of at a time; None where the backend wants the whole.

    Args:
        shape: of the whole.
        dtype: of the tensor.
        layout: as in `placed`.
        draw: (part, memory of its lengths): fills the memory.
    """
    if layout is None or keras.backend.backend() != "jax" or dtype not in _WRITABLE:
        return None
    room = _parts()

    def drawn(part: tuple[range, ...]) -> NDArray[Any]:
        out = aligned(tuple(map(len, part)), drawn_as(dtype))
        draw(part, out)
        return out

    return room.by_parts(shape, room.concrete(getattr(layout, "backend_layout", layout)), drawn)


def asked(variable: Any, name: str) -> Boxes | None:
    """The question for a variable that lies on several devices of JAX; None for all others."""
    if keras.backend.backend() != "jax":
        return None
    found: Boxes | None = _parts().asked(variable._value, name)
    return found


def from_boxes(boxes: Boxes, variable: Any, name: str) -> Any:
    """The answer, drawn part by part, as a tensor at the variable's place."""
    return _parts().from_boxes(boxes, variable._value, name)


def _parts() -> Any:
    return import_module("firstlight.frameworks.jax.sharding")  # JAX is the backend
