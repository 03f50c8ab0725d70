"""What a mirrored start leaves of an activation: its odd part ψ(x) = φ(x) − φ(−x).

Under weights g·[[O, −O], [−O, O]] units come in pairs ±x, and the layer acts through ψ alone
(Balduzzi et al. 2017). Where ψ is exactly linear, signal and gradient keep their size at any depth.
An odd φ must not be mirrored, since the twins would remain twins through all of training; for such
φ the record describes φ itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from firstlight.theory.activations import Activation, ActivationLike, activation
from firstlight.theory.formulas import Array, Elementwise

_EXACT = 1e-9
# ψ(x)/x is fitted as a polynomial in |x| on these points: far enough from 0 that rounding does
# not count (1e-16/1e-3), near enough that eight coefficients are exact to about 1e-12.
_NEAR_ZERO = 0.0255 + 0.0245 * np.cos(np.pi * (np.arange(8) + 0.5) / 8)
_WIDE = np.linspace(0.01, 20.0, 2000)


@dataclass(frozen=True)
class OddPart:
    """The shape of ψ(x) = φ(x) − φ(−x), or of φ itself where φ is odd.

    Args:
        slope: ψ′(0) from the right; zero means that nothing of first order is left.
        linear: whether ψ(x) = slope·x to 1e-9, with a slope other than zero.
        order: 1 if linear; 2 if ψ(x)/(slope·x) − 1 ~ |x|; 3 if ~ x², or flatter still.
        is_odd: whether φ(−x) = −φ(x).
    """

    slope: float
    linear: bool
    order: int
    is_odd: bool


def odd_part(act: ActivationLike) -> OddPart:
    """Slope, linearity and order of the odd part of an activation.

    Args:
        act: a name, a reference, a function, or an `Activation`.

    Returns:
        The record. Linear: ReLU, leaky ReLU, GELU, SiLU, hardswish, softplus. Order 3: Mish,
        sigmoid, tanh, erf, sin. Order 2: ELU, SELU, softsign.

    >>> odd_part("gelu")
    OddPart(slope=1.0, linear=True, order=1, is_odd=False)
    >>> odd_part("tanh").is_odd, odd_part("sigmoid").slope
    (True, 0.5)
    """
    resolved = activation(act)
    psi = _odd(resolved)
    ratio = psi(_NEAR_ZERO) / _NEAR_ZERO
    fit = np.polynomial.Polynomial.fit(_NEAR_ZERO, ratio, _NEAR_ZERO.size - 1).convert()
    # convert() drops trailing zeros; adding 0.0 turns −0.0 into 0.0.
    slope, bend = (round(float(value), 11) + 0.0 for value in np.append(fit.coef, [0.0, 0.0])[:2])
    departure = np.abs(psi(_WIDE) - slope * _WIDE) / _WIDE
    linear = slope != 0 and bool(np.all(departure <= _EXACT * abs(slope)))
    bent = abs(bend) > 1e-6 * max(abs(slope), 1.0)
    return OddPart(slope, linear, 1 if linear else 2 if bent else 3, _is_odd(resolved))


def odd_activation(act: ActivationLike) -> Activation:
    """ψ as an activation, so that its gains and χ₁ can be computed; φ itself if φ is odd.

    Args:
        act: a name, a reference, a function, or an `Activation`.

    Returns:
        ψ(x) = φ(x) − φ(−x), its derivative φ′(x) + φ′(−x) and its kinks where those of φ are known.

    >>> psi = odd_activation("sigmoid")  # tanh(x/2)
    >>> bool(np.isclose(psi.function(np.array(0.8)), np.tanh(0.4)))
    True
    """
    resolved = activation(act)
    return _from_known(resolved) if resolved.kinks is not None else _built(resolved)


def _built(act: Activation) -> Activation:
    if _is_odd(act):
        return act
    slope = act.derivative
    derivative: Elementwise | None = None
    if slope is not None:

        def derivative(x: Array) -> Array:
            return slope(x) + slope(-x)

    saturated = None
    if act.saturated is not None and np.all(np.isfinite(act.saturated)):
        width = act.saturated[1] - act.saturated[0]
        saturated = (-width, width)
    kinks = None if act.kinks is None else tuple(sorted({*act.kinks, *(-k for k in act.kinks)}))
    return replace(
        act,
        name=f"odd part of {act.name}",
        function=_odd(act),
        derivative=derivative,
        kinks=kinks,
        saturated=saturated,
    )


# The same activation gives the same object.
_from_known = lru_cache(maxsize=256)(_built)


def _odd(act: Activation) -> Elementwise:
    if _is_odd(act):
        return act.function
    function = act.function
    return lambda x: function(x) - function(-x)


def _is_odd(act: Activation) -> bool:
    right, left = act.function(_WIDE), act.function(-_WIDE)
    return bool(np.max(np.abs(right + left)) <= _EXACT * np.max(np.abs(right)))
