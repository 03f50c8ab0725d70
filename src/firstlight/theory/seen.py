"""Functions read from models: admitted to the theory if it can compute with them."""

from __future__ import annotations

import math

from firstlight.errors import FirstlightError
from firstlight.records.network import ActivationRef
from firstlight.theory.activations import Activation, is_known, remember
from firstlight.theory.adaptive import settled
from firstlight.theory.formulas import Elementwise
from firstlight.theory.gains import moments
from firstlight.theory.odd_part import odd_part


def admit(reference: ActivationRef, function: Elementwise, derivative: Elementwise | None) -> bool:
    """Let a reference stand for a function, unless theory cannot compute with it.

    Its kinks are found here, once, so that all later questions are as quick as for a name.

    Args:
        reference: with a ``custom:`` name and a digest.
        function: φ, from a float64 array to one of the same shape.
        derivative: φ′; None if it has to be found numerically.

    Returns:
        Whether it is known now. Functions that are not finite, too rough, that have no moments
        under a normal input, or that pass no gradient at all are not.

    >>> import numpy as np
    >>> snake = ActivationRef(name="custom:Snake", digest="of the doctest")
    >>> admit(snake, lambda x: x + np.sin(x) ** 2, lambda x: 1 + np.sin(2 * x))
    True
    >>> round(moments(snake).derivative_second_moment, 6)  # 1 + (1 − exp(−8))/2
    1.499832
    """
    if is_known(reference):
        return True
    act = Activation(str(reference), function, derivative, None, None)
    try:
        act = settled(act)
        seen = moments(act)
        odd_part(act)
    except FirstlightError:
        return False
    sizes = seen.second_moment, seen.derivative_second_moment
    if not all(0 < size < math.inf for size in sizes):
        return False
    remember(reference, act)
    return True
