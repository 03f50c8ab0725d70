"""Finding the parts of a model in which a fault can be planted.

By type and name, never by Firstlight's own reading, which is what is on trial.
"""

# ruff: noqa: D102

from __future__ import annotations

import itertools
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Named = tuple[str, nn.Module]
Culprits = tuple[str, ...] | None
Operator = Callable[[nn.Module, int], Culprits]
"""Changes a model in place, by seed."""

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_HEADS = {"head", "lm_head", "classifier", "out", "qa_outputs", "out_proj", "score", "linear_out"}
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.SELU, nn.Mish)
# A first component of a name, and what stands in its place in the layer that reads its output.
_FOLLOWED = {
    "up": "down",
    "fc1": "fc2",
    "c_fc": "c_proj",
    "intermediate": "output",
    "dense_h_to_4h": "dense_4h_to_h",
    "lin1": "lin2",
    "wi": "wo",
    "linear1": "linear2",
    "pwconv1": "pwconv2",
}


def layers(model: nn.Module) -> list[Named]:
    """Dense and convolutional layers with a trainable weight of their own, each weight once."""
    found: dict[int, Named] = {}
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")
        dense = isinstance(module, _LAYERS) or type(module).__name__ == "Conv1D"
        if dense and weight is not None and weight.requires_grad:
            found.setdefault(id(weight), (name, module))
    return list(found.values())


def head(model: nn.Module) -> Named | None:
    """The layer that makes the logits, by its name, or the last of a plain chain."""
    rows = layers(model)
    if isinstance(model, nn.Sequential):
        return rows[-1] if rows else None
    named = [row for row in rows if row[0].split(".")[-1] in _HEADS]
    short = [row for row in named if row[0].count(".") <= 1]
    return short[-1] if short else None


def hidden(model: nn.Module) -> list[Named]:
    """All layers but the head."""
    last = head(model)
    return [row for row in layers(model) if last is None or row[0] != last[0]]


def middle(model: nn.Module) -> Named | None:
    """A hidden layer half-way."""
    rows = hidden(model)
    return rows[len(rows) // 2] if rows else None


def norms(model: nn.Module) -> list[Named]:
    """Normalization layers whose scale is one now (Gemma's is 1 + weight, which is zero)."""
    found = []
    for name, module in model.named_modules():
        scale = module._parameters.get("weight")
        if "Norm" in type(module).__name__ and scale is not None and bool((scale > 0.5).all()):
            found.append((name, module))
    return found


def has_norm(model: nn.Module) -> bool:
    """Whether anything normalises, with or without a scale."""
    return any("Norm" in type(module).__name__ for module in model.modules())


def chain(model: nn.Module) -> list[Named]:
    """The layers of a plain chain without norms or skips; empty for anything else."""
    if not isinstance(model, nn.Sequential) or has_norm(model):
        return []
    return [row for row in layers(model) if "." not in row[0]]


def activations(model: nn.Module) -> list[Named]:
    """Activations that are modules."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, _ACTIVATIONS)]


def before_relu(model: nn.Module, of: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[Named]:
    """Modules of a type that stand directly before an `nn.ReLU` in a sequence."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            rows = list(module.named_children())
            for (name, first), (_, second) in itertools.pairwise(rows):
                if isinstance(first, of) and isinstance(second, nn.ReLU):
                    found.append((f"{path}.{name}".lstrip("."), first))
    return found


def out_axis(layer: nn.Module) -> int:
    """The axis of a layer's weight that counts its units."""
    return 1 if isinstance(layer, _TRANSPOSED) or type(layer).__name__ == "Conv1D" else 0


def weight(layer: nn.Module) -> Tensor:
    """A layer's weight as plain values, units first; writing into it changes the layer."""
    values: Tensor = layer.weight.detach()
    return values.transpose(0, 1) if out_axis(layer) else values


def bias(layer: nn.Module) -> Tensor | None:
    """A layer's bias as plain values."""
    found = layer._parameters.get("bias")
    return None if found is None else found.detach()


def fan_in(layer: nn.Module) -> int:
    """Number of inputs of one unit."""
    return weight(layer)[0].numel()


def pairs(model: nn.Module) -> list[tuple[Named, Named]]:
    """Two layers of which the second alone reads the first's units, through an activation."""
    rows = dict(layers(model))
    found: list[tuple[Named, Named]] = []
    for name, layer in rows.items():
        parts = name.split(".")
        for index, part in enumerate(parts):
            if part in _FOLLOWED:
                other = ".".join([*parts[:index], _FOLLOWED[part], *parts[index + 1 :]])
                gated = ".".join([*parts[:index], "gate", *parts[index + 1 :]]) in rows
                if other in rows and not gated and _fit(layer, rows[other]):
                    found.append(((name, layer), (other, rows[other])))
    plain = chain(model)
    for first, second in itertools.pairwise(plain):
        if _fit(first[1], second[1]):
            found.append((first, second))
    return found


def _fit(first: nn.Module, second: nn.Module) -> bool:
    plain = getattr(first, "groups", 1) == 1 and getattr(second, "groups", 1) == 1
    return plain and weight(first).shape[0] == weight(second).shape[1]


def blocks(model: nn.Module) -> list[list[Named]]:
    """Groups of alike blocks (same class, same shapes, two matrices or more) in one list."""
    groups: dict[tuple[object, ...], list[Named]] = defaultdict(list)
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        for name, child in module.named_children():
            shapes = tuple(p.shape for p in child.parameters())
            if sum(len(s) > 1 for s in shapes) > 1 and not isinstance(child, nn.ModuleList):
                key = (path, type(child), shapes)
                groups[key].append((f"{path}.{name}".lstrip("."), child))
    return [group for group in groups.values() if len(group) > 1]


def alike(model: nn.Module) -> list[list[Named]]:
    """Groups of hidden layers of one shape."""
    groups: dict[tuple[object, ...], list[Named]] = defaultdict(list)
    for name, layer in hidden(model):
        groups[type(layer), weight(layer).shape].append((name, layer))
    return [group for group in groups.values() if len(group) > 1]


def replace(model: nn.Module, name: str, change: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``change(module)`` in the place of a submodule."""
    model.set_submodule(name, change(model.get_submodule(name)))


class Wrapped(nn.Module):
    """A module, and something done to its output."""

    def __init__(self, inner: nn.Module, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.after = after

    def forward(self, *args: Tensor, **keywords: Tensor) -> Tensor:
        return self.after(self.inner(*args, **keywords))

    def __getattr__(self, name: str) -> Any:
        """Models ask their heads for a weight, and their blocks for what is in them."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


def noise_for(name: str, seed: int) -> torch.Generator:
    """A generator for values that replace a layer's: another one for each name."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))


def names(rows: Iterable[Named]) -> Culprits:
    """The names of what was spoiled; None if nothing was."""
    return tuple(name for name, _ in rows) or None


def zero_bias(layer: nn.Module) -> None:
    """Set a bias to zero where there is one."""
    shift = bias(layer)
    if shift is not None:
        shift.zero_()


def lookups(model: nn.Module) -> list[Named]:
    """Embedding tables."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Embedding)]
