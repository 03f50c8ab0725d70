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


class Passage(NamedTuple):
    """Mean squares by layer, first to last, as a random signal and a random error pass a network.

    Args:
        length: E z² over samples and units: the field's "variance", since weights have mean zero.
        signal: variance of z over samples, mean over units: what tells one sample from another.
        error: E δ² with respect to z, for a random error of variance 1 at the last layer.
    """

    length: tuple[float, ...]
    signal: tuple[float, ...]
    error: tuple[float, ...]

    def per_layer(self) -> tuple[float, float, float]:
        """Factor of one layer, geometric mean: of length, of error (backwards), of signal."""
        steps = len(self.length) - 1
        ends = (self.length[::-1], self.error, self.signal[::-1])
        length, error, signal = ((values[0] / values[-1]) ** (1 / steps) for values in ends)
        return length, error, signal


def passage(
    kind: Callable[[], nn.Module],
    technique: str,
    widths: Sequence[int],
    *,
    factor: float = 1.0,
    samples: int = 256,
    seed: int = 0,
) -> Passage:
    """Send normal inputs of variance 1 forward and a normal error back, in float64.

    Args:
        kind: makes the activation.
        technique: of the registry; there are no biases.
        widths: from the inputs to the outputs, at least three.
        factor: of the variance that the technique gives.
        samples: inputs.
        seed: of weights, inputs and error.
    """
    model = start(mlp(widths, kind, bias=False), technique, seed=seed).double()
    chance = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, widths[0], dtype=torch.float64, generator=chance)
    error = torch.randn(samples, widths[-1], dtype=torch.float64, generator=chance)
    with torch.no_grad():
        for layer in linears(model):
            layer.weight.mul_(factor**0.5)
    found = signals(model, x, error, loss=lambda output, wanted: (output * wanted).sum())
    return Passage(
        tuple(float(z.square().mean()) for z in found.z),
        tuple(float(z.var(0).mean()) for z in found.z),
        tuple(float(delta.square().mean()) for delta in found.delta),
    )


def kept(factor: float) -> str:
    """How well a layer that multiplies by ``factor`` keeps a variance.

    "right" within 5 % (at most 1.6 times in ten layers), "roughly" within 25 % (at most ten times
    in ten layers), else "wrong".

    >>> kept(1.01), kept(0.85), kept(2.0), kept(float("nan"))
    ('right', 'roughly', 'wrong', 'wrong')
    """
    for word, margin in (("right", 1.05), ("roughly", 1.25)):
        if 1 / margin <= factor <= margin:
            return word
    return "wrong"
