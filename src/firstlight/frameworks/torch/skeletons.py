"""A sharded model without its mesh: the same modules over whole tensors that have no values.

Its structure can be read in one process, which no other has to take part in.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.frameworks.torch.sharding import bare_class, is_sharded
from firstlight.records.checkup import Observation, ParameterReading
from firstlight.records.network import Network

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")


def _is_of_torch(hook: Any) -> bool:
    """Whether a hook gathers, scatters or redistributes."""
    function = getattr(hook, "__func__", hook)
    return str(getattr(function, "__module__", "")).startswith("torch.distributed.")


class _Copying:
    """Copies each module and parameter once, so that what is shared stays shared."""

    def __init__(self) -> None:
        self._modules: dict[int, nn.Module] = {}
        self._tensors: dict[int, Tensor] = {}

    def module(self, module: nn.Module) -> nn.Module:
        if id(module) not in self._modules:
            kind = bare_class(module)
            twin = kind.__new__(kind)
            self._modules[id(module)] = twin
            state: dict[str, Any] = dict(module.__dict__)
            for hooks in _HOOKS:
                kept = ((k, h) for k, h in module.__dict__[hooks].items() if not _is_of_torch(h))
                state[hooks] = OrderedDict(kept)
            for held in ("_parameters", "_buffers"):
                state[held] = {n: self._tensor(t) for n, t in module.__dict__[held].items()}
            state["_modules"] = {
                name: None if child is None else self.module(child)
                for name, child in module._modules.items()
            }
            twin.__dict__.update(state)
        return self._modules[id(module)]

    def _tensor(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None or not (is_sharded(tensor) or isinstance(tensor, nn.Parameter)):
            return tensor
        if id(tensor) not in self._tensors:
            if isinstance(tensor, nn.Parameter):
                shape = torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="meta")
                twin: Tensor = nn.Parameter(shape, requires_grad=tensor.requires_grad)
            elif all(placement.is_replicate() for placement in tensor.placements):  # type: ignore[attr-defined]
                twin = tensor.to_local()  # type: ignore[attr-defined]
            else:
                twin = torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="meta")
            for flag in ("_is_hf_initialized",):
                if hasattr(tensor, flag):
                    setattr(twin, flag, getattr(tensor, flag))
            self._tensors[id(tensor)] = twin
        return self._tensors[id(tensor)]


def skeleton(model: nn.Module) -> nn.Module:
    """The model with whole parameters on the meta device, without FSDP2's and a mesh's hooks.

    Args:
        model: sharded; it is not changed. Buffers and plain attributes are shared with it.

    Returns:
        Modules of the classes that were there before sharding, ties kept.

    >>> plain = nn.Sequential(nn.Linear(2, 3))
    >>> skeleton(plain)[0].weight.device, plain[0].weight.device
    (device(type='meta'), device(type='cpu'))
    """
    return _Copying().module(model)


def by_fans_alone(model: nn.Module) -> Observation:
    """What can be said of a model that cannot be run: its parameters, with axes and fans."""
    described = describe_parameters(model)
    name = bare_class(model).__name__
    return Observation(
        network=Network(
            name=name, framework="torch", parameters=described, not_looked_into=(name,)
        ),
        readings=(),
        parameters=tuple(
            ParameterReading(name=p.name, value_rms=1.0, gradient_rms=None, constant=False)
            for p in described
        ),
        samples=1,
    )
