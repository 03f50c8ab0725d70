"""Arrays made part by part, each where it belongs: sharded ones, and those that are only shapes.

No host holds more than one part at a time, and a part that several devices hold is drawn once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AbstractMesh, NamedSharding, Sharding, SingleDeviceSharding
from numpy.typing import NDArray

from firstlight.errors import BadInputError, ValuelessError
from firstlight.laws.memory import aligned
from firstlight.records.held import Boxes

Part = tuple[range, ...]
"""Consecutive places along each axis."""

WRITABLE = ("float32", "float64", "float16", "bfloat16")
"""What laws write without a copy; others, float8 say, are rounded from float32."""


def is_abstract(array: Any) -> bool:
    """Whether an array is a shape and a type without values."""
    return isinstance(array, jax.ShapeDtypeStruct)


def concrete(sharding: Any, name: str = "out_sharding") -> Any:
    """A sharding over devices: of one that names axes alone, over those of the mesh that is set.

    Raises:
        BadInputError: it names axes, and no mesh is set.

    >>> concrete(SingleDeviceSharding(jax.devices()[0])).device_set == {jax.devices()[0]}
    True
    """
    spec = sharding
    if isinstance(sharding, NamedSharding):
        if not isinstance(sharding.mesh, AbstractMesh):
            return sharding
        spec = sharding.spec
    if not isinstance(spec, jax.sharding.PartitionSpec):
        return sharding
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        raise BadInputError(
            f"{name}: sharded as {spec}, and no mesh says over which devices; call Firstlight"
            " inside of with jax.set_mesh(mesh)"
        )
    return NamedSharding(mesh, spec)


def parts_of(shape: tuple[int, ...], sharding: Sharding) -> dict[Part, list[jax.Device]]:
    """The parts of an array that this process's devices hold, and which of them hold each."""
    found: dict[Part, list[jax.Device]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        every = index if index is not None else (slice(None),) * len(shape)
        part = tuple(range(*one.indices(size)) for one, size in zip(every, shape, strict=True))
        found.setdefault(part, []).append(device)
    return found


def by_parts(
    shape: tuple[int, ...], sharding: Sharding, draw: Callable[[Part], NDArray[Any]]
) -> Array:
    """An array of which each part is drawn alone and sent to its devices.

    Args:
        shape: of the whole.
        sharding: over which devices it lies, and how.
        draw: part → its values, in the array's type.
    """
    pieces: dict[Any, Array] = {}
    for part, devices in parts_of(shape, sharding).items():
        values = draw(part)
        for device in devices:
            here = SingleDeviceSharding(device, memory_kind=sharding.memory_kind)
            pieces[device] = jax.device_put(values, here)
    ordered = [pieces[d] for d in sharding.addressable_devices_indices_map(shape)]
    return jax.make_array_from_single_device_arrays(shape, sharding, ordered)


def cut(values: NDArray[Any], sharding: Sharding) -> Array:
    """A whole, of which each device gets its part; other hosts may hold other parts."""
    return by_parts(
        values.shape,
        sharding,
        lambda part: values[tuple(slice(run.start, run.stop) for run in part)],
    )


def asked(array: Any, name: str) -> Boxes | None:
    """The question for a tensor that is drawn part by part; None for one that is drawn whole.

    Args:
        array: that the parameter is now, or its shape.
        name: of the parameter, for errors.
    """
    if str(array.dtype) not in WRITABLE:
        return None
    sharding = target(array, name)
    if sharding is None or len(sharding.device_set) < 2:
        return None
    return Boxes(shape=tuple(array.shape))


def target(old: Any, name: str) -> Any:
    """Over which devices a parameter's values shall lie; None where nothing says so.

    Uncommitted arrays follow the others of a computation, so nothing binds them.
    """
    if is_abstract(old):
        return None if old.sharding is None else concrete(old.sharding, name)
    return old.sharding if old.committed else None


def from_boxes(boxes: Boxes, old: Any, name: str) -> Array:
    """An array at the place of another, drawn part by part."""
    fill, dtype = boxes.draw, np.dtype(old.dtype)
    assert fill is not None

    def draw(part: Part) -> NDArray[Any]:
        out = aligned(tuple(map(len, part)), dtype)
        fill(part, out)
        return out

    return by_parts(tuple(old.shape), target(old, name), draw)


def plain_shape(array: Any) -> Any:
    """Of an array without values shape and type alone, wherever it is to lie; else itself."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype) if is_abstract(array) else array


def plain_shapes(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays for a trace: those without values say shape and type alone."""
    return {name: plain_shape(array) for name, array in arrays.items()}


def missing(arrays: Mapping[str, Any]) -> Sequence[str]:
    """The parameters that have no values."""
    return [name for name, array in arrays.items() if is_abstract(array)]


def check_values(arrays: Mapping[str, Any]) -> None:
    """Refuse arrays that are only shapes.

    Raises:
        ValuelessError: one line, with the first of them.
    """
    for name in missing(arrays):
        raise ValuelessError(
            f"{name}: abstract (ShapeDtypeStruct), it has a shape and no values; plan and apply"
            " first (firstlight.plan(model) needs none), or build the model outside of"
            " jax.eval_shape"
        )


def started(leaf: str, value: Any) -> Any:
    """What running statistics and random streams start as; all else as it is.

    Args:
        leaf: the last part of the name: a running variance starts at one.
        value: an array, or a shape without values.
    """
    if not is_abstract(value):
        return value
    sharding = None if value.sharding is None else concrete(value.sharding, leaf)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        key = jax.random.key(0)
        keys = jax.random.split(key, value.shape) if value.shape else key
        return keys if sharding is None else jax.device_put(keys, sharding)
    return jnp.full(value.shape, float(leaf == "var"), value.dtype, device=sharding)
