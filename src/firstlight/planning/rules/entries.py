"""Entries of a plan, as the rules make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firstlight.planning.context import Context
from firstlight.records.law import Constant, Law
from firstlight.records.network import Parameter
from firstlight.records.plan import PlanEntry

Rule = Callable[[Parameter, Context], PlanEntry | None]
"""The entry of a parameter, or None if the rule has nothing to say of it."""

ZEROS, ONES = Constant(value=0.0), Constant(value=1.0)

LOADED = "loaded from a checkpoint: transformers has set _is_hf_initialized"

HE = "He et al. 2015"
LECUN = "LeCun et al. 1998"


def kept(parameter: Parameter, rule: str, reason: str, source: str) -> PlanEntry:
    """Leave what is there."""
    return PlanEntry(
        name=parameter.name,
        action="keep",
        law=None,
        layout=parameter.layout,
        rule=rule,
        reason=reason,
        source=source,
        address=parameter.address,
    )


def drawn(
    parameter: Parameter, law: Law, rule: str, reason: str, source: str, **more: Any
) -> PlanEntry:
    """Draw from a law; ``more`` are further fields of the entry."""
    return PlanEntry(
        name=parameter.name,
        action="draw",
        law=law,
        layout=parameter.layout,
        rule=rule,
        reason=reason,
        source=source,
        zero_row=parameter.padding_index,
        address=parameter.address,
        **more,
    )
