"""Biases of recurrent gates: how long a state is kept at the start."""

from __future__ import annotations

import math

from firstlight.errors import BadInputError
from firstlight.initializers.technique import Technique, describe
from firstlight.records.law import Constant, Listed, Stacked
from firstlight.records.network import Fans, Layout

LSTM_GATES, GRU_GATES = 4, 3
"""In torch's order: input, forget, cell, output; reset, update, new.

Keras keeps a GRU's update gate first; its adapter draws in torch's order and stores in Keras's.
"""


def _gates(layout: Layout) -> int:
    gates = dict(layout.stacks).get("gate", 0)
    if gates not in (LSTM_GATES, GRU_GATES) or "in" in layout.roles:
        raise BadInputError(
            f"needs the biases of an LSTM (4 gates) or GRU (3 gates), got {describe(layout)};"
            " use zeros or constant"
        )
    return gates


def _forget_bias(layout: Layout, _fans: Fans | None, *, value: float) -> Stacked:
    """On the gate that keeps the old state: the forget gate, or a GRU's update gate."""
    kept = 1
    values = [value if gate == kept else 0.0 for gate in range(_gates(layout))]
    return Stacked(laws=tuple(Constant(value=each) for each in values))


def _chrono(layout: Layout, _fans: Fans | None, *, steps: float) -> Listed:
    if not steps > 2:
        raise BadInputError(f"steps: the longest dependence must be more than 2, got {steps:g}")
    units = layout.out
    # Evenly spread over U(1, steps − 1), not drawn: n units cover the range best that way.
    kept = [math.log(1 + (steps - 2) * (i + 0.5) / units) for i in range(units)]
    zeros = [0.0] * units
    if _gates(layout) == GRU_GATES:
        return Listed(values=(*zeros, *kept, *zeros))
    return Listed(values=(*(-b for b in kept), *kept, *zeros, *zeros))


GATES = (
    Technique(
        name="forget_bias",
        title="Forget bias",
        formula="b = value on the forget gate (of a GRU: the update gate), 0 on the others",
        law=_forget_bias,
        options={"value": 1.0},
        assumptions="The bias is added once: torch adds bias_ih and bias_hh, so one of them is 0.",
        source="Gers, Schmidhuber & Cummins 2000, Learning to forget; Jozefowicz, Zaremba &"
        " Sutskever 2015, An empirical exploration of recurrent network architectures, ICML",
        suits="LSTMs: σ(1) = 0.73 of the memory stays at each step instead of a half",
        not_suits="tasks with no memory; gates that are written out in another order",
        differs="Keras does it by default (`unit_forget_bias`), torch and Flax do not.",
    ),
    Technique(
        name="chrono",
        title="Chrono",
        formula="b_forget = ln u, b_input = −ln u, u spread evenly over (1, steps − 1)",
        law=_chrono,
        options={"steps": 100.0},
        assumptions="Dependences of up to `steps` steps: a gate at σ(ln u) forgets in about u.",
        source="Tallec & Ollivier 2018, Can recurrent neural networks warp time?, ICLR"
        " (arXiv:1804.11188)",
        suits="LSTMs and GRUs on long sequences",
        not_suits="short sequences, where it only slows the gates",
        differs="The paper draws u at random; here unit i takes the (i + ½)/n quantile, so that the"
        " same layer always starts alike.",
    ),
)
