"""What the computation says of parameters that no module describes: roles of axes, kinds, fans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.found import Found
from firstlight.frameworks.jax.products import use_of
from firstlight.network.uses import Use, refined
from firstlight.records.network import Layout, Parameter
from firstlight.theory.fans import fans

Kind = Literal["bias", "embedding", "norm-scale", "norm-shift"]


def with_uses(
    flow: Flow, parameters: Sequence[Parameter], found: Iterable[Found]
) -> tuple[Parameter, ...]:
    """The parameters, those of unknown kind by their first use.

    Args:
        flow: the steps.
        parameters: as the modules have them.
        found: the operations.
    """
    uses: dict[str, Use] = {}
    for step in flow.steps:
        use = use_of(flow, step)
        if use is not None:
            uses.setdefault(*use)
    kinds: dict[str, Kind] = {}
    for each in found:
        for name, kind in _kinds(flow, each):
            kinds.setdefault(name, kind)
    return tuple(_known(p, uses.get(p.name), kinds.get(p.name)) for p in parameters)


def _kinds(flow: Flow, found: Found) -> list[tuple[str, Kind]]:
    """What an operation makes of its parameters, as far as they are vectors or tables."""
    if found.kind == "weighted" and found.bias is not None:
        return [(name, "bias") for name in flow.names(found.bias)]
    if found.kind == "embedding":
        return [(name, "embedding") for name in found.parameters]
    if found.kind == "norm":
        last = len(found.parameters) - 1
        kinds: tuple[Kind, ...] = ("norm-scale", "norm-shift") if last else ("norm-scale",)
        return list(zip(found.parameters, kinds, strict=False))
    return []


def _known(parameter: Parameter, use: Use | None, kind: Kind | None) -> Parameter:
    if parameter.kind != "other":
        return parameter
    shape = parameter.layout.shape
    if kind == "embedding" and len(shape) == 2:
        layout = Layout(shape=shape, view=shape, roles=("index", "out"))
        return replace(parameter, kind="embedding", layout=layout, fans=fans(layout))
    if kind in ("bias", "norm-scale", "norm-shift"):
        layout = Layout(shape=shape, view=shape, roles=("out",) * len(shape))
        return replace(parameter, kind=kind, layout=layout)
    return parameter if use is None else refined(parameter, use)
