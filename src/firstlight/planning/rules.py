"""The planning rules, in the order in which they are asked; the first that answers wins."""

from __future__ import annotations

import math
from collections.abc import Callable

from firstlight.planning import chains
from firstlight.planning.context import HEAD_LOGITS_STD, ChainPlace, Context
from firstlight.records.law import Constant, Law, Normal, Orthogonal
from firstlight.records.network import ActivationRef, Operation, Parameter
from firstlight.records.plan import PlanEntry, Rejected
from firstlight.theory.gains import backward_gain, forward_gain, moments

Rule = Callable[[Parameter, Context], PlanEntry | None]

_ZEROS, _ONES = Constant(value=0.0), Constant(value=1.0)
_HE = "He et al. 2015"
_LECUN = "LeCun et al. 1998"


def _keep(parameter: Parameter, rule: str, reason: str, source: str) -> PlanEntry:
    return PlanEntry(
        name=parameter.name,
        action="keep",
        law=None,
        layout=parameter.layout,
        rule=rule,
        reason=reason,
        source=source,
    )


def _draw(
    parameter: Parameter,
    law: Law,
    rule: str,
    reason: str,
    source: str,
    rejected: tuple[Rejected, ...] = (),
    target: float | None = None,
    *,
    calibrate: bool = True,
) -> PlanEntry:
    return PlanEntry(
        name=parameter.name,
        action="draw",
        law=law,
        layout=parameter.layout,
        rule=rule,
        reason=reason,
        source=source,
        rejected=rejected,
        zero_row=parameter.padding_index,
        target=target,
        calibrate=calibrate and target is not None,
    )


def keep(parameter: Parameter, context: Context) -> PlanEntry | None:
    """1. Frozen parameters and those that the user named stay as they are."""
    if context.is_kept(parameter):
        return _keep(parameter, "keep", "kept as asked", "keep= of the call")
    if not parameter.trainable:
        return _keep(parameter, "frozen", "frozen: requires no gradient", "the model")
    return None


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
            return _draw(parameter, _ZEROS, "zero-γ", reason, "Goyal et al. 2017")
        return _draw(
            parameter,
            _ONES,
            "norm",
            "scale one: the normalized signal goes on unchanged",
            "Ioffe & Szegedy 2015",
        )
    if parameter.kind == "norm-shift":
        return _draw(
            parameter,
            _ZEROS,
            "norm",
            "shift zero: the normalized signal goes on unchanged",
            "Ioffe & Szegedy 2015",
        )
    if parameter.kind == "bias":
        return _draw(
            parameter,
            _ZEROS,
            "bias",
            "zero: the weights alone carry the signal",
            "Glorot & Bengio 2010",
        )
    return None


def _chain_words(place: ChainPlace, run: chains.Operating) -> tuple[str, str, str]:
    """Rule, reason and source of a weight in a deep chain."""
    depth, name = place.chain.depth, str(place.chain.activation)
    if run.exact:
        why = f"φ(x) − φ(−x) is linear for {name}: gain exactly 1 both ways through {depth} layers"
    elif run.mirrored:
        why = f"odd part of {name} held at second moment {run.length:.2g} for {depth} layers"
    else:
        why = f"{name} is odd: orthogonal, held at second moment {run.length:.2g}, {depth} layers"
    if run.mirrored:
        return "mirrored chain", why, "Balduzzi et al. 2017; Burkholz & Dubatovka 2019"
    return "critical chain", why, "Saxe et al. 2014; Pennington et al. 2017"


def _rejected_in_chain(reference: ActivationRef, depth: int) -> tuple[Rejected, ...]:
    """What He's and Glorot's gains would do over the chain."""
    forward, back = moments(reference).second_moment, moments(reference).derivative_second_moment
    rejected = []
    for name, sigma_w2 in (("he_normal", 2.0), ("glorot_normal", 1.0)):
        # At q = 1; for a homogeneous activation this is exact at any length.
        exponent = depth * math.log10(sigma_w2 * back)
        rejected.append(
            Rejected(
                technique=name,
                why=f"‖δ‖² × 10^{exponent:+.1f} and length × {sigma_w2 * forward:.3g} per layer"
                f" over {depth} layers; random products spread it further",
            )
        )
    return tuple(rejected)


