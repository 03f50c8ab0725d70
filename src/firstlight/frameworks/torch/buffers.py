"""Buffers and ties of a model without values: what must be rebuilt when it gets memory.

``to_empty`` gives every tensor memory and no values, buffers too, and unties what was tied. Buffers
that are not persistent stand in no checkpoint, so nobody puts them right later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch.starting import starting_values


@dataclass(frozen=True, kw_only=True)
class BufferState:
    """A buffer without values.

    Args:
        name: as in ``named_buffers``, at its first place.
        shape: of it.
        dtype: ``float32``.
        persistent: whether ``state_dict`` holds it.
        rebuilt: whether the model's own code tells its values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    persistent: bool
    rebuilt: bool


def buffer_values(model: nn.Module) -> tuple[tuple[BufferState, ...], dict[str, Tensor]]:
    """Every buffer on the meta device, and the values of those that the model's code tells.

    Args:
        model: read, never written to.

    Returns:
        The buffers, each once, and values on the CPU by name.

    >>> with torch.device("meta"):
    ...     model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    >>> states, values = buffer_values(model)
    >>> [state.name for state in states], values["1.running_var"]
    (['1.running_mean', '1.running_var', '1.num_batches_tracked'], tensor([1., 1.]))
    """
    missing = [(name, b) for name, b in model.named_buffers() if b.is_meta]
    if not missing:
        return (), {}
    known = starting_values(model)
    states, values = [], {}
    for name, buffer in missing:
        path, _, local = name.rpartition(".")
        value = known.get((path, local))
        if value is not None:
            values[name] = value.to(buffer.dtype)
        states.append(
            BufferState(
                name=name,
                shape=tuple(buffer.shape),
                dtype=str(buffer.dtype).removeprefix("torch."),
                persistent=local not in model.get_submodule(path)._non_persistent_buffers_set,
                rebuilt=value is not None,
            )
        )
    return tuple(states), values


def rebuild_buffers(
    model: nn.Module, device: torch.device | str = "cpu"
) -> tuple[BufferState, ...]:
    """Put values in place of the buffers on the meta device, where the model's own code tells them.

    Call it before ``to_empty``, which wipes what tells a buffer with values from one without.

    Args:
        model: changed: a rebuilt buffer is a new tensor at each of its places.
        device: of the new tensors.

    Returns:
        All buffers that had no values; those with ``rebuilt`` False are still on the meta device.

    >>> with torch.device("meta"):
    ...     model = nn.BatchNorm1d(2)
    >>> all(state.rebuilt for state in rebuild_buffers(model)), model.running_mean
    (True, tensor([0., 0.]))
    """
    states, values = buffer_values(model)
    for name, value in values.items():
        path, _, local = name.rpartition(".")
        old = model.get_submodule(path)._buffers[local]
        new = value.to(device)
        for module in model.modules():
            for other, held in module._buffers.items():
                if held is old:
                    module._buffers[other] = new
    return states


def tied_names(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """The names of each parameter that stands at several places, the first one leading.

    >>> model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    >>> model[1].weight = model[0].weight
    >>> tied_names(model)
    (('0.weight', '1.weight'),)
    """
    held: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        held.setdefault(id(parameter), []).append(name)
    return tuple(tuple(names) for names in held.values() if len(names) > 1)


def tie_again(model: nn.Module, ties: Iterable[tuple[str, ...]]) -> None:
    """Let each parameter stand at all its places again, after what untied it (``to_empty``).

    Args:
        model: changed.
        ties: from `tied_names`, before.

    >>> with torch.device("meta"):
    ...     model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    >>> model[1].weight = model[0].weight
    >>> ties = tied_names(model)
    >>> tie_again(model.to_empty(device="cpu"), ties)
    >>> model[1].weight is model[0].weight
    True
    """
    for first, *others in ties:
        parameter = model.get_parameter(first)
        for name in others:
            path, _, local = name.rpartition(".")
            model.get_submodule(path)._parameters[local] = parameter


def materialise(model: nn.Module, device: torch.device | str = "cpu") -> tuple[str, ...]:
    """Give a model on the meta device memory: parameters without values, buffers with theirs.

    Like ``model.to_empty``, but ties stay, buffers get what the model's own code gives them, and
    tensors that have values keep them. `apply` fills the parameters; until then they hold whatever
    the memory held.

    Args:
        model: changed.
        device: of the new tensors.

    Returns:
        The buffers that nothing could rebuild; they are still on the meta device.

    >>> import firstlight as fl
    >>> with torch.device("meta"):
    ...     model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2))
    >>> plan = fl.plan(model)
    >>> materialise(model)
    ()
    >>> _ = fl.apply(model, plan, seed=0)
    >>> fl.audit(model)["0.bias"].laws[0].words
    'zeros'
    """
    states = rebuild_buffers(model, device)
    new: dict[int, nn.Parameter] = {}
    old: list[nn.Parameter] = []  # held, so that no identity comes twice
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_meta:
                continue
            if id(parameter) not in new:
                empty = torch.empty_like(parameter, device=device)
                made = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                vars(made).update(vars(parameter))
                new[id(parameter)] = made
                old.append(parameter)
            module._parameters[name] = new[id(parameter)]
    return tuple(state.name for state in states if not state.rebuilt)
