"""Weights of the wrong scale, norms among them, and values that are no numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

from zoo import parts
from zoo.parts import Culprits, Named, Operator, names, zero_bias

DEEP = 9
"""So many layers of a chain let a gain that is wrong by two become an end-to-end factor of 250."""


def _deep_chain(model: nn.Module) -> list[Named]:
    """Hidden layers of a deep plain chain that does not normalise itself, as SELU does."""
    rows = parts.chain(model)[:-1]
    selu = any(isinstance(module, nn.SELU) for module in model.modules())
    return rows if len(rows) >= DEEP and not selu else []


def gain(factor: float) -> Operator:
    """N(0, factor²·2/fan_in) in all hidden weights of a deep plain chain, biases zero."""

    def plant(model: nn.Module, seed: int) -> Culprits:
        rows = _deep_chain(model)
        for name, layer in rows:
            values = parts.weight(layer)
            noise = torch.randn(values.shape, generator=parts.noise_for(name, seed))
            values.copy_(noise * factor * math.sqrt(2 / parts.fan_in(layer)))
            zero_bias(layer)
        return names(rows)

    return plant


def torch_default(model: nn.Module, seed: int) -> Culprits:
    """`reset_parameters()`: U(±1/√fan_in) in a deep plain chain."""
    rows = _deep_chain(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _, layer in rows:
            layer.reset_parameters()
    return names(rows)


def same_std(std: float, *, chains: bool) -> Operator:
    """N(0, std²) everywhere, whatever the fans."""

    def plant(model: nn.Module, seed: int) -> Culprits:
        rows = parts.chain(model) if chains else parts.layers(model)
        if len(rows) < 4:
            return None
        for name, layer in rows:
            values = parts.weight(layer)
            values.copy_(std * torch.randn(values.shape, generator=parts.noise_for(name, seed)))
            zero_bias(layer)
        return names(rows)

    return plant


def one_layer(factor: float) -> Operator:
    """One hidden weight of a plain chain times a factor."""

    def plant(model: nn.Module, _seed: int) -> Culprits:
        rows = parts.chain(model)[:-1]
        if len(rows) < 2:
            return None
        name, layer = rows[len(rows) // 2]
        parts.weight(layer).mul_(factor)
        return (name,)

    return plant


def big_head(model: nn.Module, _seed: int) -> Culprits:
    """The head's weight times fifty."""
    found = parts.head(model)
    if found is None or not parts.weight(found[1]).any():
        return None
    parts.weight(found[1]).mul_(50)
    return (found[0],)


def big_embedding(model: nn.Module, _seed: int) -> Culprits:
    """Token embeddings times fifty."""
    rows = [row for row in parts.lookups(model) if row[1].weight.shape[0] >= 100]
    for _, table in rows[:1]:
        table.weight.detach().mul_(50)
    return names(rows[:1])


def zero_embedding(model: nn.Module, _seed: int) -> Culprits:
    """Token embeddings, and all positions and types, zero."""
    rows = parts.lookups(model)
    for _, table in rows:
        table.weight.detach().zero_()
    return names(rows)


def big_branches(model: nn.Module, _seed: int) -> Culprits:
    """The last weight of each feed-forward branch times ten: the depth scaling is missing."""
    rows = [second for _, second in parts.pairs(model)] if not parts.chain(model) else []
    for _, layer in rows:
        parts.weight(layer).mul_(10)
    return names(rows) if len(rows) > 1 else None


def before_norm(factor: float) -> Operator:
    """A layer before a BatchNorm times a factor: the signal is as before, the steps are not."""

    def plant(model: nn.Module, _seed: int) -> Culprits:
        rows: list[Named] = []
        for path, module in model.named_modules():
            children = list(module.named_children())
            for (name, first), (_, second) in pairwise(children):
                dense = isinstance(first, nn.Linear | nn.Conv1d | nn.Conv2d)
                if dense and isinstance(second, nn.BatchNorm1d | nn.BatchNorm2d):
                    rows.append((f"{path}.{name}".lstrip("."), first))
        if not rows:
            return None
        name, layer = rows[len(rows) // 2]
        parts.weight(layer).mul_(factor)
        return (f"{name}.weight",)

    return plant


def norm_scales(std: float) -> Operator:
    """Every norm's scale drawn from N(0, std²); zero for std 0."""

    def plant(model: nn.Module, seed: int) -> Culprits:
        rows = parts.norms(model)
        noise = torch.Generator().manual_seed(seed)
        for _, norm in rows:
            scale = norm.weight.detach()
            scale.copy_(std * torch.randn(scale.shape, generator=noise))
        return names(rows) if len(rows) > 2 else None

    return plant


# Values that are no numbers ---


def one_value(value: float) -> Operator:
    """One element of a hidden weight."""

    def plant(model: nn.Module, _seed: int) -> Culprits:
        found = parts.middle(model)
        if found is None:
            return None
        found[1].weight.detach().view(-1)[1] = value
        return (f"{found[0]}.weight",)

    return plant


def unfilled(model: nn.Module, seed: int) -> Culprits:
    """`torch.empty`: bits of other data, some of them 1e37."""
    found = parts.middle(model)
    if found is None:
        return None
    values = parts.weight(found[1])
    noise = parts.noise_for(found[0], seed)
    exponent = 75 * torch.rand(values.shape, generator=noise) - 38
    values.copy_(10**exponent * torch.randn(values.shape, generator=noise).sign())
    return (f"{found[0]}.weight",)


def nan_bias(model: nn.Module, _seed: int) -> Culprits:
    """A norm's shift that a sharded load forgot."""
    rows = [r for r in parts.norms(model) if parts.bias(r[1]) is not None]
    if not rows:
        return None
    name, norm = rows[len(rows) // 2]
    norm.bias.detach().fill_(math.nan)
    return (f"{name}.bias",)