def deep_chain(parameter: Parameter, context: Context) -> PlanEntry | None:
    """4. Weights of deep plain chains: mirrored, or orthogonal and critical for odd activations."""
    operation = context.user(parameter)
    if parameter.kind != "weight" or operation is None or operation.kind != "weighted":
        return None
    place = context.chain_place(operation)
    if place is None:
        return None
    reference = place.chain.activation or ActivationRef(name="linear")
    run = chains.operating(reference, place.chain.depth)
    rule, reason, source = _chain_words(place, run)
    law: Law
    if place.is_first:
        law = chains.first_law(run, parameter.layout, context.input_second_moment(operation))
        reason = f"first of its chain, sets the length; {reason}"
    elif place.is_last:
        square = chains.odd_second_moment(reference, run)
        is_head = context.graph.is_head(operation)
        std = HEAD_LOGITS_STD if is_head else 1.0
        law = chains.last_law(run, parameter.layout, square, std)
        what = (
            f"head: logits of std {std:g}" if is_head else "last of its chain: back to unit scale"
        )
        reason = f"{what}; {reason}"
    else:
        law = chains.inner_law(run, parameter.layout)
    rejected = _rejected_in_chain(reference, place.chain.depth)
    return _draw(parameter, law, rule, reason, source, rejected)


def _name_of_gain(reference: ActivationRef | None) -> tuple[str, str]:
    """The household name of the gain for an activation, and its source."""
    if reference is None:
        return "LeCun", _LECUN
    if reference.name in ("relu", "leaky_relu", "prelu", "relu6"):
        return "He", _HE
    if reference.name == "selu":
        return "LeCun", "Klambauer et al. 2017"
    return f"gain of {reference}", "1/√E φ², by quadrature"


def _incoming(operation: Operation, context: Context) -> tuple[float, str]:
    """Second moment of what arrives at a weight when all before it has unit pre-activations."""
    feed = context.graph.feed(operation)
    # Inverted dropout divides what it keeps by the share that it keeps.
    noise = 1 / max(feed.kept, 1e-6)
    through = "" if feed.kept == 1 else f" through dropout ({1 - feed.kept:.0%})"
    if feed.activation is not None:
        square = moments(feed.activation).second_moment
        return square * noise, f"fed by {feed.activation}{through}"
    if feed.normed:
        return noise, f"fed by a norm{through}"
    if feed.origin is not None and feed.origin.kind == "input":
        square = context.input_second_moment(operation) * noise
        return square, f"reads the input (second moment {square:.3g})"
    return noise, f"fed by a signal that is taken as of unit second moment{through}"


def head(parameter: Parameter, context: Context) -> PlanEntry | None:
    """6. Heads: small random logits, so that the loss starts near that of an undecided model."""
    operation = context.user(parameter)
    if parameter.kind != "weight" or parameter.fans is None or operation is None:
        return None
    if (
        not context.graph.is_head(operation)
        or context.is_in_attention(operation)
        or context.graph.activation_after(operation) is not None
    ):
        return None
    square, fed = _incoming(operation, context)
    origin = context.graph.feed(operation).origin
    if origin is not None and origin.kind == "add":
        square = context.stream_second_moment(operation)
        fed = f"reads a residual stream of second moment {square:.3g}"
    std = HEAD_LOGITS_STD / math.sqrt(parameter.fans.forward * square)
    reason = f"logits of std {HEAD_LOGITS_STD:g}, loss within 5 % of undecided; {fed}"
    return _draw(
        parameter,
        Normal(std=std),
        "head",
        reason,
        "Karpathy 2019; measured in docs/design",
        (Rejected(technique="zeros", why="no gradient passes at step one; slower at depth"),),
        target=HEAD_LOGITS_STD**2,
    )


