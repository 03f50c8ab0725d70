"""For FSDP1, which flattens: parameters are drawn module by module as they are wrapped.

And one plan for all processes, since each may have looked at another batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.layouts import named_tensors
from firstlight.frameworks.torch.memory import has_memory, own_memory
from firstlight.frameworks.torch.sharding import processes, write
from firstlight.laws.addresses import checked_seed
from firstlight.laws.draw import draw
from firstlight.records.codec import from_json, to_json
from firstlight.records.plan import Plan, PlanEntry


def _checked(plan: Plan, named: dict[str, nn.Parameter]) -> None:
    """Refuse a plan that does not tell the start of every parameter without values."""
    planned = {entry.name: entry for entry in plan}
    for name, tensor in named.items():
        entry = planned.get(name)
        if entry is None or entry.layout.shape != tuple(tensor.shape):
            shape = "none" if entry is None else entry.layout.shape
            raise BadInputError(
                f"{name}: the plan has shape {shape}, the model {tuple(tensor.shape)}; make the"
                " plan from this model"
            )
        whole = entry.law is not None and entry.rows is None
        if tensor.is_meta and not whole:
            raise BadInputError(
                f"{name}: kept by the plan, but on the meta device it has no values; load it, or"
                " plan without keep= and only="
            )


def param_init_fn(
    model: nn.Module,
    plan: Plan,
    *,
    seed: int,
    namespace: str = "",
    device: torch.device | str = "cpu",
) -> Callable[[nn.Module], None]:
    """What FullyShardedDataParallel (FSDP1) takes as ``param_init_fn``: a plan, module by module.

    FSDP1 flattens parameters as it wraps them, and their axes are lost; so they are drawn just
    before. The function that is returned touches a module's own parameters and buffers only,
    materialises those on the meta device, and keeps ties. No process holds more than the module
    that is being wrapped, and each draws the same numbers, so ``sync_module_states`` is not needed.

    Args:
        model: on the meta device, before it is wrapped; it is only read.
        plan: of this model, or of a real one with the same parameters; equal in all processes.
        seed: integer in [0, 2⁶⁴), equal in all processes.
        namespace: keeps models with equal names apart.
        device: of the new tensors.

    Returns:
        A function of a module.

    Raises:
        BadInputError: a plan for other parameters, or one that keeps a parameter that has no
            values; from the function, a buffer on the meta device that cannot be rebuilt.

    Source: the contract of pytorch #104187, #104189. Differs from ``reset_parameters``: the numbers
    depend on seed and name alone.

    >>> import firstlight as fl
    >>> plan = fl.plan(nn.Sequential(nn.Linear(3, 2)), seed=0)
    >>> with torch.device("meta"):
    ...     model = nn.Sequential(nn.Linear(3, 2))
    >>> initialize = param_init_fn(model, plan, seed=0)
    >>> for module in model.modules():  # as FSDP1 does
    ...     initialize(module)
    >>> model[0].weight.device, model[0].bias.tolist()
    (device(type='cpu'), [0.0, 0.0])
    """
    chosen = checked_seed(seed)
    named = named_tensors(model)
    _checked(plan, named)
    # With the tensors: another one might else take the place of one of them in memory.
    entries = {id(tensor): (tensor, plan[name]) for name, tensor in named.items()}
    done: dict[int, nn.Parameter] = {}
    finished: set[int] = set()

    def initialize(module: nn.Module) -> None:
        for local, tensor in module._parameters.items():
            if tensor is None or id(tensor) in finished:
                continue
            if id(tensor) not in entries:
                raise BadInputError(
                    f"param_init_fn: {type(module).__name__}.{local} is no parameter of the model"
                    " that it was made for; make it from the model that you wrap"
                )
            if id(tensor) not in done:
                entry = entries[id(tensor)][1]
                done[id(tensor)] = _drawn(tensor, entry, chosen, namespace, device)
                finished.add(id(done[id(tensor)]))
            module._parameters[local] = done[id(tensor)]
        _fill_buffers(module, device)

    return initialize


def _drawn(
    tensor: nn.Parameter, entry: PlanEntry, seed: int, namespace: str, device: torch.device | str
) -> nn.Parameter:
    """The parameter with the values of its entry: itself, or a new one if it was on meta."""
    if entry.law is None or entry.rows is not None:
        return tensor
    new = tensor
    if tensor.is_meta:
        empty = torch.empty_like(tensor, device=device)
        new = nn.Parameter(empty, requires_grad=tensor.requires_grad)
    out = own_memory(new) if has_memory(new) else None
    name = entry.address or entry.name
    values = draw(entry.law, entry.layout, name=name, seed=seed, namespace=namespace, out=out)
    if entry.zero_row is not None:
        values[entry.zero_row] = 0
    with torch.no_grad():
        write(new, values)
    return new


def _fill_buffers(module: nn.Module, device: torch.device | str) -> None:
    """Running statistics as they begin; other buffers without values are named."""
    missing = [name for name, buffer in module._buffers.items() if _is_meta(buffer)]
    if not missing:
        return
    reset = getattr(module, "reset_running_stats", None)
    if reset is None:
        raise BadInputError(
            f"param_init_fn: buffer '{missing[0]}' of {type(module).__name__} has no values and"
            " no rule that fills it; build it on a real device before wrapping"
        )
    for name in missing:
        module._buffers[name] = torch.empty_like(module._buffers[name], device=device)  # type: ignore[arg-type]
    reset()


def _is_meta(buffer: Tensor | None) -> bool:
    return buffer is not None and buffer.is_meta


def agreed(plan: Plan) -> Plan:
    """Process 0's plan, in every process.

    A plan takes its first scale from the batch. Processes that look at batches of their own make
    plans that differ, and shards drawn from those are parts of different tensors. All processes
    must call this; it sends the plan once. Without torch.distributed it is the plan itself.

    Args:
        plan: of this process.

    >>> import firstlight as fl
    >>> plan = fl.plan(nn.Linear(3, 2), torch.ones(4, 3))
    >>> agreed(plan) is plan
    True
    """
    if processes() == 1:
        return plan
    texts = [to_json(plan)]
    torch.distributed.broadcast_object_list(texts, src=0)
    found: Plan = from_json(texts[0])
    return found
