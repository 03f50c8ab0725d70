"""What a calibrating pass knows of a weight and of a call that uses it, and the factor it takes.

A result is u + b with u linear in the weight and b a bias or another addend. The factor f that
gives (1/n) Σ (f·u + b)² = target is the positive root of A·f² + 2·B·f + C = target, with A, B, C
the means of u², u·b and b²; without a bias f = √(target / A).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.measuring.calibrating import Swept
from firstlight.records.network import OperationKind

_HALVES = frozenset({torch.float16, torch.bfloat16})


def mean_square(tensor: Tensor) -> float:
    """Mean of |x|²: one pass, in float64 only where squares leave the range of float32."""
    wide = torch.float32 if tensor.dtype in _HALVES else None
    norm = torch.linalg.vector_norm(tensor, dtype=wide).item()
    if not 1e-15 < norm < 1e18 and tensor.dtype != torch.float64:
        values = tensor.detach().abs() if tensor.is_complex() else tensor.detach()
        norm = torch.linalg.vector_norm(values.to("cpu", torch.float64)).item()
    return float(norm**2 / tensor.numel()) if norm else 0.0


@dataclass
class Weight:
    """A weight under calibration.

    Args:
        tensor: the parameter in the model.
        target: second moment that the results should have.
        current: what the drawn values are multiplied by at the moment.
        fixed: measured only; the pass does not change it.
        probed: fixed, but what follows sees its results at their targets, as in the first pass.
        direct: whether every result was seen to be linear in it: made from its own storage.
        kind: of its first operation; uses of another kind (a tied head) follow.
        factors: for each use in a pass, the factor that would have met the target there.
        errors: for each use, log(second moment / target) of the result as it went on.
        empty: uses whose result was zero or not finite.
        unreachable: uses whose bias alone exceeds the target.
    """

    tensor: nn.Parameter
    target: float
    current: float = 1.0
    fixed: bool = False
    probed: bool = False
    direct: bool = True
    kind: OperationKind | None = None
    factors: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    empty: int = 0
    unreachable: int = 0

    def begin(self) -> None:
        """Forget the last pass."""
        self.factors, self.errors, self.empty, self.unreachable = [], [], 0, 0

    def swept(self) -> Swept:
        """What the last pass found."""
        return Swept(
            factors=[math.log(factor) for factor in self.factors],
            errors=self.errors,
            empty=self.empty,
            unreachable=self.unreachable,
        )

    def set(self, factor: float) -> None:
        """Make the values in the model ``factor`` times those that were drawn."""
        if factor != self.current:
            # Not through autograd: a model may differentiate as it runs.
            self.tensor.data.mul_(factor / self.current)
            self.current = factor


@dataclass(frozen=True, kw_only=True)
class Use:
    """What there is to do at a call, but for the data in it.

    Args:
        weight: that scales the result.
        name: of the weight.
        kind: of the operation.
        bias: what is added to the product, if that is a bias and not zero for the whole pass.
        centred: name of the bias that takes means off, if one shall.
        adds: whether the function's first argument, of whatever kind, is added.
        keyword: that argument where it was named.
        behind: axes of the result behind that of its units.
        in_kernel: whether the result is only looked at beside the kernel that makes it again.
    """

    weight: Weight
    name: str
    kind: OperationKind
    bias: Tensor | None
    centred: str | None
    adds: bool
    keyword: Tensor | None
    behind: int
    in_kernel: bool

    def offset(self, args: tuple[Any, ...], axis: int) -> Tensor | None:
        """What is added to the product, as broadcasts against the result; None for nothing."""
        if self.adds:
            found = args[0] if args else self.keyword
            return found if found is not None and found.any().item() else None
        if self.bias is None or (self.centred is not None and not self.bias.any().item()):
            return None
        return self.bias.reshape(-1, *(1,) * self.behind) if axis >= 0 else self.bias


def factor_of(weight: Weight, product: Tensor, offset: Tensor | None) -> float | None:
    """What the product must be multiplied by to reach the target; None if nothing does."""
    square = mean_square(product)
    if not (0 < square < math.inf):
        weight.empty += product.numel() > 0
        return None
    if offset is None:
        return math.sqrt(weight.target / square)
    mixed = (_mean_where_constant(product, offset) * offset).mean().item()
    constant = mean_square(offset)  # broadcasting repeats each number equally often
    discriminant = mixed**2 + square * (weight.target - constant)
    factor = (math.sqrt(discriminant) - mixed) / square if discriminant > 0 else 0.0
    if factor > 0 and math.isfinite(factor):
        return factor
    weight.unreachable += 1
    return None


def _mean_where_constant(product: Tensor, offset: Tensor) -> Tensor:
    """The mean over the axes along which an offset does not change; these keep length one."""
    lead = product.dim() - offset.dim()
    axes = [i for i in range(product.dim()) if i < lead or offset.shape[i - lead] == 1]
    return product.mean(dim=axes, keepdim=True) if axes else product
