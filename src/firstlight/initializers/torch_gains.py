"""torch's recommended gains, and the exact one where torch recommends none."""

from __future__ import annotations

import math

from firstlight.errors import BadInputError
from firstlight.records.network import ActivationRef

_LINEAR = ("linear", *(f"conv{end}" for end in ("1d", "2d", "3d")))
_GAINS = {
    **dict.fromkeys((*_LINEAR, *(f"conv_transpose{n}d" for n in (1, 2, 3)), "sigmoid"), 1),
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}
"""torch's recommendations; those for tanh and SELU are rules of thumb."""


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that torch recommends for an activation, or by quadrature where it has none.

    Args:
        nonlinearity: ``linear``, ``conv1d`` …, ``sigmoid``, ``tanh``, ``relu``, ``leaky_relu``,
            ``selu`` as in torch; any other activation that ``fl.predict`` knows (``gelu``,
            ``silu``, ``elu`` …) gets 1/√E[φ(z)²], z ~ N(0, 1).
        param: the slope of ``leaky_relu``, 0.01 by default; the parameter of others.

    Raises:
        BadInputError: an unknown activation, or a slope that is no number.

    torch raises for GELU, SiLU, Mish and ELU. Its 5/3 for tanh and 3/4 for SELU are kept here; the
    exact ones, 1.5925 and 1, are those of ``activation_gain_``.

    >>> calculate_gain("relu") == 2 ** 0.5
    True
    >>> round(calculate_gain("gelu"), 4)
    1.5335
    """
    if nonlinearity in _GAINS:
        return _GAINS[nonlinearity]
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise BadInputError(f"calculate_gain: negative_slope must be a number, got {slope!r}")
        return math.sqrt(2.0 / (1 + slope**2))
    # Quadrature needs scipy, which the table does without.
    from firstlight.theory.gains import forward_gain

    try:
        return forward_gain(ActivationRef(name=nonlinearity, parameter=param))
    except BadInputError as error:
        raise BadInputError(f"calculate_gain: {error}") from error
