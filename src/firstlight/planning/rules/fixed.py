"""What is not drawn at random: kept parameters, norms, biases, branches that start at zero."""

from __future__ import annotations

from firstlight.errors import BadInputError
from firstlight.initializers.technique import Technique
from firstlight.planning.context import Context
from firstlight.planning.rules.entries import ONES, ZEROS, drawn, kept
from firstlight.records.network import Parameter
from firstlight.records.plan import PlanEntry


def keep(parameter: Parameter, context: Context) -> PlanEntry | None:
    """1. Frozen parameters and those that the user named stay as they are."""
    if context.is_kept(parameter):
        return kept(parameter, "keep", "kept as asked", "keep= of the call")
    if not parameter.trainable:
        return kept(parameter, "frozen", "frozen: requires no gradient", "the model")
    return None


def override(parameter: Parameter, context: Context) -> PlanEntry | None:
    """1. A technique or law that the user asked for by name or pattern."""
    asked = context.asked.overrides.get(parameter.name)
    if asked is None:
        return None
    wanted, pattern = asked
    if not isinstance(wanted, Technique):
        reason = f"{wanted}, as asked for '{pattern}'"
        return drawn(parameter, wanted, "override", reason, "overrides= of the call")
    try:
        law = wanted.law_for(parameter.layout, parameter.fans)
    except BadInputError as error:
        raise BadInputError(f"overrides: '{pattern}' on {parameter.name}: {error}") from error
    reason = f"{wanted.name}, as asked for '{pattern}': {wanted.formula}"
    return drawn(parameter, law, "override", reason, wanted.source)


def norms_and_biases(parameter: Parameter, context: Context) -> PlanEntry | None:
    """2. Norm scales one (zero where the model has zeroed a branch's last), shifts and biases 0."""
    if parameter.kind == "norm-scale":
        ends_at_zero = any(
            branch.last_norm is not None
            and parameter.name in branch.last_norm.parameters
            and context.stays_zero(branch.last_norm)
            for branch in context.graph.branches
        )
        if ends_at_zero:
            reason = "the last norm of a residual branch, zero by the model's own custom"
            return drawn(parameter, ZEROS, "zero-γ", reason, "Goyal et al. 2017")
        reason = "scale one: the normalized signal goes on unchanged"
        return drawn(parameter, ONES, "norm", reason, "Ioffe & Szegedy 2015")
    if parameter.kind == "norm-shift":
        reason = "shift zero: the normalized signal goes on unchanged"
        return drawn(parameter, ZEROS, "norm", reason, "Ioffe & Szegedy 2015")
    if parameter.kind == "bias":
        operation = context.user(parameter)
        gates = operation is not None and context.opens_gates(operation)
        if gates and context.has_pattern(parameter):
            reason = "opens or closes gates by constants of the model's own choice"
            return kept(parameter, "own constant", reason, "the model")
        reason = "zero: the weights alone carry the signal"
        return drawn(parameter, ZEROS, "bias", reason, "Glorot & Bengio 2010")
    return None


def zero_branch(parameter: Parameter, context: Context) -> PlanEntry | None:
    """3. The last weight of a branch that the model starts at zero: LoRA's B, zero convolutions."""
    operation = context.user(parameter)
    if parameter.kind != "weight" or operation is None:
        return None
    branch = context.branch_ending_with(operation)
    if branch is None or not context.is_zero(parameter):
        return None
    reason = "ends a branch that starts at zero by the model's own custom; its first step wakes it"
    return drawn(
        parameter,
        ZEROS,
        "zero branch",
        reason,
        "Hu et al. 2022 (LoRA); Zhang et al. 2019",
        target=0.0,
    )
