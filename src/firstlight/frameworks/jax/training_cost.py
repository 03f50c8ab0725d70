"""What a training step costs, counted in its program: never by the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


@dataclass
class Cost:
    """Counts of one step of one model.

    Args:
        flops: floating-point operations of its products.
        operations: how many steps its program has.
        kept: numbers in the results of products.
        convolves: whether there is a convolution.
    """

    flops: int = 0
    operations: int = 0
    kept: int = 0
    convolves: bool = False


def cost_of(function: Callable[..., Any], *args: Any) -> Cost:
    """The cost of a function, traced on ``args`` and not computed."""
    cost = Cost()
    _count(jax.make_jaxpr(function)(*args).jaxpr, cost, 1)
    return cost


def _count(jaxpr: Jaxpr, cost: Cost, times: int) -> None:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = [p for value in equation.params.values() for p in _programs(value)]
        if inner:
            repeated = times * int(equation.params.get("length", 1)) if name == "scan" else times
            for program in inner:
                _count(program, cost, repeated)
            continue
        cost.operations += times
        result = prod(equation.outvars[0].aval.shape) if equation.outvars else 0  # type: ignore[attr-defined]
        shapes = [getattr(v.aval, "shape", ()) for v in equation.invars]
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            terms = prod(shapes[0][axis] for axis in contracted)
            cost.flops += 2 * result * terms * times
            cost.kept += result * times
        elif name == "conv_general_dilated":
            cost.convolves = True
            kernel = shapes[1]
            out = equation.params["dimension_numbers"].rhs_spec[0]
            cost.flops += 2 * result * prod(kernel) // max(1, kernel[out]) * times
            cost.kept += result * times


def _programs(value: Any) -> list[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    if isinstance(value, tuple | list):
        return [program for item in value for program in _programs(item)]
    return []
