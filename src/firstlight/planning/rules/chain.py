"""Rule 4: weights of deep plain chains."""

from __future__ import annotations

import math

from firstlight.planning import chains
from firstlight.planning.context import ChainPlace, Context
from firstlight.planning.rules.entries import drawn
from firstlight.records.network import ActivationRef, Parameter
from firstlight.records.plan import PlanEntry, Rejected
from firstlight.theory.gains import moments


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
    planned = None if place is None else context.chain_plan(place)
    if place is None or planned is None:
        return None
    reference = place.chain.activation or ActivationRef(name="linear")
    rule, reason, source = _chain_words(place, planned.run)
    target = context.flow.target(operation).value
    if place.is_first:
        law = planned.first_law(context.flow.incoming(operation).square)
        reason = f"first of its chain, sets the length; {reason}"
    elif place.is_last:
        std = math.sqrt(target)
        law = planned.last_law(std)
        is_head = context.graph.is_head(operation)
        what = (
            f"head: logits of std {std:g}" if is_head else "last of its chain: back to unit scale"
        )
        reason = f"{what}; {reason}"
    else:
        law = planned.inner_law(place.position)
    return drawn(
        parameter,
        law,
        rule,
        reason,
        source,
        rejected=_rejected_in_chain(reference, place.chain.depth),
        target=target,
        calibrate=place.is_first or place.is_last,
    )
