"""What each unseen fault does to a model; culprits by name, or None where it does not apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from zoo import parts
from zoo.parts import Culprits, Named, names, noise_for, zero_bias

LONG = 12
"""So many matrices in a row make an expert sure that a factor per layer adds up."""

Law = Callable[[Tensor, nn.Module, torch.Generator], Tensor]
"""(old values with units first, their layer, noise) → new values."""

_SPATIAL = (nn.Conv1d, nn.Conv2d)


def _redraw(rows: list[Named], seed: int, law: Law) -> Culprits:
    """New values in each layer, biases zero."""
    for name, layer in rows:
        values = parts.weight(layer)
        values.copy_(law(values, layer, noise_for(name, seed)))
        zero_bias(layer)
    return names(rows)


def _normal(std: Callable[[Tensor, nn.Module], float]) -> Law:
    return lambda old, layer, noise: std(old, layer) * torch.randn(old.shape, generator=noise)


def _long_chain(model: nn.Module, fewest: int = LONG) -> list[Named]:
    """A long plain chain, head included, that does not normalise itself as SELU does."""
    rows = parts.chain(model)
    selu = any(isinstance(module, nn.SELU) for module in model.modules())
    return [] if selu or len(rows) < fewest else rows


# Scale ---


def bound_as_std(model: nn.Module, seed: int) -> Culprits:
    """√(6/(fan_in + fan_out)) is the bound of Xavier's uniform law; here it is a normal's std."""

    def std(old: Tensor, layer: nn.Module) -> float:
        fan_out = old.shape[0] * old[0, 0].numel()
        return math.sqrt(6 / (parts.fan_in(layer) + fan_out))

    return _redraw(_long_chain(model), seed, _normal(std))


def kernel_forgotten(model: nn.Module, seed: int) -> Culprits:
    """√(2/channels): a hand-written He start that was copied from a dense layer."""
    rows = [r for r in parts.hidden(model) if isinstance(r[1], _SPATIAL)]
    rows = [r for r in rows if parts.weight(r[1])[0, 0].numel() >= 9]
    if parts.has_norm(model) or len(rows) < 4:
        return None
    return _redraw(rows, seed, _normal(lambda old, _: math.sqrt(2 / old.shape[1])))


def half_orthogonal(model: nn.Module, seed: int) -> Culprits:
    """`orthogonal_(weight, 0.5)`, a gain that was meant for one layer."""

    def law(old: Tensor, _layer: nn.Module, noise: torch.Generator) -> Tensor:
        return nn.init.orthogonal_(torch.empty(old.shape), 0.5, generator=noise)

    return _redraw(_long_chain(model), seed, law)


def signs(model: nn.Module, _seed: int) -> Culprits:
    """`weight.data = weight.data.sign()`: binary weights without their scale."""
    rows = parts.hidden(model)
    if parts.has_norm(model) or len(rows) < 3:
        return None
    for _, layer in rows:
        parts.weight(layer).sign_()
    return names(rows)


def clipped(model: nn.Module, _seed: int) -> Culprits:
    """The WGAN clip of ±0.01 runs before the first step instead of after it."""
    rows = _long_chain(model, 5)
    for _, layer in rows:
        for values in layer.parameters(recurse=False):
            values.clamp_(-0.01, 0.01)
    return names(rows)


def leaky_true(model: nn.Module, _seed: int) -> Culprits:
    """`nn.LeakyReLU(True)`: meant in place, read as slope 1; the chain is linear, its gain √2."""
    rows = [r for r in parts.activations(model) if isinstance(r[1], nn.ReLU | nn.LeakyReLU)]
    chain = _long_chain(model)
    if not chain or len(rows) < LONG - 2:
        return None
    for name, _ in rows:
        parts.replace(model, name, lambda _: nn.LeakyReLU(True))
    return names((*rows, *chain[:-1]))


def recurrent_normal(model: nn.Module, seed: int) -> Culprits:
    """`nn.init.normal_` on the recurrent weights, at its default of std 1."""
    found = []
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2].startswith("weight_hh"):
            parameter.copy_(torch.randn(parameter.shape, generator=noise_for(name, seed)))
            found.append(name)
    return tuple(found) or None


def big_head_bias(model: nn.Module, _seed: int) -> Culprits:
    """A class's bias is its count, 100, where the logarithm of its share belongs."""
    found = parts.head(model)
    shift = None if found is None else parts.bias(found[1])
    if found is None or shift is None or shift.numel() < 2:
        return None
    shift[0] = 100.0
    return (found[0],)


