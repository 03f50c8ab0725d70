"""Elementwise steps of a model, run again on other numbers: a function from NumPy to NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.frameworks.torch.beside import has_values
from firstlight.frameworks.torch.steps import CASTS, At, Scalar, Step
from firstlight.theory.formulas import Array, Elementwise

Program = tuple[Step, ...]
"""Steps whose operands are numbered: 0 is the signal that goes in, k the result of the k-th."""

_ROUNDING = 64
"""Units in the last place, of the largest value, by which a replay may differ: other instructions
serve a few elements than serve many."""


def run(program: Program, x: Tensor) -> Tensor:
    """The result of the last step for a tensor that goes in, which is left as it is."""
    results = [x]
    for step in program:
        results.append(_call(step, results))
    return results[-1]


def _call(step: Step, results: Sequence[Tensor]) -> Tensor:
    x = results[0]

    def value(operand: Any) -> Any:
        if isinstance(operand, At):
            # Copied, because some functions write into what they get.
            return results[operand.index].clone()
        if isinstance(operand, Step):
            return _call(operand, results)
        if isinstance(operand, Scalar):
            return torch.tensor(operand.value, dtype=x.dtype, device=x.device)
        return operand

    args = [value(operand) for operand in step.args]
    if step.name in CASTS:  # of a mask; the type is that of this replay
        return args[0].to(x.dtype)  # type: ignore[no-any-return]
    result: Tensor = step.func(*args, **{name: value(o) for name, o in step.keywords})
    return result


def agrees(program: Program, before: Tensor, after: Tensor) -> bool:
    """Whether the steps make of a few elements what the model made of them, to rounding.

    Args:
        program: the steps.
        before: elements of the signal that went in.
        after: the same elements of what came out.
    """
    if not (has_values(before) and has_values(after)):
        return before.shape == after.shape  # on the meta device; there is nothing to compare
    try:
        with torch.no_grad():
            again = run(program, before)
    except Exception:  # whatever a function says of other numbers, it is not known
        return False
    if not isinstance(again, Tensor) or again.shape != after.shape or not after.numel():
        return False
    if not bool(torch.isfinite(after).all()):
        return False
    precision = max(torch.finfo(t.dtype).eps for t in (before, again, after))
    wanted, got = after.to("cpu", torch.float64), again.to("cpu", torch.float64)
    allowed = _ROUNDING * precision * float(wanted.abs().max())
    return bool(((wanted - got).abs() <= allowed).all())


def function_of(program: Program) -> Elementwise:
    """φ of float64 arrays."""

    def function(x: Array) -> Array:
        with torch.no_grad():
            result: Array = run(program, _tensor(x)).numpy()
        return result

    return function


def derivative_of(program: Program) -> Elementwise:
    """φ′ of float64 arrays, by automatic differentiation; zero where no step has one."""

    def derivative(x: Array) -> Array:
        with torch.inference_mode(False), torch.enable_grad():
            given = _tensor(x).requires_grad_()
            value = run(program, given)
            if not value.requires_grad:
                return np.zeros_like(x)
            (slope,) = torch.autograd.grad(value.sum(), given, allow_unused=True)
        return np.zeros_like(x) if slope is None else slope.numpy()

    return derivative


def _tensor(x: Array) -> Tensor:
    return torch.from_numpy(np.array(x, dtype=np.float64))
