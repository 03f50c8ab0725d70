"""Activations that are dead, saturated or of the wrong kind."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo import parts
from zoo.parts import Culprits, Operator, names, zero_bias


def sigmoids(model: nn.Module, _seed: int) -> Culprits:
    """Every activation of a chain of five or more becomes a sigmoid."""
    rows = parts.chain(model)[:-1]
    if len(rows) < 5:
        return None
    for name, _ in parts.activations(model):
        parts.replace(model, name, lambda _: nn.Sigmoid())
    return names(rows)


def saturated(model: nn.Module, _seed: int) -> Culprits:
    """Tanh everywhere, hidden weights twenty times too large."""
    rows = parts.chain(model)[:-1]
    if not rows:
        return None
    for name, _ in parts.activations(model):
        parts.replace(model, name, lambda _: nn.Tanh())
    for _, layer in rows:
        parts.weight(layer).mul_(20)
    return names((*rows, *parts.activations(model)))


class _FunctionalReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x)


def dead(functional_relu: bool) -> Operator:
    """A bias of −10 before a ReLU, which is a module or a function."""

    def plant(model: nn.Module, _seed: int) -> Culprits:
        rows = parts.before_relu(model, (nn.Linear, nn.Conv1d, nn.Conv2d))
        rows = [row for row in rows if parts.bias(row[1]) is not None]
        if not rows:
            return None
        name, layer = rows[len(rows) // 2]
        shift = parts.bias(layer)
        assert shift is not None
        shift.fill_(-10.0 - 5 * float(parts.weight(layer).flatten(1).norm(dim=1).max()))
        if functional_relu:
            for place, module in list(model.named_modules()):
                if isinstance(module, nn.ReLU):
                    parts.replace(model, place, lambda _: _FunctionalReLU())
        return (name,)

    return plant


def negative_weights(model: nn.Module, _seed: int) -> Culprits:
    """−|W| after a ReLU: no unit ever fires."""
    rows = [
        row
        for row in parts.before_relu(model, (nn.Linear, nn.Conv2d))
        if row in parts.hidden(model)
    ]
    if parts.has_norm(model) or len(rows) < 2:
        return None
    name, layer = rows[max(1, len(rows) // 2)]
    values = parts.weight(layer)
    values.copy_(-values.abs())
    zero_bias(layer)
    return (name,)


def dead_norm(model: nn.Module, _seed: int) -> Culprits:
    """A BatchNorm's shift of −8 before a ReLU."""
    rows = parts.before_relu(model, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm))
    if not rows:
        return None
    name, norm = rows[len(rows) // 2]
    norm.bias.detach().fill_(-8.0)
    return (name,)


def large_biases(model: nn.Module, _seed: int) -> Culprits:
    """All hidden biases of a chain at +10: every input gives the same."""
    rows = [row for row in parts.chain(model)[:-1] if parts.bias(row[1]) is not None]
    for _, layer in rows:
        shift = parts.bias(layer)
        assert shift is not None
        shift.fill_(10.0)
    return names(rows) if len(rows) > 2 else None
