"""Rule 4: deep plain chains start mirrored or critical, at a length that depth can bear.

What acts in a mirrored layer is the odd part ψ(x) = φ(x) − φ(−x). Where ψ is exactly linear (ReLU,
leaky ReLU, GELU, SiLU, softplus, hardswish) the gain 1/ψ′(0) carries signal and gradient unchanged
to any depth. Where it bends, no gain serves both directions: at length q the gain that keeps the
forward second moment makes ‖δ‖² grow by χ(q) = E ψ′² · q / E ψ² ≥ 1 a layer. The chain is therefore
held at the largest q ≤ 1 with χ(q)^L ≤ `GROWTH`; the first weight brings the signal there and the
head scales it back. An odd φ is its own odd part and starts orthogonal: mirrored, its units ±z
would stay twins for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy.optimize import brentq

from firstlight.records.law import DeltaOrthogonal, Mirrored, Orthogonal
from firstlight.records.network import ActivationRef, Layout
from firstlight.theory.activations import Activation, activation
from firstlight.theory.gains import backward_gain, forward_gain
from firstlight.theory.odd_part import odd_activation, odd_part

GROWTH = 3.0
"""Allowed end-to-end growth of ‖δ‖² over a chain at constant forward second moment."""

_SMALLEST_LENGTH = 1e-12


@dataclass(frozen=True, kw_only=True)
class Operating:
    """How a chain is run.

    Args:
        gain: of each inner weight.
        length: second moment of the pre-activations; 1 where any would do.
        mirrored: whether to mirror (φ is not odd).
        exact: whether the odd part is exactly linear.
    """

    gain: float
    length: float
    mirrored: bool
    exact: bool


def _growth(psi: Activation, length: float, depth: int) -> float:
    chi = (forward_gain(psi, length) / backward_gain(psi, length)) ** 2
    return depth * math.log(chi)


@lru_cache(maxsize=256)
def operating(reference: ActivationRef, depth: int) -> Operating:
    """Gain and length for ``depth`` activations in a row.

    Args:
        reference: the activation, by name.
        depth: number of activations.

    Returns:
        Gain, length and form of the law.

    >>> operating(ActivationRef(name="relu"), 100)
    Operating(gain=1.0, length=1.0, mirrored=True, exact=True)
    """
    phi = activation(reference)
    odd = odd_part(phi)
    if odd.linear:
        return Operating(gain=1 / odd.slope, length=1.0, mirrored=not odd.is_odd, exact=True)
    psi = odd_activation(phi)
    length, limit = 1.0, math.log(GROWTH)
    if _growth(psi, 1.0, depth) > limit:
        log_length = brentq(
            lambda x: _growth(psi, math.exp(x), depth) - limit,
            math.log(_SMALLEST_LENGTH),
            0.0,
            xtol=1e-3,
        )
        length = math.exp(log_length)
    return Operating(
        gain=forward_gain(psi, length), length=length, mirrored=not odd.is_odd, exact=False
    )


def _isometry(gain: float, layout: Layout) -> Orthogonal | DeltaOrthogonal:
    return DeltaOrthogonal(gain=gain) if layout.kernel else Orthogonal(gain=gain)


def first_law(
    run: Operating, layout: Layout, input_second_moment: float
) -> Mirrored | Orthogonal | DeltaOrthogonal:
    """The law that brings an input to the chain's length.

    With rows r (half of them if mirrored) and n inputs, an isometry gives the mean square
    m · n / max(r, n) per unit.
    """
    rows = -(-layout.out // 2) if run.mirrored else layout.out
    gain = math.sqrt(run.length / input_second_moment * max(rows, layout.in_) / layout.in_)
    if run.mirrored:
        return Mirrored(gain=gain, inputs=False, outputs=True)
    return _isometry(gain, layout)


def inner_law(run: Operating, layout: Layout) -> Mirrored | Orthogonal | DeltaOrthogonal:
    """The law of a weight between two activations of the chain."""
    return Mirrored(gain=run.gain) if run.mirrored else _isometry(run.gain, layout)


def last_law(
    run: Operating, layout: Layout, psi_square: float, output_std: float
) -> Mirrored | Orthogonal | DeltaOrthogonal:
    """The law of the chain's last weight, which reads activations and feeds none.

    Args:
        run: the chain's operating point.
        layout: of the weight.
        psi_square: mean square of the odd part at that point.
        output_std: wanted standard deviation of the result.
    """
    columns = -(-layout.in_ // 2) if run.mirrored else layout.in_
    # An isometry of r rows on n columns passes the share min(1, r/n) of ‖ψ‖² = n·psi_square.
    per_output = psi_square * columns / max(layout.out, columns)
    gain = output_std / math.sqrt(per_output)
    if run.mirrored:
        return Mirrored(gain=gain, inputs=True, outputs=False)
    return _isometry(gain, layout)


def odd_second_moment(reference: ActivationRef, run: Operating) -> float:
    """Mean square of the odd part at the chain's length: what arrives at its last weight."""
    return run.length / forward_gain(odd_activation(activation(reference)), run.length) ** 2
