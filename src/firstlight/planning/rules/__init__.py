"""The planning rules, in the order in which they are asked; the first that answers wins."""

from __future__ import annotations

from firstlight.planning.rules.chain import deep_chain
from firstlight.planning.rules.entries import Rule
from firstlight.planning.rules.fixed import keep, norms_and_biases, override, zero_branch
from firstlight.planning.rules.lookups import embedding, offsets, own_constant
from firstlight.planning.rules.weights import magnitude, recurrent, scaled

RULES: tuple[Rule, ...] = (
    keep,
    override,
    norms_and_biases,
    zero_branch,
    deep_chain,
    recurrent,
    embedding,
    magnitude,
    scaled,
    offsets,
    own_constant,
)