def half_precision(model: nn.Module, _seed: int) -> Culprits:
    """Weights 100 times too large that float32 survives and `model.half()` does not."""
    rows = parts.chain(model)[:-1]
    bounded = any(isinstance(module, nn.Tanh | nn.Sigmoid) for module in model.modules())
    if bounded or len(rows) < 4 or not all(isinstance(layer, nn.Linear) for _, layer in rows):
        return None
    for _, layer in rows:
        parts.weight(layer).mul_(100)
    model.half()
    return names(rows)


# Attention, gates and look-ups ---


def attentions(model: nn.Module) -> list[Named]:
    """Modules with their own q, k, v and out, and torch's packed ones."""
    found = []
    for name, module in model.named_modules():
        written = all(hasattr(module, part) for part in ("heads", "q", "k", "v", "out"))
        packed = isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None
        if written or packed:
            found.append((name, module))
    return found


def _matrices(name: str, module: nn.Module) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Names of q, k and v, with weights and biases; of a packed one, its three parts."""
    if isinstance(module, nn.MultiheadAttention):
        weights = module.in_proj_weight.detach().chunk(3)
        biases = module.in_proj_bias.detach().chunk(3) if module.in_proj_bias is not None else None
        return {
            f"{name}.in_proj_weight#{i}": (w, biases[i] if biases else None)
            for i, w in enumerate(weights)
        }
    layers = {f"{name}.{part}": module.get_submodule(part) for part in "qkv"}
    return {n: (parts.weight(layer), parts.bias(layer)) for n, layer in layers.items()}


def equal_heads(model: nn.Module, _seed: int) -> Culprits:
    """One head was converted and tiled, in q, k, v and in the columns of the output."""
    culprits: list[str] = []
    for name, module in attentions(model):
        packed = isinstance(module, nn.MultiheadAttention)
        heads = int(module.num_heads if packed else module.heads)
        out = parts.weight(module.out_proj if packed else module.out)
        if heads < 2:
            continue
        size = out.shape[1] // heads
        out.copy_(out[:, :size].repeat(1, heads))
        for weight, shift in _matrices(name, module).values():
            times = weight.shape[0] // size
            weight.copy_(weight[:size].repeat(times, 1))
            if shift is not None:
                shift.copy_(shift[:size].repeat(times))
        culprits.append(name)
    return tuple(culprits) or None


def hot_attention(model: nn.Module, seed: int) -> Culprits:
    """Queries and keys from N(0, 1): their products are in the hundreds, each softmax is hard."""
    culprits: set[str] = set()
    for name, module in attentions(model):
        for part, (weight, _) in list(_matrices(name, module).items())[:2]:
            weight.copy_(torch.randn(weight.shape, generator=noise_for(part, seed)))
            culprits.add(part.partition("#")[0])
    return tuple(sorted(culprits)) or None


_GATED = (nn.LSTM, nn.LSTMCell, nn.GRU, nn.GRUCell)


def closed_gates(model: nn.Module, _seed: int) -> Culprits:
    """Biases of ±20 that close every gate for good: nothing is written, nothing is read."""
    culprits: list[str] = []
    for name, module in model.named_modules():
        last = name.split(".")[-2:]
        shift = parts.bias(module)
        if isinstance(module, _GATED):
            for key, values in module.named_parameters():
                if key.startswith("bias_ih"):
                    chunks = values.detach().chunk(4 if "LSTM" in type(module).__name__ else 3)
                    if len(chunks) == 3:
                        chunks[1].fill_(20.0)  # reset, update, new: an update of 1 keeps the state
                    else:
                        for chunk in (chunks[0], chunks[1], chunks[3]):
                            chunk.fill_(-20.0)
            culprits.append(name)
        elif {"gate", "gates"} & set(last) and shift is not None:
            shift.fill_(-20.0)
            culprits.append(name)
    return tuple(culprits) or None


def one_vector(model: nn.Module, _seed: int) -> Culprits:
    """The vocabulary did not match, and every word got the vector of the unknown one."""
    rows = [r for r in parts.lookups(model) if r[1].weight.shape[0] >= 100]
    for _, table in rows:
        table.weight.copy_(table.weight[3].clone())
    return names(rows)


def near_copies(model: nn.Module, seed: int) -> Culprits:
    """A layer was widened from one unit: each is that unit and one percent of noise."""
    rows = [r for r in parts.hidden(model) if not hasattr(r[1], "mask")]
    rows = [r for r in rows if parts.weight(r[1]).shape[0] >= 16 and parts.fan_in(r[1]) >= 16]
    if not rows:
        return None
    name, layer = rows[len(rows) // 2]
    values = parts.weight(layer)
    noise = torch.randn(values.shape, generator=noise_for(name, seed))
    values.copy_(values[:1].expand_as(values).clone() + 0.01 * values[0].std() * noise)
    return (name,)


# Norms ---


def norms_shifted(model: nn.Module, _seed: int) -> Culprits:
    """Every norm before a ReLU is shifted by +5, "to keep the units alive": none ever bends."""
    rows = parts.before_relu(model, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm))
    for _, norm in rows:
        norm.bias.fill_(5.0)
    return names(rows) if len(rows) > 2 else None


def large_epsilon(model: nn.Module, _seed: int) -> Culprits:
    """1e5 where 1e-5 was meant: each norm divides by 316."""
    rows = [
        (name, module)
        for name, module in model.named_modules()
        if type(module).__name__.endswith(("Norm", "Norm1d", "Norm2d", "Norm3d"))
        and hasattr(module, "eps")
        and not type(module).__name__.startswith("_")
    ]
    for _, norm in rows:
        norm.eps = 1e5
    return names(rows) if len(rows) > 2 else None


# Functions with the wrong gradient ---


class _Root(nn.Module):
    """√max(x, 0), by a mask: finite, and its gradient at zero is ∞ · 0."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * (x > 0)).sqrt()  # √relu(x) would not do: relu selects, it does not multiply


