"""What tensors without values will hold by their model's own code, where that is no chance.

A model on the meta device has buffers (rotary frequencies, masks, running statistics) and
parameters (scales of norms, slopes, a state space's A) that its author filled with numbers of his
choice. Here his rules run on a copy that has shapes alone: first each module's
``reset_parameters()``, then the model's ``_init_weights(module)``; and where these say nothing, the
module's constructor, from its config or from the attributes that bear its arguments' names. What
comes out of random numbers stays unknown; nothing of the size of a weight is ever filled.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch.layouts import named_tensors
from firstlight.frameworks.torch.posing import AsOnCpu
from firstlight.frameworks.torch.rules import rules_of
from firstlight.frameworks.torch.shapes import Shapes
from firstlight.frameworks.torch.watching import aside

_SEED = 20_260_202
_RESETS = ("reset_parameters", "_reset_parameters", "reset_running_stats")
_PLAIN = (bool, int, float, str, type(None), torch.dtype, tuple, list)

Place = tuple[str, str]
"""Path of a module, and the tensor's name in it."""


def starting_values(model: nn.Module) -> dict[Place, Tensor]:
    """The values of parameters and buffers on the meta device that do not depend on chance.

    Args:
        model: read, never written to; its weights get no memory.

    Returns:
        By the path of the module and the name in it, at each place of a tied tensor; without those
        that the model's code fills at random, or that nothing tells of.

    >>> with torch.device("meta"):
    ...     model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    >>> starting_values(model)[("1", "weight")]
    tensor([1., 1.])
    """
    wanted = dict(_places(model))
    found: dict[Place, Tensor] = {}
    if not wanted:
        return found
    with aside(_SEED), Shapes(building=True) as shapes, AsOnCpu():
        copied = _hollow(model)
        if copied is not None:
            _run_rules(copied)
            found = _known(copied, wanted, shapes)
        for path in dict.fromkeys(path for path, _ in wanted if (path, _) not in found):
            module = model.get_submodule(path)
            again = _constructed(module)
            if again is not None:
                for place, value in _known(again, dict(_places(again, deep=False)), shapes).items():
                    here = (path, place[1])
                    fits = here in wanted and wanted[here].shape == value.shape
                    if fits and here not in found:
                        found[here] = value
    return found


def starting_parameters(model: nn.Module) -> dict[str, Tensor]:
    """The values of parameters on the meta device that do not depend on chance, by canonical name.

    A plan that keeps such a parameter (a root-mean-square norm's scale, a state space's A) means
    these values.

    Args:
        model: read, never written to.

    >>> with torch.device("meta"):
    ...     model = nn.Sequential(nn.Linear(2, 2), nn.RMSNorm(2))
    >>> starting_parameters(model)
    {'1.weight': tensor([1., 1.])}
    """
    names = {id(tensor): name for name, tensor in named_tensors(model).items()}
    found: dict[str, Tensor] = {}
    for (path, local), value in starting_values(model).items():
        parameter = model.get_submodule(path)._parameters.get(local)
        if parameter is not None:
            found.setdefault(names[id(parameter)], value)
    return found


def _places(model: nn.Module, *, deep: bool = True) -> Iterator[tuple[Place, Tensor]]:
    """Every tensor without values, at each of its places."""
    modules = model.named_modules(remove_duplicate=False) if deep else [("", model)]
    for path, module in modules:
        for held in (module._parameters, module._buffers):
            for local, tensor in held.items():
                if tensor is not None and tensor.is_meta:
                    yield (path, local), tensor


def _known(model: nn.Module, places: dict[Place, Tensor], shapes: Shapes) -> dict[Place, Tensor]:
    found: dict[Place, Tensor] = {}
    for path, local in places:
        module = model.get_submodule(path)
        tensor = module._parameters.get(local, module._buffers.get(local))
        if tensor is None or not tensor.is_meta:
            continue
        value = shapes.known.value(tensor)
        if value is not None:
            found[path, local] = value.detach().clone()
    return found


def _hollow(model: nn.Module) -> nn.Module | None:
    """A copy without memory for parameters; None if its class cannot be copied."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    memo |= {id(b): torch.empty_like(b, device="meta") for b in model.buffers() if b.is_meta}
    try:
        return copy.deepcopy(model, memo)
    except Exception:  # whatever a user's class does when it is copied
        return None


def _run_rules(model: nn.Module) -> None:
    for module in model.modules():
        for name in _RESETS:
            method = getattr(module, name, None)
            if callable(method):
                with suppress(Exception):  # one that wants arguments, or values
                    method()
    for rule in rules_of(model):
        with suppress(Exception):
            rule.run()


def _constructed(module: nn.Module) -> nn.Module | None:
    """A module of the same class, made by its constructor on the meta device.

    Its arguments are its config and the attributes of the same names; None where one is missing.
    """
    cls = type(module)
    if cls.__module__.startswith("torch."):
        return None  # their `reset_parameters` says all
    try:
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        keywords: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            value = getattr(module, parameter.name, inspect.Parameter.empty)
            given = isinstance(value, _PLAIN) or parameter.name == "config"
            if value is not inspect.Parameter.empty and given:
                keywords[parameter.name] = value
            elif parameter.default is parameter.empty and parameter.name != "device":
                return None
        with torch.device("meta"):
            return cls(**keywords)
    except Exception:  # a constructor that wants more than it keeps
        return None
