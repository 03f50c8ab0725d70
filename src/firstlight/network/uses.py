"""The axes of raw parameters, read from the products in which they stand.

Where no module says what an axis does (LoRA factors, stacked experts, plain functions of arrays),
the use says it: which operand the array is, and which axes are summed away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from firstlight.records.network import Layout, Parameter
from firstlight.theory.fans import fans


@dataclass(frozen=True)
class Use:
    """One operand of a product: its shape there, what its axes do, and the strides of a kernel."""

    shape: tuple[int, ...]
    roles: tuple[str, ...]
    stride: tuple[int, ...] = ()
    transposed: bool = False


def _view_roles(shape: tuple[int, ...], use: Use) -> tuple[str, ...] | None:
    """The roles of a parameter's own axes, from those of what was made of it by view or index."""
    if shape == use.shape:
        return use.roles
    swapped = (*shape[:-2], *shape[:-3:-1])
    if swapped == use.shape:
        return (*use.roles[:-2], *use.roles[:-3:-1])
    for extra in range(1, len(shape)):  # one of a stack: ``weight[expert]``
        rest, roles = shape[extra:], use.roles
        if rest != use.shape and rest[::-1] == use.shape and len(rest) == 2:
            rest, roles = rest[::-1], roles[::-1]
        if rest == use.shape:
            return ("stack",) * extra + roles
    return _merged_roles(shape, use)


def _merged_roles(shape: tuple[int, ...], use: Use) -> tuple[str, ...] | None:
    """Where neighbouring axes were flattened into one: ``(width, heads, size)`` as a matrix."""
    roles: list[str] = []
    axes = list(shape)
    for size, role in zip(use.shape, use.roles, strict=True):
        taken = 1
        while axes and taken < size:
            taken *= axes.pop(0)
            roles.append(role)
        if taken != size:
            return None
    return tuple(roles) if not axes else None


def refined(parameter: Parameter, use: Use) -> Parameter:
    """A parameter whose module says nothing, as the weight that its use makes of it."""
    shape = parameter.layout.shape
    roles = _view_roles(shape, use) if prod(shape) else None
    if roles is None or len(roles) != len(shape) or "in" not in roles or len(shape) < 2:
        return parameter
    layout = Layout(shape=shape, view=shape, roles=roles)
    spread = fans(layout, stride=use.stride, transposed=use.transposed)
    return replace(parameter, kind="weight", layout=layout, fans=spread)
