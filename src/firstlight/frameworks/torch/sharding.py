"""Tensors of which each process holds a part: DTensors of FSDP2, HSDP and tensor parallelism.

Which places of the whole are here follows from the mesh and the placements alone, by arithmetic:
nothing is gathered, and nothing is sent. A sharded tensor is known by its type, which is looked up
and not imported: whoever made one has loaded its module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.utils.parametrize import is_parametrized

from firstlight.errors import BadInputError, NotObservableError
from firstlight.frameworks.torch.memory import has_memory, is_own_memory, own_memory
from firstlight.laws.holding import draw_held
from firstlight.records.held import Held
from firstlight.records.law import Law
from firstlight.records.network import Layout

_DRAWABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

Runs = tuple[range, ...]
"""Consecutive places along one axis, in order."""


def _loaded(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is a DTensor: a whole of which each process holds a part, or a copy."""
    kind = _loaded("torch.distributed.tensor", "DTensor")
    return kind is not None and isinstance(tensor, kind)


def is_flat(module: nn.Module) -> bool:
    """Whether a module is wrapped by FSDP1 and holds flattened pieces of its parameters now."""
    kind = _loaded("torch.distributed.fsdp", "FullyShardedDataParallel")
    if kind is None or not isinstance(module, kind) or getattr(module, "_handle", None) is None:
        return False
    return getattr(module.training_state, "name", "") != "SUMMON_FULL_PARAMS"


def refuse_flat(model: nn.Module) -> None:
    """Refuse a model whose parameters FSDP1 has flattened: they have no axes any more."""
    if any(map(is_flat, model.modules())):
        raise BadInputError(
            "model: FSDP1 has flattened its parameters, which no longer have axes; wrap it with"
            " param_init_fn=firstlight.torch.param_init_fn(model, plan, seed=…), or call it inside"
            " FullyShardedDataParallel.summon_full_params(model)"
        )


def is_shared(model: Any) -> bool:
    """Whether several processes hold the model's parameters together."""
    if not isinstance(model, nn.Module):
        return False
    sharding = _loaded("torch.distributed.fsdp", "FSDPModule")
    modules = sharding is not None and any(isinstance(m, sharding) for m in model.modules())
    flat = any(map(is_flat, model.modules()))
    return modules or flat or any(map(is_sharded, model.parameters()))


def refuse_to_run(model: Any, what: str = "batch") -> None:
    """Refuse to run a model whose parameters are on a mesh."""
    if is_shared(model):
        raise NotObservableError(
            f"{what}: a model that is sharded over processes cannot be looked at as it runs; plan,"
            " check or calibrate before it is sharded, then shard it and call"
            " firstlight.apply(model, plan, seed=…)"
        )


def processes() -> int:
    """How many processes train together; 1 where torch.distributed is not in use."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return 1
    return int(distributed.get_world_size())


def bare_class(module: nn.Module) -> type[nn.Module]:
    """A module's class before `fully_shard`, which puts one of its own in its place."""
    sharding = _loaded("torch.distributed.fsdp", "FSDPModule")
    kind = type(module)
    if sharding is not None and sharding in kind.__bases__:
        return next(base for base in kind.__bases__ if base is not sharding)
    return kind


def class_of(module: nn.Module) -> type[nn.Module]:
    """The class that a module's author wrote, without parametrizations and sharding.

    >>> class_of(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))).__name__
    'Linear'
    """
    kind = bare_class(module)
    base: type[nn.Module] = kind.__bases__[0] if is_parametrized(module) else kind
    return base


def _taken(runs: Runs, start: int, stop: int) -> Runs:
    """The places from the ``start``-th to before the ``stop``-th of some runs.

    >>> _taken((range(0, 4), range(8, 12)), 2, 6)
    (range(2, 4), range(8, 10))
    """
    found: list[range] = []
    at = 0
    for run in runs:
        part = run[max(0, start - at) : max(0, stop - at)]
        if part:
            if found and found[-1].stop == part.start:
                part = range(found.pop().start, part.stop)
            found.append(part)
        at += len(run)
    return tuple(found)


