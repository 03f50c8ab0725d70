"""Small networks, how they start, and what passes through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

import firstlight as fl

Model = TypeVar("Model", bound=nn.Module)
Filler = str | float | Callable[[Tensor], object]


def mlp(
    widths: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    norm: Callable[[int], nn.Module] | None = None,
    bias: bool = True,
) -> nn.Sequential:
    """Linear layers with an activation after each but the last.

    Args:
        widths: from the inputs to the outputs, at least two.
        activation: makes the activation, as ``nn.ReLU``.
        norm: makes what stands between a hidden layer and its activation, as ``nn.BatchNorm1d``.
        bias: whether the layers have biases.

    >>> mlp((64, 16, 10))
    Sequential(
      (0): Linear(in_features=64, out_features=16, bias=True)
      (1): ReLU()
      (2): Linear(in_features=16, out_features=10, bias=True)
    )
    """
    parts: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        if i:
            parts.append(activation())
        parts.append(nn.Linear(n_in, n_out, bias=bias))
        if norm is not None and i < len(widths) - 2:
            parts.append(norm(n_out))
    return nn.Sequential(*parts)


def linears(model: nn.Module) -> list[nn.Linear]:
    """The linear layers, first to last."""
    return [part for part in model.modules() if isinstance(part, nn.Linear)]


def start(model: Model, weight: Filler, *, bias: float = 0.0, seed: int = 0) -> Model:
    """Fill the weights of all linear layers, set their biases, and return the model.

    Args:
        model: changed in place.
        weight: a technique of the registry (``he_normal``), a constant, or a function that fills a
            tensor in place.
        bias: constant of all biases.
        seed: of the draws; a function that fills draws from torch's generator, seeded by it.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        for i, layer in enumerate(linears(model)):
            if isinstance(weight, str):
                values = fl.draw(weight, tuple(layer.weight.shape), name=f"{i}.weight", seed=seed)
                layer.weight.copy_(torch.from_numpy(values))
            elif callable(weight):
                weight(layer.weight)
            else:
                layer.weight.fill_(weight)
            if layer.bias is not None:
                layer.bias.fill_(bias)
    return model


class Signals(NamedTuple):
    """What passes each linear layer, first to last.

    Args:
        z: what the layers give (pre-activations; logits at the end), (samples, units).
        delta: gradient of the loss with respect to each ``z``; empty without a loss.
        loss: the loss, NaN without one.
    """

    z: list[Tensor]
    delta: list[Tensor]
    loss: float


def signals(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
) -> Signals:
    """One forward pass, and one backward pass if there is a target.

    Gradients of the parameters are left in ``.grad``, freshly made.
    """
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: object, z: Tensor) -> None:
        if z.requires_grad:
            z.retain_grad()
        seen.append(z)

    hooks = [layer.register_forward_hook(keep) for layer in linears(model)]
    try:
        output = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if y is None:
        return Signals([z.detach() for z in seen], [], float("nan"))
    model.zero_grad()
    value = loss(output, y)
    value.backward()
    delta = [torch.zeros_like(z) if z.grad is None else z.grad for z in seen]
    return Signals([z.detach() for z in seen], delta, float(value.detach()))


def alikeness(rows: Tensor) -> float:
    """Mean cosine between all pairs of rows: 1 if all point the same way, about 0 if random.

    >>> alikeness(torch.tensor([[3.0, 0.0], [5.0, 0.0]])), alikeness(torch.eye(3))
    (1.0, 0.0)
    """
    n = len(rows)
    unit = nn.functional.normalize(rows.detach().double(), dim=1)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1)))