def recurrent(parameter: Parameter, context: Context) -> PlanEntry | None:
    """6. Recurrent weights: orthogonal for each gate."""
    del context
    if parameter.kind != "recurrent":
        return None
    reason = "an isometry for each gate keeps the state's length"
    return _draw(parameter, Orthogonal(), "recurrent", reason, "Saxe et al. 2014")


def embedding(parameter: Parameter, context: Context) -> PlanEntry | None:
    """6. Embeddings: unit second moment, or 1/√d where the same weights make the logits."""
    if parameter.kind != "embedding":
        return None
    users = [op for op in context.network.operations if parameter.name in op.parameters]
    if any(op.kind == "weighted" for op in users):
        width = parameter.layout.out
        reason = f"tied to the head: 1/√d, d = {width}, keeps logits at unit scale"
        return _draw(parameter, Normal(std=1 / math.sqrt(width)), "embedding", reason, _LECUN)
    reason = "one term per output: unit second moment"
    return _draw(parameter, Normal(std=1.0), "embedding", reason, _LECUN)


def variance_scaling(parameter: Parameter, context: Context) -> PlanEntry | None:
    """5. Everything else: unit pre-activations by the gain of what feeds the weight.

    The last weight of a residual branch without a norm is divided by √branches besides (rule 3).
    """
    if parameter.kind != "weight" or parameter.fans is None:
        return None
    operation = context.user(parameter)
    if operation is None:
        std = 1 / math.sqrt(parameter.fans.forward)
        reason = "not used in the pass that was looked at: 1/√fan_in"
        return _draw(parameter, Normal(std=std), "variance scaling", reason, _LECUN)
    square, fed = _incoming(operation, context)
    feed = context.graph.feed(operation).activation
    gain_name, source = _name_of_gain(feed)
    std = 1 / math.sqrt(parameter.fans.forward * square)
    rule, reason = "variance scaling", f"{gain_name}: {fed}, forward second moment 1"
    target = 1.0
    branch = context.branch_ending_with(operation)
    if branch is not None and not branch.normed and context.bare_branches:
        std /= math.sqrt(context.bare_branches)
        target /= context.bare_branches
        rule = "residual branch"
        reason += (
            f"; ends one of {context.bare_branches} residual branches without a norm: ÷√branches"
        )
        source = "Yang & Schoenholz 2017; Zhang et al. 2019"
    follower = context.graph.follower(operation)
    return _draw(
        parameter,
        Normal(std=std),
        rule,
        reason,
        source,
        _rejected_backward(feed),
        target=target,
        calibrate=follower is None or follower.kind != "norm",
    )


def _rejected_backward(feed: ActivationRef | None) -> tuple[Rejected, ...]:
    if feed is None:
        return ()
    forward, back = forward_gain(feed), backward_gain(feed)
    if abs(forward / back - 1) < 1e-6:
        return ()
    growth = (back / forward) ** 2
    why = f"gain {back:.4g} instead of {forward:.4g}: forward length × {growth:.3g} a layer"
    return (Rejected(technique="backward gain", why=why),)


def own_constant(parameter: Parameter, context: Context) -> PlanEntry | None:
    """Last: other parameters that the module starts at one value (PReLU's slope, layer scale)."""
    reading = context.parameter_reading(parameter)
    single = math.prod(parameter.layout.shape) == 1
    if reading.non_finite == 0 and (reading.constant or single):
        reason = "a constant of the module's own choice"
        return _keep(parameter, "own constant", reason, "the model")
    return None


RULES: tuple[Rule, ...] = (
    keep,
    norms_and_biases,
    deep_chain,
    recurrent,
    embedding,
    head,
    variance_scaling,
    own_constant,
)