def root_at_zero(model: nn.Module, _seed: int) -> Culprits:
    """A square root of what a mask set to zero: values are fine, gradients are no numbers."""
    rows = [row for row in parts.activations(model) if isinstance(row[1], nn.ReLU)]
    if not rows:
        return None
    name = rows[len(rows) // 2][0]
    parts.replace(model, name, lambda _: _Root())
    return (name,)


def _quantised(output: Any) -> Any:
    """All of an output that is a tensor."""

    def rounded_one(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        step = x.detach().std() / 8
        return torch.round(x / step) * step

    return tree_map(rounded_one, output)


def rounded(model: nn.Module, _seed: int) -> Culprits:
    """Fake quantisation without the straight-through estimator: the gradient of round is zero."""
    groups, rows = parts.blocks(model), parts.chain(model)[:-1]
    chosen = rows if len(rows) > 2 else groups[0] if groups else []
    if not chosen:
        return None
    chosen = chosen[: len(chosen) // 2 + 1]
    parts.replace(model, chosen[-1][0], lambda m: parts.Wrapped(m, _quantised))
    return names(chosen)


# Heads and data ---


def targets(model: nn.Module, _seed: int) -> Culprits:
    """The model stays; its targets are spoiled. The head that must reach them may be named too."""
    found = parts.head(model)
    return ("target", "loss", *(() if found is None else (found[0],)))


# Controls ---


def negated(model: nn.Module, _seed: int) -> Culprits:
    """All weights times −1: the same law."""
    rows = parts.layers(model)
    for _, layer in rows:
        parts.weight(layer).neg_()
    return names(rows)


def doubled_relu(model: nn.Module, _seed: int) -> Culprits:
    """Each ReLU twice: the same function."""
    rows = [row for row in parts.activations(model) if isinstance(row[1], nn.ReLU)]
    for name, _ in rows:
        parts.replace(model, name, lambda _: nn.Sequential(nn.ReLU(), nn.ReLU()))
    return names(rows)


def linear_probe(model: nn.Module, _seed: int) -> Culprits:
    """Only the head is trained, on purpose."""
    found = parts.head(model)
    if found is None or sum(p is found[1].weight for p in _all_weights(model)) != 1:
        return None
    model.requires_grad_(False)
    found[1].requires_grad_(True)
    return (found[0],)


def _all_weights(model: nn.Module) -> list[Tensor]:
    return [w for m in model.modules() if (w := m._parameters.get("weight")) is not None]


def double_precision(model: nn.Module, _seed: int) -> Culprits:
    """`model.double()`."""
    model.double()
    return ("input",)
