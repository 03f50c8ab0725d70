"""Rule 6: embeddings, positions and tokens, which put a signal at its start."""

from __future__ import annotations

import math

import numpy as np

from firstlight.planning.context import Context
from firstlight.planning.rules.entries import LECUN, drawn, kept
from firstlight.planning.targets import TIED_LOGITS_STD
from firstlight.records.law import Constant, Normal
from firstlight.records.network import Parameter
from firstlight.records.plan import PlanEntry

_VASWANI = "Vaswani et al. 2017"


def embedding(parameter: Parameter, context: Context) -> PlanEntry | None:
    """6. Embeddings: unit second moment; smaller where the same weights make the logits."""
    if parameter.kind != "embedding":
        return None
    square = context.lookup_square(parameter)
    law = Normal(std=math.sqrt(square))
    if context.is_position(parameter):
        reason = "the same for all samples (positions, types): half the second moment of the tokens"
        return drawn(parameter, law, "positions", reason, _VASWANI, target=square)
    if context.is_tied(parameter):
        width = parameter.layout.out
        reason = f"tied to the head: {TIED_LOGITS_STD:g}/√d, d = {width}: logits of that std"
        return drawn(
            parameter,
            law,
            "embedding",
            reason,
            "Radford et al. 2019",
            target=square,
            calibrate=True,
        )
    reason = "one term per output: unit second moment"
    return drawn(parameter, law, "embedding", reason, LECUN, target=square)


def offsets(parameter: Parameter, context: Context) -> PlanEntry | None:
    """6. Raw parameters that are added to a signal or stand beside one: positions and tokens."""
    if parameter.kind != "other" or context.is_constant(parameter):
        return None
    operation = context.user(parameter)
    if operation is None:
        return kept(parameter, "own values", "not used in the pass that was looked at", "the model")
    if operation.kind == "weighted" and context.is_alone(parameter, operation):
        return None  # a matrix whose axes could not be read
    if context.is_scale(parameter):
        reason = "multiplies or shifts unit by unit, by a formula of the model's own"
        return kept(parameter, "own values", reason, "the model")
    square = context.lookup_square(parameter)
    where = "joins the tokens" if operation.kind == "concatenate" else "starts a signal"
    if context.is_position(parameter):
        reason = "learned positions: half the second moment of what they are added to"
        return drawn(parameter, Normal(std=math.sqrt(square)), "positions", reason, _VASWANI)
    reason = f"a learned token ({where}): unit second moment, as its neighbours"
    return drawn(parameter, Normal(std=math.sqrt(square)), "token", reason, "Devlin et al. 2019")


def own_constant(parameter: Parameter, context: Context) -> PlanEntry | None:
    """Last: other parameters that the module starts at one value (PReLU's slope, layer scale).

    The number goes into the plan: a model that was materialised empty, or shard by shard, has none.
    """
    if not context.is_constant(parameter):
        return None
    reason = "a constant of the module's own choice"
    reading = context.parameter_reading(parameter)
    value = None if reading is None else reading.value  # on the meta device it may not be known
    law = Constant(value=value or 0.0)
    if value is None or float(np.float32(law.value)) != value:  # a float64 beyond nine digits
        return kept(parameter, "own constant", reason, "the model")
    return drawn(parameter, law, "own constant", reason, "the model")
