"""The axes of raw parameters, read from the products in which they stand.

A module of torch says what its weights' axes do. A bare ``nn.Parameter`` (LoRA factors, stacked
experts, attention written with einsum) says it by its use: which operand it is, and which axes are
summed away. Only the first use is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor

from firstlight.frameworks.torch.functions import CONVOLUTIONS
from firstlight.records.network import Layout, Parameter
from firstlight.theory.fans import fans


@dataclass(frozen=True)
class Use:
    """One operand of a product: its shape there, what its axes do, and the strides of a kernel."""

    shape: tuple[int, ...]
    roles: tuple[str, ...]
    stride: tuple[int, ...] = ()
    transposed: bool = False


def _einsum_roles(equation: str, place: int) -> tuple[str, ...] | None:
    """Axes of an operand: in both others and result they count matrices, only in others are summed.

    >>> _einsum_roles("bsd,edh->bseh", 1)
    ('out', 'in', 'out')
    >>> _einsum_roles("bseh,ehd->bsed", 1)
    ('stack', 'in', 'out')
    """
    equation = equation.replace(" ", "")
    inputs, arrow, result = equation.partition("->")
    operands = inputs.split(",")
    if not arrow or "." in equation or place >= len(operands):
        return None
    others = "".join(term for i, term in enumerate(operands) if i != place)
    roles = []
    for letter in operands[place]:
        if letter in result:
            roles.append("stack" if letter in others else "out")
        else:
            roles.append("in")
    return tuple(roles)


def _product_roles(rank: int, *, right: bool) -> tuple[str, ...]:
    """Of a matrix product, x @ W or W @ x; leading axes count matrices."""
    if rank == 1:
        return ("in",)
    return ("stack",) * (rank - 2) + (("in", "out") if right else ("out", "in"))


def _roles(name: str, args: Sequence[Any], place: int, rank: int) -> tuple[str, ...] | None:
    if name == "linear":
        return ("out", "in")[:rank] if place == 1 else None
    if name in ("matmul", "mm", "bmm", "mv", "inner", "grouped_mm"):
        return _product_roles(rank, right=place == 1)
    if name in ("addmm", "baddbmm") and place:
        return _product_roles(rank, right=place == 2)
    if name == "einsum" and args and isinstance(args[0], str):
        return _einsum_roles(args[0], place)
    if name in CONVOLUTIONS and place == 1:
        ends = ("in", "out") if "transpose" in name else ("out", "in")
        return ends + ("kernel",) * (rank - 2)
    return None


def uses_in(
    name: str,
    args: Sequence[Any],
    keywords: Mapping[str, Any],
    operands: Iterable[Tensor],
    named: Mapping[int, tuple[str, ...]],
) -> dict[str, Use]:
    """What a call of a product tells of the parameters in it.

    Args:
        name: the function's plain name.
        args: of the call.
        keywords: of the call.
        operands: its tensors, in order.
        named: for each tensor by identity, the parameters that it is or was computed from.
    """
    found: dict[str, Use] = {}
    stride: tuple[int, ...] = ()
    if name in CONVOLUTIONS:
        given = keywords.get("stride", args[3] if len(args) > 3 else 1)
        groups = keywords.get("groups", args[-1] if len(args) > 6 else 1)
        if groups != 1:
            return found
        sizes = given if isinstance(given, tuple | list) else (given,) * int(name[-2])
        stride = tuple(int(s) for s in sizes)
    for place, operand in enumerate(operands):
        parameters = named.get(id(operand), ())
        roles = _roles(name, args, place, operand.dim())
        if len(parameters) == 1 and roles is not None:
            shape = tuple(operand.shape)
            found[parameters[0]] = Use(shape, roles, stride, "transpose" in name)
    return found


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
