"""Rules 3, 5 and 6: weights scaled to their target by what really arrives at them."""

from __future__ import annotations

import math
from dataclasses import replace

from firstlight.errors import BadInputError
from firstlight.initializers.technique import Technique
from firstlight.laws.moments import moments as law_moments
from firstlight.laws.moments import scaled as scaled_law
from firstlight.planning.context import Context
from firstlight.planning.rules.entries import HE, LECUN, drawn
from firstlight.records.law import Constant, Identity, Law, Normal, Orthogonal
from firstlight.records.network import ActivationRef, Operation, Parameter
from firstlight.records.plan import PlanEntry, Rejected
from firstlight.theory.gains import backward_gain, forward_gain


def _name_of_gain(reference: ActivationRef | None) -> tuple[str, str]:
    """The household name of the gain for an activation, and its source."""
    if reference is None:
        return "LeCun", LECUN
    if reference.name in ("relu", "leaky_relu", "prelu", "relu6"):
        return "He", HE
    if reference.name == "selu":
        return "LeCun", "Klambauer et al. 2017"
    return f"gain of {reference}", "1/√E φ², by quadrature"


def _fed_by(operation: Operation, context: Context, square: float) -> str:
    """In words, what arrives at a weight."""
    feed = context.graph.feed(operation)
    through = "" if feed.kept == 1 else f" through dropout ({1 - feed.kept:.0%})"
    moment = "" if abs(square - 1) < 1e-6 else f" (second moment {square:.3g})"
    if feed.activation is not None:
        return f"fed by {feed.activation}{through}{moment}"
    if feed.normed or context.is_norm(feed.origin):
        return f"fed by a norm{through}{moment}"
    if feed.origin is not None and feed.origin.kind == "input":
        return f"reads the input{moment}"
    if feed.origin is not None and feed.origin.kind == "add":
        return f"reads a sum{through}{moment}"
    return f"fed by a signal of second moment {square:.3g}{through}"


def _rejected_backward(feed: ActivationRef | None) -> tuple[Rejected, ...]:
    if feed is None:
        return ()
    forward, back = forward_gain(feed), backward_gain(feed)
    if abs(forward / back - 1) < 1e-6:
        return ()
    growth = (back / forward) ** 2
    why = f"gain {back:.4g} instead of {forward:.4g}: forward length × {growth:.3g} a layer"
    return (Rejected(technique="backward gain", why=why),)


def _in_form(law: Law, preferred: Technique, parameter: Parameter, reason: str) -> tuple[Law, str]:
    """The preferred technique's law at the plan's own scale, where it fits the weight."""
    try:
        form = preferred.law_for(parameter.layout, parameter.fans)
    except BadInputError:
        return law, f"{reason}; {preferred.name} does not fit it"
    spread, wanted = (law_moments(each, parameter.layout) for each in (form, law))
    size, square = (math.hypot(m.mean, m.std) for m in (spread, wanted))
    if not size:
        return law, f"{reason}; {preferred.name} is all zeros here"
    return scaled_law(form, square / size), f"{reason}; {preferred.name} in form, as preferred"


def scaled(parameter: Parameter, context: Context) -> PlanEntry | None:
    """5. Variance σ² = target / (fan_in · E x²), with x what arrives, its mean included."""
    if parameter.kind != "weight" or parameter.fans is None:
        return None
    operation = context.user(parameter)
    fan = parameter.fans.forward
    if operation is None or operation.kind != "weighted":
        reason = "not multiplied with a signal in the pass that was looked at: 1/√fan_in"
        return drawn(parameter, Normal(std=1 / math.sqrt(fan)), "variance scaling", reason, LECUN)
    target = context.flow.target(operation)
    square = context.flow.incoming(operation).square
    feed = context.graph.feed(operation).activation
    name, source = _name_of_gain(feed)
    fed = _fed_by(operation, context, square)
    std = (
        math.sqrt((target.value - target.bias) / (fan * square))
        if square > 0
        else 1 / math.sqrt(fan)
    )
    rejected = _rejected_backward(feed)
    if target.rule == "head":
        why = "‖δ‖ × 0 to all that comes before at step one; slower at depth"
        rejected = (Rejected(technique="zeros", why=why),)
        reason = f"{target.words}; {fed}"
    else:
        reason = f"{name}: {fed}, {target.words}"
    law: Law = Normal(std=std)
    if parameter.parametrization == "spectral_norm":
        # Divided by its largest singular value: only equal ones come through alike.
        law, reason = Orthogonal(), f"divided by its largest singular value, so all equal; {fed}"
        source = "Miyato et al. 2018"
    preferred = context.asked.prefer
    if preferred is not None and target.rule != "head" and parameter.parametrization is None:
        law, reason = _in_form(law, preferred, parameter, reason)
    return drawn(
        parameter,
        law,
        target.rule,
        reason,
        target.source or source,
        rejected=rejected,
        target=target.value,
        calibrate=parameter.parametrization is None,
    )


def magnitude(parameter: Parameter, context: Context) -> PlanEntry | None:
    """5. The scale g of a weight norm: the length that the direction's rows have by their law."""
    if parameter.kind != "magnitude":
        return None
    direction = context.direction_of(parameter)
    entry = None if direction is None else scaled(direction, context)
    if direction is None or entry is None or not isinstance(entry.law, Normal):
        return None
    shared = math.prod(direction.layout.shape) / math.prod(parameter.layout.shape)
    reason = f"weight norm: the length of {shared:g} numbers of std {entry.law.std:.3g}"
    return drawn(
        parameter,
        Constant(value=entry.law.std * math.sqrt(shared)),
        "weight norm",
        reason,
        "Salimans & Kingma 2016",
        target=entry.target,
        calibrate=True,
    )


def recurrent(parameter: Parameter, context: Context) -> PlanEntry | None:
    """6. Recurrent weights: orthogonal for each gate, the identity between rectified units."""
    loop = context.recurrence(parameter)
    if parameter.kind != "recurrent" and loop is None:
        return None
    layout = parameter.layout
    if loop is not None and not layout.stacks and layout.out != layout.in_:
        if layout.out % layout.in_ or layout.roles != ("out", "in"):
            return None
        # The gates of an LSTM or GRU written out, one isometry each.
        view = (layout.out // layout.in_, layout.in_, layout.in_)
        layout = replace(layout, view=view, roles=("gate", "out", "in"))
    law: Law = Orthogonal()
    target = None
    reason, source = "an isometry for each gate keeps the state's length", "Saxe et al. 2014"
    if loop is not None and loop.activation is not None and loop.activation.name == "relu":
        law, source, target = Identity(), "Le et al. 2015", 0.5
        reason = f"the identity between rectified units keeps the state over {loop.steps} steps"
    entry = drawn(parameter, law, "recurrent", reason, source, target=target)
    return replace(entry, layout=layout)
