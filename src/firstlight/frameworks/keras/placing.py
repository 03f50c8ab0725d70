"""From drawn numbers to tensors of the backend, where a layout asks for them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def filled(shape: tuple[int, ...], value: float, dtype: str) -> NDArray[Any]:
    """One value everywhere, exact in the dtypes that NumPy has."""
    known = dtype if dtype in np.sctypeDict else "float32"
    return np.full(shape, value, known)


def placed(values: NDArray[Any], dtype: str, layout: Any) -> Any:
    """A tensor of the backend, distributed as the layout says.

    Args:
        values: of the whole tensor.
        dtype: of the tensor.
        layout: a `keras.distribution.TensorLayout`, a layout of the backend, or None.
    """
    tensor = keras.ops.convert_to_tensor(values, dtype=dtype)
    if layout is None:
        return tensor
    if isinstance(layout, keras.distribution.TensorLayout):
        return keras.distribution.distribute_tensor(tensor, layout)
    return _placed_by_jax(tensor, layout)


def _placed_by_jax(tensor: Any, layout: Any) -> Any:
    import jax  # its layouts are here only if it is the backend

    mesh = getattr(layout, "mesh", None)
    if isinstance(mesh, jax.sharding.AbstractMesh):
        # Keras names the axes of a mesh that is set around the call.
        layout = jax.sharding.NamedSharding(jax.sharding.get_mesh(), layout.spec)
    return jax.device_put(tensor, layout)
