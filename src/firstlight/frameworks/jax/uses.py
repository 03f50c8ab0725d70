"""What a module makes of one of its arrays: kind, axes, fans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from jax import Array

from firstlight.laws.naming import LEAVES
from firstlight.records.network import Fans, Layout, Parameter
from firstlight.theory.fans import fans

Kind = Literal[
    "weight", "recurrent", "bias", "norm-scale", "norm-shift", "embedding", "magnitude", "other"
]


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a module makes of one of its arrays.

    Args:
        kind: as in `Parameter`.
        layout: its axes.
        module: class of the module; empty where there is none, so that axes are guesses.
        fans: None for what has none.
        parametrization: as in `Parameter`.
        leaves: a map of leaf names to torch's other than the usual one.
        address: the whole address, where the path differs too.
    """

    kind: Kind
    layout: Layout
    module: str = ""
    fans: Fans | None = None
    parametrization: str | None = None
    leaves: Mapping[str, str] | None = None
    address: str | None = None


def layout(shape: tuple[int, ...], roles: tuple[str, ...], view: tuple[int, ...] = ()) -> Layout:
    """A layout; its view is the shape unless axes are split or fused."""
    return Layout(shape=shape, view=view or shape, roles=roles)


def weight(axes: Layout, kind: Kind = "weight") -> Use:
    """A weight with the fans of its axes."""
    return Use(kind=kind, layout=axes, fans=fans(axes) if prod(axes.shape) else None)


def vector(shape: tuple[int, ...], kind: Kind) -> Use:
    """One number per unit; several axes of units (heads) count as one."""
    if len(shape) < 2:
        return Use(kind=kind, layout=layout(shape, ("out",) * len(shape)))
    return Use(kind=kind, layout=layout(shape, ("out",), (prod(shape),)))


def stacked(use: Use, size: int) -> Use:
    """The same for ``size`` modules whose arrays are stored as one, along a first axis."""
    inner = use.layout
    outer = Layout(
        shape=(size, *inner.shape), view=(size, *inner.view), roles=("stack", *inner.roles)
    )
    return replace(use, layout=outer)


def unknown(shape: tuple[int, ...], module: str) -> Use:
    """Of a module that nobody knows, or of none."""
    roles = ("index", *("out",) * (len(shape) - 1)) if len(shape) > 1 else ("out",) * len(shape)
    return Use(kind="other", layout=layout(shape, roles), module=module)


def guessed(name: str, shape: tuple[int, ...], module: str = "") -> Use:
    """By name and shape, as arrays of functions and of Haiku are called.

    A ``w``, ``kernel`` or ``weight`` is (kernel …, in, out), as one writes ``x @ w`` and as all
    libraries but Equinox store convolutions; what the computation shows is better.
    """
    leaf = name.rpartition(".")[2]
    meaning = LEAVES.get(leaf, leaf)
    if leaf in ("embedding", "embeddings") and len(shape) == 2:
        return replace(weight(layout(shape, ("index", "out")), "embedding"), module=module)
    if meaning == "weight" and leaf not in ("scale", "gamma") and len(shape) > 1:
        roles = (*("kernel",) * (len(shape) - 2), "in", "out")
        return replace(weight(layout(shape, roles)), module=module)
    if meaning == "bias" and len(shape) < 2:
        kind: Kind = "norm-shift" if leaf in ("beta", "offset") else "bias"
        return replace(vector(shape, kind), module=module)
    if leaf in ("scale", "gamma") and sum(n > 1 for n in shape) < 2:
        return replace(vector(shape, "norm-scale"), module=module)
    return unknown(shape, module)


def parameter_of(
    name: str, array: Array, use: Use, address: str, ties: tuple[str, ...]
) -> Parameter:
    """The record of one parameter."""
    real = str(array.dtype).startswith(("float", "bfloat"))
    return Parameter(
        name=name,
        kind=use.kind if real else "other",
        module=use.module,
        layout=use.layout,
        fans=use.fans if real else None,
        dtype=str(array.dtype),
        ties=ties,
        parametrization=use.parametrization,
        address=None if address == name else address,
    )
