"""What second moment the result of each weighted operation should have, and why.

Hidden weights make unit pre-activations. Four kinds of weights do not: the last one of a residual
branch, which adds its share to the stream; heads, which start undecided; queries, whose products
with keys should be logits of unit variance; routers, which should not have made up their minds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firstlight.network.attention import is_router, makes_log_scale
from firstlight.network.branch_ends import activation_ending, normed_after
from firstlight.network.residual import Branch
from firstlight.planning.signals import Signal, activated
from firstlight.records.network import Operation

if TYPE_CHECKING:
    from firstlight.planning.context import Context

HEAD_LOGITS_STD = 0.2
"""Standard deviation of logits at the start: costs 1 % of ln 10 and, unlike zero, passes δ on.

On a batch of 64 chance adds as much again; twice this std would reach 5 %.

With zero, nothing but the head learns at the first step.
"""

HEAD_PREDICTION_STD = 0.1
"""Of predictions, over the root mean square of their target: costs 1 % of a mean square."""

TIED_LOGITS_STD = 0.4
"""Of logits that an embedding makes, which must stay large enough to carry a signal as well.

GPT-2's 0.02 at width 768 makes 0.55. It costs 0.7 % of ln 50,257 and 1.5 % of ln 200, and as much
again because tokens find themselves.
"""

ROUTER_LOGITS_STD = 0.3
"""Of what a softmax chooses experts or positions by: all of them get work at the start."""

LOG_SCALE_STD = 0.1
"""Of what an exponential is taken of: couplings of a flow start near the identity."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A wanted second moment.

    Args:
        value: the second moment.
        bias: the part of it that a bias makes which does not start at zero.
        rule: short name of why.
        words: the same as the end of a reason.
        source: where it comes from.
    """

    value: float
    bias: float = 0.0
    rule: str
    words: str
    source: str


_UNIT = Target(value=1.0, rule="variance scaling", words="forward second moment 1", source="")


def _head(context: Context) -> Target:
    observation = context.observation
    if observation.task == "regression":
        undecided = observation.undecided_loss or 1.0
        # The undecided loss is E t² for a mean square; other losses have other units.
        std = HEAD_PREDICTION_STD * min(1.0, math.sqrt(abs(undecided)))
        words = f"predictions of std {std:.2g}, loss within 5 % of undecided"
    else:
        std = HEAD_LOGITS_STD
        words = f"logits of std {std:g}, loss within 5 % of undecided"
    source = "Karpathy 2019; measured in docs/design"
    return Target(value=std**2, rule="head", words=words, source=source)


def _share(branch: Branch, context: Context, signals: Sequence[Signal]) -> Target:
    """Each of n branches adds 1/n of the stream: its second moment grows to e times at most."""
    number = len(context.stream_of(branch))
    stream = signals[branch.skip].square if branch.skip < len(signals) else 1.0
    ending = activation_ending(context.graph, branch)
    through = 1.0
    growth = float(number)
    if ending is not None:
        mean, through = activated(ending, Signal(0.0, 1.0))
        if mean**2 > 0.05 * through:
            # Means of one sign do not average out: n of them add to n² times one square.
            growth = float(number) ** 2
    value = stream / growth / through
    shape = "pre-norm" if context.starts_with_norm(branch) else "without a norm"
    stream_of_one = number == 1 and shape == "pre-norm"  # the norm behind it may be the last one
    first = context.stream_of(branch)[0]
    if normed_after(context.graph, first, context.is_norm) and not stream_of_one:
        shape = "post-norm"
    words = f"one of {number} residual branches ({shape}): adds 1/{growth:g} of the stream"
    sources = {
        "pre-norm": "Radford et al. 2019 (1/√(2L)); De & Smith 2020",
        "post-norm": "Wang et al. 2022 (DeepNorm's β)",
        "without a norm": "Yang & Schoenholz 2017; Zhang et al. 2019; Huang et al. 2020",
    }
    return Target(value=value, rule="residual branch", words=words, source=sources[shape])


def _in_chain(operation: Operation, context: Context) -> Target | None:
    place = context.chain_place(operation)
    planned = None if place is None else context.chain_plan(place)
    if place is None or planned is None:
        return None
    if place.is_last:
        value = _head(context).value if context.graph.is_head(operation) else 1.0
    else:
        value = planned.lengths[place.position]
    return Target(value=value, rule="chain", words=f"second moment {value:.2g}", source="")


def target_of(operation: Operation, context: Context, signals: Sequence[Signal]) -> Target:
    """The target of one weighted operation, its bias included.

    Args:
        operation: of kind weighted.
        context: the network as the rules see it.
        signals: what is known of the operations before it.
    """
    found = _of_weight(operation, context, signals)
    bias = context.bias_square(operation)
    return replace(found, value=found.value + bias, bias=bias) if bias else found


def _of_weight(operation: Operation, context: Context, signals: Sequence[Signal]) -> Target:
    found = _in_chain(operation, context)
    if found is not None:
        return found
    if context.is_plain_head(operation):
        return _head(context)
    branch = context.branch_ending_with(operation)
    if branch is not None:
        return _share(branch, context, signals)
    if makes_log_scale(context.graph, operation):
        return Target(
            value=LOG_SCALE_STD**2,
            rule="log scale",
            words=f"a log scale of std {LOG_SCALE_STD:g}: what it multiplies stays as it is",
            source="Kingma & Dhariwal 2018",
        )
    factor = context.query_factors.get(operation.index)
    if factor is not None:
        words = f"queries of second moment {1 / factor:.3g}: attention logits of unit variance"
        return Target(value=1 / factor, rule="query", words=words, source="Vaswani et al. 2017")
    if is_router(context.graph, operation):
        return Target(
            value=ROUTER_LOGITS_STD**2,
            rule="router",
            words=f"logits of std {ROUTER_LOGITS_STD:g}: every choice gets work at the start",
            source="Fedus et al. 2022",
        )
    steps = context.steps_of_sum(operation)
    if steps > 1:
        return Target(
            value=1 / steps,
            rule="recurrent input",
            words=f"{steps} steps add up to second moment 1",
            source="Le et al. 2015",
        )
    return _UNIT
