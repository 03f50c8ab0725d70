"""Where no start can help: said with the depth that can be reached, and what would help."""

from __future__ import annotations

from firstlight.errors import FirstlightError
from firstlight.planning.context import Context
from firstlight.records.network import Operation
from firstlight.theory.depth_limit import limit_of


def refusals(context: Context) -> tuple[str, ...]:
    """One sentence for each plain chain that is deeper than any of our starts can carry.

    A chain that starts mirrored or critical is carried to its end; its own remarks say what it
    costs. What is left are activations whose odd part has no slope at zero (squares, absolute
    values, steps): variance scaling is all there is for them.
    """
    found = []
    for chain in context.graph.chains:
        first, last = chain.operations[0], chain.operations[-1]
        if chain.activation is None or context.chain_place(first) is not None:
            continue
        if not all(_is_drawn(operation, context) for operation in chain.operations):
            continue
        width = max(operation.units for operation in chain.operations)
        try:
            limit = limit_of(chain.activation, chain.depth, width=width)
        except FirstlightError:
            continue  # theory does not reach: nothing is claimed
        if limit is not None:
            found.append(f"{first.name} … {last.name}: {limit.sentence}")
    return tuple(found)


def _is_drawn(operation: Operation, context: Context) -> bool:
    parameters = (context.network.parameter(name) for name in operation.parameters)
    return all(p.trainable and not context.is_kept(p) for p in parameters if p.kind == "weight")
