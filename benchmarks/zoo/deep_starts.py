"""Every start that is raced on `zoo.deep`, as its authors state it; each draws by one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import firstlight as fl
from zoo import starts
from zoo.deep import Residual, ResNet, Transformer

Start = Callable[[nn.Module, Tensor, Tensor, int], None]
"""Changes a model in place; knows one batch of inputs and targets, and a seed."""

KNOWN = 64
"""Samples that a start may look at."""


def plan(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> None:
    """`firstlight.initialize`, nothing tuned."""
    fl.initialize(model, x, target=y, seed=seed)


def _blind(start: Callable[[nn.Module], None]) -> Start:
    """A start that needs no data."""

    def drawn(model: nn.Module, _x: Tensor, _y: Tensor, seed: int) -> None:
        torch.manual_seed(seed)
        with torch.no_grad():
            start(model)

    return drawn


def _rival(name: str) -> Start:
    return lambda model, x, _y, seed: starts.RIVALS[name](model, x, seed)


def _layers(model: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            yield module


def _without_biases(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2].endswith("bias"):
            nn.init.zeros_(parameter)


def he(model: nn.Module) -> None:
    """He et al. 2015: N(0, 2/fan_in), zero biases."""
    _without_biases(model)
    for layer in _layers(model):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def glorot(model: nn.Module) -> None:
    """Xavier on every matrix, as `nn.Transformer` does it."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def orthogonal(model: nn.Module) -> None:
    """Saxe et al. 2014: kernels as matrices (out, in × kernel), gain √2 for ReLU."""
    _without_biases(model)
    for layer in _layers(model):
        nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))


def delta_orthogonal(model: nn.Module) -> None:
    """Xiao et al. 2018: an orthogonal matrix in the centre of the kernel, gain √2 for ReLU."""
    orthogonal(model)
    for layer in _layers(model):
        if isinstance(layer, nn.Conv2d):
            rows, columns = layer.kernel_size[0] // 2, layer.kernel_size[1] // 2
            nn.init.zeros_(layer.weight)
            nn.init.orthogonal_(layer.weight[:, :, rows, columns], nn.init.calculate_gain("relu"))


def fixup(model: nn.Module) -> None:
    """Zhang et al. 2019: head and last of each branch zero, first × L^-½; no scalars are added."""
    assert isinstance(model, ResNet)
    he(model)
    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    for block in blocks:
        block.conv1.weight.mul_(len(blocks) ** -0.5)
        nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(model.head.weight)


def _scaled_branches(model: Transformer, gain: float) -> None:
    """Xavier on q, k, v apart, the output and the MLP; v, output and MLP times a gain."""
    for layer in model.layers:
        q, k, v = layer.self_attn.in_proj_weight.chunk(3)
        for part in (q, k):
            nn.init.xavier_normal_(part)
        for part in (
            v,
            layer.self_attn.out_proj.weight,
            layer.linear1.weight,
            layer.linear2.weight,
        ):
            nn.init.xavier_normal_(part, gain)
    _without_biases(model)


def t_fixup(model: nn.Module) -> None:
    """Huang et al. 2020, encoder: × 0.67 N^-¼, the entry N(0, 1/d). Its norms stay: no surgery."""
    assert isinstance(model, Transformer)
    _scaled_branches(model, 0.67 * len(model.layers) ** -0.25)
    nn.init.normal_(model.enter.weight, std=model.enter.out_features**-0.5)


def deepnorm(model: nn.Module) -> None:
    """Wang et al. 2022, encoder: β = (8N)^-¼ as a start alone; the skip's α would be surgery."""
    assert isinstance(model, Transformer)
    _scaled_branches(model, (8 * len(model.layers)) ** -0.25)


STARTS: dict[str, Start] = {
    "plan": plan,
    "default": _rival("own"),
    "he": _blind(he),
    "glorot": _blind(glorot),
    "orthogonal": _blind(orthogonal),
    "delta-orthogonal": _blind(delta_orthogonal),
    "fixup": _blind(fixup),
    "t-fixup": _blind(t_fixup),
    "deepnorm": _blind(deepnorm),
    "lsuv": _rival("lsuv"),
    "anyinit": _rival("anyinit"),
}