def _chunk(runs: Runs, pieces: int, index: int) -> Runs:
    """One of the pieces into which `torch.chunk` cuts; the last ones may be empty.

    >>> [_chunk((range(5),), 4, i) for i in range(4)]
    [(range(0, 2),), (range(2, 4),), (range(4, 5),), ()]
    """
    size = -(-sum(map(len, runs)) // pieces)
    return _taken(runs, index * size, (index + 1) * size)


def runs_here(
    shape: tuple[int, ...], mesh: tuple[int, ...], place: tuple[int, ...], placements: Any
) -> tuple[Runs, ...]:
    """Which places of each axis one process holds.

    Args:
        shape: of the whole.
        mesh: number of processes along each dimension of the mesh.
        place: of this process in the mesh.
        placements: of the tensor, one for each dimension of the mesh, applied from the left.

    Raises:
        BadInputError: a placement that is no share of a parameter: partial sums.
    """
    found: list[Runs] = [(range(size),) if size else () for size in shape]
    for pieces, index, placement in zip(mesh, place, placements, strict=True):
        if placement.is_replicate():
            continue
        axis = getattr(placement, "dim", None)
        if axis is None or placement.is_partial():
            raise BadInputError(
                f"model: a parameter is placed as {placement}; Firstlight draws those that are"
                " sharded or replicated"
            )
        factor = getattr(placement, "split_factor", None)
        if factor is None:
            found[axis] = _chunk(found[axis], pieces, index)
            continue
        # Cut for the dimensions to the right first: a piece of each of those pieces.
        cut: list[range] = []
        for first in range(factor):
            cut.extend(_chunk(_chunk(found[axis], factor, first), pieces, index))
        found[axis] = _taken(tuple(cut), 0, sum(map(len, cut)))
    return tuple(found)


def here(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, over the same memory and without a gradient."""
    with torch.no_grad():
        own: Tensor = tensor.to_local()  # type: ignore[attr-defined]
        return own.detach()


def held(tensor: Any) -> Held:
    """Where in the whole the local values of a DTensor are, and their memory.

    The memory is the tensor's own where laws can write to it; elsewhere (other devices, other
    types) it is a copy on the host, which `put` brings back.

    Raises:
        BadInputError: the local tensor is not what the placements say.
    """
    shape, mesh, own = tuple(tensor.shape), tensor.device_mesh, here(tensor)
    place = mesh.get_coordinate()
    if place is None:  # a process outside of the mesh holds nothing
        nothing = np.empty((0,) * max(1, len(shape)), np.float32)
        return Held(shape=shape, runs=((),) * max(1, len(shape)), memory=nothing)
    runs = runs_here(shape, tuple(mesh.shape), tuple(place), tensor.placements)
    lengths = tuple(sum(map(len, each)) for each in runs)
    if lengths != tuple(own.shape):
        raise BadInputError(
            f"model: of a parameter of shape {shape} this process holds {tuple(own.shape)} where"
            f" its placements {tensor.placements} give {lengths}; make it with distribute_tensor"
        )
    if has_memory(own):
        return Held(shape=shape, runs=runs, memory=own_memory(own))
    dtype = own.dtype if own.dtype in _DRAWABLE else torch.float32
    host = torch.empty(lengths, dtype=dtype, device="cpu").copy_(own)
    return Held(shape=shape, runs=runs, memory=own_memory(host))


def write(tensor: Tensor, values: NDArray[Any] | Held) -> None:
    """Write into a parameter: a whole array, what `LocalMemory` gave, or what lies there already.

    Rounded once (to nearest even) to the parameter's type; gradients have to be off.
    """
    if isinstance(values, Held):
        put(tensor, values)
    elif is_own_memory(values, tensor):
        increment_version(tensor)  # drawn in place, which torch did not see
    elif is_sharded(tensor):
        put_whole(tensor, torch.from_numpy(values))
    else:
        tensor.copy_(torch.from_numpy(values))


def one_process(tensor: Tensor, *, local: bool) -> Tensor:
    """A tensor without a mesh: what is here of a sharded one, or all of it, gathered."""
    if not is_sharded(tensor):
        return tensor
    whole: Tensor = here(tensor) if local else tensor.detach().full_tensor()  # type: ignore[attr-defined]
    return whole


def put(tensor: Tensor, values: Held) -> None:
    """Bring back what was drawn into what `held` gave."""
    with torch.no_grad():
        own = here(tensor)
        if own.numel() == 0:
            return
        if is_own_memory(values.memory, own):
            increment_version(own)  # written by NumPy, which torch did not see
        else:
            own.copy_(_as_tensor(values.memory))


def _as_tensor(memory: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(memory)
    return tensor.view(torch.bfloat16) if memory.dtype == np.uint16 else tensor


def put_whole(tensor: Any, whole: Tensor) -> Tensor:
    """Keep of a whole, which every process has, the part that is here."""
    own = here(tensor)
    if own.numel():
        part = whole.to(own.device)
        for axis, runs in enumerate(held_runs(tensor)):
            part = torch.cat([part.narrow(axis, r.start, len(r)) for r in runs], axis)
        with torch.no_grad():
            own.copy_(part)
    return tensor  # type: ignore[no-any-return]


def held_runs(tensor: Any) -> tuple[Runs, ...]:
    """The places that this process, which is in the mesh, holds."""
    mesh = tensor.device_mesh
    place = tuple(mesh.get_coordinate())
    return runs_here(tuple(tensor.shape), tuple(mesh.shape), place, tensor.placements)


def fill_sharded(
    tensor: Tensor, law: Law, layout: Layout, *, name: str, seed: int, namespace: str
) -> Tensor:
    """Draw into the part of a DTensor that is here; in place."""
    values = held(tensor)
    draw_held(law, layout, values, name=name, seed=seed, namespace=namespace)
    put(tensor, values)
    return tensor


class LocalMemory(Mapping[str, "NDArray[Any] | Held"]):
    """The memory that can be drawn into, by name; of sharded parameters what is here.

    Of those on other devices a copy on the host is made when it is asked for, and no sooner.
    """

    def __init__(self, named: Mapping[str, Tensor]) -> None:
        self._named = {n: t for n, t in named.items() if is_sharded(t) or has_memory(t)}

    def __getitem__(self, name: str) -> NDArray[Any] | Held:
        tensor = self._named[name]
        return held(tensor) if is_sharded(tensor) else own_memory(tensor)

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


def resharded(model: nn.Module) -> None:
    """Let FSDP2 hold its shards again: what is written to gathered parameters it throws away."""
    kind = _loaded("torch.distributed.fsdp", "FSDPModule")
    if kind is not None:
        for module in model.modules():
            if isinstance(module, kind):
                module.reshard()
