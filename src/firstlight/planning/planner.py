"""From an observation to a plan: each parameter once, by the first rule that answers."""

from __future__ import annotations

from collections.abc import Sequence

from firstlight.errors import NoRuleError
from firstlight.initializers.registry import technique as find_technique
from firstlight.planning.context import Context
from firstlight.planning.rates import bias_rate_remarks
from firstlight.planning.rules import RULES, norms_and_biases
from firstlight.planning.rules import keep as keep_rule
from firstlight.records.checkup import Observation
from firstlight.records.network import Parameter
from firstlight.records.plan import Plan, PlanEntry


def _by_rules(parameter: Parameter, context: Context) -> PlanEntry | None:
    answers = (rule(parameter, context) for rule in RULES)
    return next((entry for entry in answers if entry is not None), None)


def _complete(entries: Sequence[PlanEntry | None], context: Context) -> tuple[PlanEntry, ...]:
    """All entries, or an error that names every parameter without one."""
    found = tuple(entry for entry in entries if entry is not None)
    planned = {entry.name for entry in found}
    left = [p for p in context.network.parameters if p.name not in planned]
    if left:
        first = left[0]
        names = ", ".join(f"'{p.name}'" for p in left)
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise NoRuleError(
            f"{first.name}: no rule knows what this parameter of {first.module} (shape"
            f" {first.layout.shape}) is{more}; leave as it is with keep=[{names}]"
        )
    return found


def make_plan(observation: Observation, *, keep: Sequence[str] = ()) -> Plan:
    """The plan that Firstlight chooses.

    Args:
        observation: one pass over the model.
        keep: patterns of parameters to leave alone.

    Raises:
        NoRuleError: a parameter that no rule matched, by name.
    """
    context = Context(observation, keep)
    entries = [_by_rules(parameter, context) for parameter in context.network.parameters]
    return Plan(
        network=context.network, entries=_complete(entries, context), remarks=_remarks(context)
    )


def make_technique_plan(
    observation: Observation, technique: str, *, keep: Sequence[str] = ()
) -> Plan:
    """One named technique on all weights; biases zero, norms one and zero, the rest as it is.

    Args:
        observation: one pass over the model.
        technique: a name of the registry.
        keep: patterns of parameters to leave alone.
    """
    chosen = find_technique(technique)
    context = Context(observation, keep)
    entries: list[PlanEntry | None] = []
    for parameter in context.network.parameters:
        fixed = keep_rule(parameter, context) or norms_and_biases(parameter, context)
        if fixed is not None:
            entries.append(fixed)
        elif parameter.kind in ("weight", "recurrent", "embedding"):
            entries.append(
                PlanEntry(
                    name=parameter.name,
                    action="draw",
                    law=chosen.law_for(parameter.layout, parameter.fans),
                    layout=parameter.layout,
                    rule="technique",
                    reason=f"{chosen.name}, as asked: {chosen.formula}",
                    source=chosen.source,
                    zero_row=parameter.padding_index,
                )
            )
        else:
            entries.append(_by_rules(parameter, context))
    return Plan(network=context.network, entries=_complete(entries, context), technique=chosen.name)


def _remarks(context: Context) -> tuple[str, ...]:
    places = map(context.chain_place, context.network.operations)
    chains = {place.chain.operations[0].index: place.chain for place in places if place}
    remarks = bias_rate_remarks(context.network, chains.values())
    closed = context.network.not_looked_into
    if not closed:
        return remarks
    names = ", ".join(closed[:3]) + (" …" if len(closed) > 3 else "")
    return (*remarks, f"not looked into: {names}; weights inside are planned by their fans alone")
