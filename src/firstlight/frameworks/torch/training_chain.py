"""Chains of linear layers and elementwise functions, run for n networks by batched products.

One `torch.baddbmm` per layer does what the general way (`torch.func.vmap`) does in a product and
a sum; ``benchmarks/race_speed.py`` prints both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Chain = Callable[[Mapping[str, Tensor], Tensor], Tensor]
_Link = Callable[[Mapping[str, Tensor], Tensor], Tensor]

ELEMENTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Tanh,
    nn.Hardtanh,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Softplus,
    nn.Softsign,
    nn.Tanhshrink,
    nn.Identity,
    nn.Dropout,
)


def chain_of(model: nn.Module) -> Chain | None:
    """The batched form of a model that is nothing but such a chain; None for any other.

    It takes tensors by name and inputs, both with a leading axis of n networks. The modules of
    ``model`` that have no parameters are used as they are, in their present mode.
    """
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    links: list[_Link] = []
    for module in _leaves(model):
        link = _link(module, names)
        if link is None:
            return None
        links.append(link)

    def run(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
        for link in links:
            x = link(tensors, x)
        return x

    return run


def _leaves(module: nn.Module) -> list[nn.Module]:
    # A hook may do anything: the container is then no chain.
    if type(module) is nn.Sequential and not _hooked(module):
        return [leaf for child in module for leaf in _leaves(child)]
    return [module]


def _hooked(module: nn.Module) -> bool:
    hooks: tuple[Any, ...] = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module)


def _link(module: nn.Module, names: Mapping[int, str]) -> _Link | None:
    if _hooked(module):
        return None
    if type(module) is nn.Linear:
        weight = names[id(module.weight)]
        bias = None if module.bias is None else names[id(module.bias)]
        return lambda tensors, x: _linear(
            x, tensors[weight], None if bias is None else tensors[bias]
        )
    if type(module) is nn.Flatten and module.start_dim >= 1:
        start, end = module.start_dim + 1, module.end_dim + (module.end_dim >= 0)
        return lambda _, x: x.flatten(start, end)
    if type(module) in ELEMENTWISE:
        return lambda _, x: _elementwise(module, x)
    return None


def _elementwise(module: nn.Module, x: Tensor) -> Tensor:
    if getattr(module, "inplace", False):
        # In a chain nobody else looks at what it would write over.
        module = copy.copy(module)
        module.inplace = False  # type: ignore[assignment]
    result: Tensor = module(x)
    return result


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = x.flatten(1, -2) if x.dim() > 3 else x
    transposed = weight.transpose(1, 2)
    if bias is None:
        out = torch.bmm(rows, transposed)
    else:
        out = torch.baddbmm(bias.unsqueeze(1), rows, transposed)
    return out.unflatten(1, x.shape[1:-1]) if x.dim() > 3 else out
