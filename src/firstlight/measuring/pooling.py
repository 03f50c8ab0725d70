"""One factor for several uses of a weight and for several batches."""

from __future__ import annotations

import math
from itertools import accumulate

_LARGEST_STEP = math.log(4.0)
_NEARLY = 0.02
"""An error of a logarithm below which it is not worth asking whether a scale arrives."""


def pooled(own: list[list[float]]) -> float:
    """The factor that gives the target on average over batches, geometrically over uses.

    With factor f_i for batch i alone the second moment there was target / f_i².
    """
    logs = [sum(uses) / len(uses) for uses in own]
    return math.exp(-0.5 * math.log(sum(math.exp(-2 * each) for each in logs) / len(logs)))


def arrives(errors: list[list[float]], factor: float) -> bool:
    """Whether a weight's scale arrives at its result: else the error is what it was before."""
    wanted = 2 * abs(math.log(factor))
    flat = [abs(e) for each in errors for e in each]
    return wanted < _NEARLY or sum(flat) / len(flat) < wanted / 2


def common_step(errors: list[list[float]], own: list[list[float]]) -> float:
    """The change of log(weight) that brings the mean error over uses to zero.

    Args:
        errors: of each batch's uses, with the weight held.
        own: the part of each that its use alone makes, inputs being at their targets.
    """
    mixed = square = 0.0
    for seen, alone in zip(errors, own, strict=False):
        if len(seen) == len(alone):
            pairs = zip(seen[:-1], seen[1:], alone[1:], strict=True)
            for before, now, part in pairs:
                mixed += (now - part) * before
                square += before**2
    share = min(1.0, max(0.0, mixed / square)) if square > 0 else 0.0
    uses = max(len(each) for each in errors)
    arriving = list(accumulate(share**j for j in range(uses)))
    flat = [e for each in errors for e in each]
    change = -sum(flat) / len(flat) / (2 * sum(arriving) / len(arriving))
    return min(_LARGEST_STEP, max(-_LARGEST_STEP, change))
