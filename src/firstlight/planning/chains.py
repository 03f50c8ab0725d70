"""Rule 4: deep plain chains start mirrored or critical, at a length that depth can bear.

What acts in a mirrored layer is the odd part ψ(x) = φ(x) − φ(−x). Where ψ is exactly linear (ReLU,
leaky ReLU, GELU, SiLU, softplus, hardswish) the gain 1/ψ′(0) carries signal and gradient unchanged
to any depth. Where it bends, no gain serves both directions: at length q the gain that keeps the
forward second moment makes ‖δ‖² grow by χ(q) = E ψ′² · q / E ψ² ≥ 1 a layer. The chain is therefore
held at the largest q ≤ 1 with χ(q)^L ≤ `GROWTH`; the first weight brings the signal there and the
head scales it back. An odd φ is its own odd part and starts orthogonal: mirrored, its units ±z
would stay twins for ever.

Where widths change, each weight hands on the directions that its neighbours share (`Linked`), and
`chain_widths` says which gain then keeps ‖δ‖² per sample and how long the signal is at each place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from scipy.optimize import brentq

from firstlight.planning.chain_widths import Widths, widths_of
from firstlight.records.law import DeltaOrthogonal, Linked, Mirrored, Orthogonal
from firstlight.records.network import ActivationRef, Layout
from firstlight.theory.activations import Activation, activation
from firstlight.theory.gains import backward_gain, forward_gain, moments
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


def _growth(psi: Activation, length: float, depth: int, *, uneven: bool) -> float:
    """Log of what a chain multiplies: ‖δ‖² backward, or a deviation from the length forward.

    Where ψ bends down a signal that is too long shrinks more, and the length holds itself. Where ψ
    bends up a deviation grows by d ln E ψ² / d ln q a layer. Where a signal is far too small, as at
    a blank place of an image, ‖δ‖² grows by (g·ψ′(0))² a layer, of which twice the log is allowed.
    """
    gain = forward_gain(psi, length)
    near = 1.01
    ratio = moments(psi, near * length).second_moment / moments(psi, length).second_moment
    per_layer = max(
        2 * math.log(gain / backward_gain(psi, length)), math.log(ratio) / math.log(near) - 1
    )
    if uneven:
        per_layer = max(per_layer, math.log(gain / backward_gain(psi, 0.0)))
    return depth * per_layer


def longest(psi: Activation, depth: int, *, uneven: bool = False) -> float:
    """The largest second moment up to 1 at which ``depth`` layers through ψ stay within bounds.

    Args:
        psi: the odd part.
        depth: number of activations.
        uneven: whether the signal may be absent at some places, as in an image.
    """
    limit = math.log(GROWTH)
    if _growth(psi, 1.0, depth, uneven=uneven) <= limit:
        return 1.0
    log_length = brentq(
        lambda x: _growth(psi, math.exp(x), depth, uneven=uneven) - limit,
        math.log(_SMALLEST_LENGTH),
        0.0,
        xtol=1e-3,
    )
    return math.exp(log_length)


@lru_cache(maxsize=256)
def operating(reference: ActivationRef, depth: int, *, uneven: bool = False) -> Operating:
    """Gain and length for ``depth`` activations in a row.

    Args:
        reference: the activation, by name.
        depth: number of activations.
        uneven: whether the signal may be absent at some places, as in an image.

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
    length = longest(psi, depth, uneven=uneven)
    return Operating(
        gain=forward_gain(psi, length), length=length, mirrored=not odd.is_odd, exact=False
    )


ChainLaw = Mirrored | Orthogonal | DeltaOrthogonal | Linked


