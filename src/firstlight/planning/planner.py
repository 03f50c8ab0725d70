"""From an observation to a plan: each parameter once, by the first rule that answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from firstlight.errors import BadInputError, NoRuleError
from firstlight.initializers.registry import technique as find_technique
from firstlight.initializers.technique import Technique
from firstlight.network.graph import Chain
from firstlight.planning.choice import COMPARED, MOST_WEIGHTS, in_order, predicted
from firstlight.planning.context import Context
from firstlight.planning.forecasting import corrected, forecast, with_states
from firstlight.planning.rates import bias_rate_remarks, bias_rates
from firstlight.planning.refusing import refusals
from firstlight.planning.rules import RULES
from firstlight.planning.rules.fixed import biases, keep, norms, override
from firstlight.planning.wishes import Wishes
from firstlight.records.checkup import Observation
from firstlight.records.law import Law
from firstlight.records.network import Parameter
from firstlight.records.plan import Forecast, Plan, PlanEntry, Ranked


def _by_rules(parameter: Parameter, context: Context) -> PlanEntry | None:
    answers = (rule(parameter, context) for rule in RULES)
    entry = next((entry for entry in answers if entry is not None), None)
    rows = context.asked.rows.get(parameter.name)
    return entry if entry is None or rows is None else replace(entry, rows=rows)


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


def make_plan(observation: Observation, wishes: Wishes | None = None) -> Plan:
    """The plan that Firstlight chooses.

    Args:
        observation: one pass over the model.
        wishes: what the user asked for.

    Raises:
        NoRuleError: a parameter that no rule matched, by name.
    """
    context = Context(observation, wishes)
    entries = [_by_rules(parameter, context) for parameter in context.network.parameters]
    complete = corrected(context.network, _complete(entries, context), observation)
    foreseen = forecast(context.network, complete, observation)
    return Plan(
        network=context.network,
        entries=with_states(context.network, complete, foreseen),
        remarks=_remarks(context, complete),
        rates=bias_rates(context.network, _chains(context)),
        forecast=foreseen,
        refusals=refusals(context),
        ranking=_ranking(foreseen, observation, wishes),
    )


def _ranking(
    foreseen: tuple[Forecast, ...], observation: Observation, wishes: Wishes | None
) -> tuple[Ranked, ...]:
    """The plan among the plainer starts, by what theory says of each."""
    network = observation.network
    found = [predicted("plan", network, foreseen)]
    if sum(1 for _ in network.weighted()) <= MOST_WEIGHTS:
        for name in COMPARED:
            try:
                other = make_technique_plan(observation, name, wishes)
            except BadInputError:
                continue  # it does not fit one of the weights
            found.append(predicted(name, network, other.forecast))
    return in_order(found)


def _law(chosen: Technique, parameter: Parameter) -> Law:
    try:
        return chosen.law_for(parameter.layout, parameter.fans)
    except BadInputError as error:
        raise BadInputError(f"{parameter.name}: {error}") from error


def make_technique_plan(
    observation: Observation, technique: str, wishes: Wishes | None = None
) -> Plan:
    """One named technique on all weights; biases zero, norms one and zero, the rest as it is.

    Args:
        observation: one pass over the model.
        technique: a name of the registry.
        wishes: what the user asked for; a preferred form has no place here.

    Raises:
        BadInputError: no such technique, or one that does not fit a weight, which is named.
    """
    chosen = find_technique(technique)
    context = Context(observation, wishes)
    entries: list[PlanEntry | None] = []
    for parameter in context.network.parameters:
        fixed = (rule(parameter, context) for rule in (keep, override, norms, biases))
        found = next((entry for entry in fixed if entry is not None), None)
        if found is not None:
            entries.append(found)
        elif parameter.kind in ("weight", "recurrent", "embedding"):
            entries.append(
                PlanEntry(
                    name=parameter.name,
                    action="draw",
                    law=_law(chosen, parameter),
                    layout=parameter.layout,
                    rule="technique",
                    reason=f"{chosen.name}, as asked: {chosen.formula}",
                    source=chosen.source,
                    zero_row=parameter.padding_index,
                    address=parameter.address,
                )
            )
        else:
            entries.append(_by_rules(parameter, context))
    complete = _complete(entries, context)
    return Plan(
        network=context.network,
        entries=complete,
        technique=chosen.name,
        forecast=forecast(context.network, complete, observation),
    )


def _without_values(context: Context, entries: Sequence[PlanEntry]) -> tuple[str, ...]:
    """What a plan takes for granted of parameters on the meta device that it leaves as they are."""
    kept = [
        entry.name
        for entry in entries
        if entry.law is None
        and context.parameter_reading(context.network.parameter(entry.name)) is None
    ]
    if not kept:
        return ()
    names = ", ".join(kept[:3]) + (" …" if len(kept) > 3 else "")
    return (
        f"without values, and kept: {names}; scales among them were taken as one; fill them"
        " yourself, the plan does not",
    )


def reforecast(plan: Plan, observation: Observation) -> Plan:
    """The plan with a forecast of its entries as they are."""
    return replace(plan, forecast=forecast(plan.network, plan.entries, observation))


def _chains(context: Context) -> tuple[Chain, ...]:
    """Those that are planned as deep chains."""
    places = map(context.chain_place, context.network.operations)
    return tuple({p.chain.operations[0].index: p.chain for p in places if p}.values())


def _remarks(context: Context, entries: Sequence[PlanEntry]) -> tuple[str, ...]:
    remarks = (
        *_without_values(context, entries),
        *bias_rate_remarks(context.network, _chains(context)),
    )
    closed = context.network.not_looked_into
    if not closed:
        return (*remarks, *context.chain_remarks)
    names = ", ".join(closed[:3]) + (" …" if len(closed) > 3 else "")
    return (
        f"not looked into: {names}; weights inside are planned by their fans alone",
        *remarks,
        *context.chain_remarks,
    )
