"""From drawn numbers to tensors of the backend, where a layout asks for them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def filled(shape: tuple[int, ...], value: float, dtype: str) -> NDArray[Any]:
    """One value everywhere; a float64 variable holds 0.1 and not the float32 next to it.

    >>> filled((2,), 0.1, "float64").tolist()
    [0.1, 0.1]
    """
    known = dtype if dtype in np.sctypeDict else "float32"
    return np.full(shape, value, known)


def placed(values: NDArray[Any], dtype: str, layout: Any) -> Any:
    """A tensor of the backend, distributed as the layout says.

    With a layout no device holds more than its part; the host holds the whole.

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


def _placed_by_jax(values: NDArray[Any], dtype: str, layout: Any) -> Any:
    import jax  # it is the backend

    sharding = getattr(layout, "backend_layout", layout)
    if isinstance(getattr(sharding, "mesh", None), jax.sharding.AbstractMesh):
        # Keras names the axes only; the mesh with its devices is set around the call.
        sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), sharding.spec)
    return jax.device_put(values.astype(jax.numpy.dtype(dtype)), sharding)
