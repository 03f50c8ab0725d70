"""The axes of raw parameters, read from the products in which they stand.

A module of torch says what its weights' axes do. A bare ``nn.Parameter`` (LoRA factors, stacked
experts, attention written with einsum) says it by its use: which operand it is, and which axes are
summed away. Only the first use is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from firstlight.frameworks.torch.functions import CONVOLUTIONS
from firstlight.network.uses import Use


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