@dataclass(frozen=True, kw_only=True)
class ChainPlan:
    """The laws of a deep chain's weights.

    Args:
        run: gain, length and form, at the place where the signal is longest.
        widths: what the sizes ask for.
        names: of the weights, in order; those of shared bases.
        layouts: of the weights.
        lengths: expected mean square of each hidden pre-activation.
        forward_gains: of the odd part at each of these lengths.
        remarks: what the chain cannot do whatever the start, in sentences.
    """

    run: Operating
    widths: Widths
    names: tuple[str, ...]
    layouts: tuple[Layout, ...]
    lengths: tuple[float, ...]
    forward_gains: tuple[float, ...]
    remarks: tuple[str, ...] = ()

    def first_law(self, input_second_moment: float) -> ChainLaw:
        """The law that brings an input of this mean square to the chain's length.

        With m directions and n inputs an isometry gives the mean square n / max(m, n) per unit.
        """
        inputs, directions = self.layouts[0].in_, self.widths.pairs[0]
        square = self.lengths[0] / input_second_moment * max(directions, inputs) / inputs
        return self._law(0, math.sqrt(square))

    def inner_law(self, position: int) -> ChainLaw:
        """The law of a weight between two activations of the chain."""
        return self._law(
            position, self.forward_gains[position - 1] * self.widths.gains[position - 1]
        )

    def last_law(self, output_std: float) -> ChainLaw:
        """The law of the last weight, whose result should have this standard deviation.

        An isometry of r rows on n columns passes the share min(1, r/n) of ‖ψ‖² = n·E ψ².
        """
        rows, columns = self.layouts[-1].out, self.widths.last_columns
        per_output = self.lengths[-1] / self.forward_gains[-1] ** 2 * columns / max(rows, columns)
        return self._law(len(self.names) - 1, output_std / math.sqrt(per_output))

    def _law(self, position: int, gain: float) -> ChainLaw:
        """One weight's law; where all widths are equal, neighbours need no shared basis."""
        is_first, is_last = position == 0, position == len(self.names) - 1
        inputs, outputs = self.run.mirrored and not is_first, self.run.mirrored and not is_last
        if not self.widths.change:
            if self.run.mirrored:
                return Mirrored(gain=gain, inputs=inputs, outputs=outputs)
            kernel = self.layouts[position].kernel
            return DeltaOrthogonal(gain=gain) if kernel else Orthogonal(gain=gain)
        positions = self.widths.positions[position]
        # The last weight sends δ to all directions alike, which is what the gains are made for.
        alone = is_first or is_last or positions > 1
        return Linked(
            gain=gain,
            before=None if alone else self.names[position - 1],
            after=None if is_last else self.names[position],
            inputs=inputs,
            outputs=outputs,
            positions=positions,
        )


def plan_chain(
    reference: ActivationRef, names: Sequence[str], layouts: Sequence[Layout]
) -> ChainPlan | None:
    """The laws of all weights of a deep plain chain.

    Args:
        reference: the activation between the weights.
        names: of the weights, in order; those of shared bases.
        layouts: of the weights.

    Returns:
        The laws; None if no start of this kind fits the sizes (a mirrored layer needs two pairs).
    """
    odd = odd_part(activation(reference))
    widths = widths_of(layouts, mirrored=not odd.is_odd)
    if widths is None:
        return None
    uneven = any(layout.kernel for layout in layouts)
    run = operating(reference, len(names) - 1, uneven=uneven)
    longest = max(widths.lengths)
    lengths = [run.length * length / longest for length in widths.lengths]
    psi = odd_activation(activation(reference))
    # An exact odd part has one gain at every length.
    gains = {q: run.gain if run.exact else forward_gain(psi, q) for q in set(lengths)}
    return ChainPlan(
        run=run,
        widths=widths,
        names=tuple(names),
        layouts=tuple(layouts),
        lengths=tuple(lengths),
        forward_gains=tuple(gains[q] for q in lengths),
        remarks=_remarks(reference, run, widths, names, layouts),
    )


_BENT_DEPTH = 1000
"""Activations in a row up to which an odd part with a kink at 0 (ELU, SELU, softsign) is run."""


def _remarks(
    reference: ActivationRef,
    run: Operating,
    widths: Widths,
    names: Sequence[str],
    layouts: Sequence[Layout],
) -> tuple[str, ...]:
    sentences = (
        depth_limit(reference, len(names) - 1, run.length),
        bottleneck(widths, names, layouts),
    )
    where = f"{names[0]} … {names[-1]}: "
    return tuple(where + sentence for sentence in sentences if sentence)


def depth_limit(reference: ActivationRef, depth: int, length: float) -> str | None:
    """Why nothing is promised for a chain of this activation and depth; None where it is.

    >>> depth_limit(ActivationRef(name="relu"), 10_000, 1.0) is None
    True
    """
    odd = odd_part(activation(reference))
    if odd.order != 2 or depth <= _BENT_DEPTH:
        return None
    return (
        f"not promised to train: the odd part of {reference} has a kink at 0, and {depth} layers"
        f" bear a second moment of {length:.1g} only; up to {_BENT_DEPTH} layers were measured, and"
        " ReLU or GELU, a norm or a skip lift the limit"
    )


def bottleneck(widths: Widths, names: Sequence[str], layouts: Sequence[Layout]) -> str | None:
    """What a layer narrower than the chain's input loses, whatever its values; None if nothing."""
    narrowest = min(range(len(widths.pairs)), key=lambda i: widths.pairs[i])
    rank, whole = widths.pairs[narrowest], min(widths.pairs[0], layouts[0].in_)
    if rank >= whole:
        return None
    halves = f", {rank} mirrored pairs" if rank != layouts[narrowest].out else ""
    return (
        f"{names[narrowest]} narrows the chain to {layouts[narrowest].out} units{halves}: at most"
        f" {rank} of {whole} directions of the input pass; gradients arrive whole all the same"
    )
