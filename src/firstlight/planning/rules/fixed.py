"""What is not drawn at random: kept parameters, norms, biases, branches that start at zero."""

from __future__ import annotations

from firstlight.errors import BadInputError
from firstlight.initializers.gates import LSTM_GATES
from firstlight.initializers.registry import technique
from firstlight.initializers.technique import Technique
from firstlight.planning.context import Context
from firstlight.planning.rules.entries import LOADED, ONES, ZEROS, drawn, kept
from firstlight.records.law import Listed
from firstlight.records.network import Parameter
from firstlight.records.plan import PlanEntry


def keep(parameter: Parameter, context: Context) -> PlanEntry | None:
    """1. Frozen parameters and those that the user named stay as they are."""
    if parameter.name in context.asked.loaded:
        return kept(parameter, "loaded", LOADED, "the model")
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


def norms(parameter: Parameter, context: Context) -> PlanEntry | None:
    """2. Norm scales one (zero where the model has zeroed a branch's last), shifts 0."""
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
    return None


def biases(parameter: Parameter, context: Context) -> PlanEntry | None:
    """2. Biases 0, but for what a model must know at once: when to remember, and what is common."""
    if parameter.kind != "bias":
        return None
    gates = dict(parameter.layout.stacks).get("gate", 0)
    if gates == LSTM_GATES and "bias_ih" in parameter.name:
        law = technique("forget_bias").law_for(parameter.layout)
        reason = "forget gate 1, the others 0: σ(1) = 0.73 of the memory stays at each step"
        return drawn(parameter, law, "forget bias", reason, "Jozefowicz et al. 2015")
    if context.keeps_pattern(parameter):
        reason = "opens or closes gates by constants of the model's own choice"
        return kept(parameter, "own constant", reason, "the model")
    constant = context.head_bias(parameter)
    if constant is not None:
        words = "the log of the class shares" if len(constant) > 1 else "the log odds of the target"
        if context.observation.task == "regression":
            words = "the mean of the target"
        reason = f"{words}: what the loss would teach it first"
        law = Listed(values=constant)
        return drawn(parameter, law, "head bias", reason, "Karpathy 2019; Lin et al. 2017")
    reason = "zero: the weights alone carry the signal"
    return drawn(parameter, ZEROS, "bias", reason, "Glorot & Bengio 2010")


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
