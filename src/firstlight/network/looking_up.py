"""Lookups by what is known of their rows alone."""

from __future__ import annotations

from math import prod

from firstlight.records.network import Operation

_EXACT = 1e-5
"""Shares of equal pairs are counted in 32 bits."""


def looks_up_alike(operation: Operation) -> bool:
    """Whether every sample looks up the same rows equally often, as positions do.

    Of T places in a sample let c_v be those that look up row v. A pair of places in one sample is
    equal with probability s = Σ c_v (c_v − 1) / T (T − 1), in two samples with at most
    (s (T − 1) + 1)/T, which is reached where all samples have the same c.

    Args:
        operation: of kind ``embedding``, with the option ``same``.
    """
    same = operation.option("same")
    if len(same) != 3 or operation.kind != "embedding":
        return False
    _, inside, across = same
    places = prod(operation.shape[1:-1])
    most = (inside * (places - 1) + 1) / places if places else 1.0
    return across >= most - _EXACT
