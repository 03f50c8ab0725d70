"""Equal units, parallel units, cloned layers, missing rank."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

from zoo import parts
from zoo.parts import Culprits, Operator, names, zero_bias


def constant(value: float, *, biases: bool = True, embeddings: bool = True) -> Operator:
    """All weights one value; biases zero, or as they are."""

    def plant(model: nn.Module, _seed: int) -> Culprits:
        rows = [*parts.layers(model), *(parts.lookups(model) if embeddings else [])]
        for _, layer in rows:
            layer.weight.detach().fill_(value)
            if biases:
                zero_bias(layer)
        if not biases and not any(parts.bias(layer) is not None for _, layer in rows):
            return None
        return names(parts.layers(model))

    return plant


def half_duplicated(model: nn.Module, _seed: int) -> Culprits:
    """The second half of a layer's units copies the first half, in and out."""
    found = parts.pairs(model)
    if not found:
        return None
    (name, first), (_, second) = found[len(found) // 2]
    into, out, shift = parts.weight(first), parts.weight(second), parts.bias(first)
    half = into.shape[0] // 2
    into[half : 2 * half] = into[:half]
    out[:, half : 2 * half] = out[:, :half]
    if shift is not None:
        shift[half : 2 * half] = shift[:half]
    return (name,)


def one_layer_zero(model: nn.Module, _seed: int) -> Culprits:
    """One layer of a plain chain is zero: the units are equal, and what comes before is cut off."""
    rows = parts.chain(model)[:-1]
    if len(rows) < 2:
        return None
    name, layer = rows[len(rows) // 2]
    parts.weight(layer).zero_()
    zero_bias(layer)
    return (name,)


def positive(scaled: bool) -> Operator:
    """`np.random.random` in every hidden weight, as it comes or at He's second moment."""

    def plant(model: nn.Module, seed: int) -> Culprits:
        rows = [row for row in parts.hidden(model) if parts.fan_in(row[1]) >= 16]
        for index, (_, layer) in enumerate(rows):
            values = np.random.default_rng([seed, index]).random(layer.weight.shape)
            factor = math.sqrt(2 * 3 / parts.fan_in(layer)) if scaled else 1.0
            layer.weight.detach().copy_(torch.from_numpy(values * factor))
        return names(rows) if rows and not parts.has_norm(model) else None

    return plant


def shifted_mean(model: nn.Module, _seed: int) -> Culprits:
    """Hidden weights around a mean of one standard deviation instead of zero."""
    rows = [row for row in parts.hidden(model) if parts.fan_in(row[1]) >= 16]
    for _, layer in rows:
        values = layer.weight.detach()
        values.add_(values.std())
    return names(rows)


def cloned_blocks(model: nn.Module, _seed: int) -> Culprits:
    """`copy.deepcopy` of the first block, as `nn.TransformerEncoder` does."""
    culprits: list[str] = []
    for group in parts.blocks(model):
        state = copy.deepcopy(group[0][1].state_dict())
        for name, block in group:
            block.load_state_dict(state)
            culprits.append(name)
    return tuple(culprits) or None


def cloned_pair(model: nn.Module, _seed: int) -> Culprits:
    """The last two of three or more blocks are equal."""
    for group in parts.blocks(model):
        if len(group) > 2:
            (name, first), (other, second) = group[-2:]
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            return name, other
    return None


def reseeded(model: nn.Module, _seed: int) -> Culprits:
    """The seed was set before every layer: hidden layers of one shape are equal."""
    groups = [g for g in parts.alike(model) if parts.weight(g[0][1]).numel() >= 64]
    for group in groups:
        for _, layer in group[1:]:
            layer.weight.detach().copy_(group[0][1].weight.detach())
    return names(row for group in groups for row in group)


# Rank ------


def outer_product(model: nn.Module, seed: int) -> Culprits:
    """One hidden weight is u vᵀ, at its former norm."""
    found = parts.middle(model)
    if found is None or min(parts.weight(found[1]).flatten(1).shape) < 8:
        return None
    name, layer = found
    values, noise = parts.weight(layer), parts.noise_for(name, seed)
    u = torch.randn(values.shape[0], 1, generator=noise)
    v = torch.randn(1, values[0].numel(), generator=noise)
    product = (u @ v).reshape(values.shape)
    values.copy_(product * values.norm() / product.norm())
    return (f"{name}.weight",)


def repeated_shards(model: nn.Module, _seed: int) -> Culprits:
    """Four shards of a weight were drawn with one seed: a block of rows, four times."""
    rows = [r for r in parts.hidden(model) if parts.weight(r[1]).shape[0] % 4 == 0]
    rows = [r for r in rows if parts.weight(r[1])[0].numel() >= parts.weight(r[1]).shape[0] >= 16]
    if not rows:
        return None
    name, layer = rows[len(rows) // 2]
    values = parts.weight(layer)
    quarter = values.shape[0] // 4
    values.copy_(values[:quarter].repeat(4, *([1] * (values.dim() - 1))))
    return (f"{name}.weight",)
