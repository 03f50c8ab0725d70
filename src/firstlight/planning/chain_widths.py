"""What changing widths do to a plain chain: gains that keep ‖δ‖² and the signal's relative length.

A linear chain of partial isometries with shared bases hands on the first coordinates of each basis.
With m_l directions at place l, the signal fills r_l = min(n_in, m_0 … m_l) of them and δ fills
s_l = min(m_l … m_last). One step forward keeps r_{l+1}/r_l of a signal's squared norm, one step
back s_l/s_{l+1} of δ's, so that the squared gains s_{l+1}/s_l hold ‖δ‖² per sample at every place.
The mean square per unit is then proportional to s_l·r_l/m_l: constant where a chain grows, and
larger where it narrows below its beginning while the signal still fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from firstlight.records.network import Layout

_FEWEST_PAIRS = 2
"""One pair has one isometry, ±1: all layers would be copies of one another."""


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The sizes of a chain and what follows from them. Place l is behind weight l.

    Args:
        pairs: independent directions at each hidden place: half of the units if mirrored.
        positions: for each weight, columns that belong to one input unit (behind a flattening).
        gains: of the inner weights, for a linear chain.
        lengths: mean square per unit at each hidden place, the first as one.
        last_columns: independent columns of the last weight.
        change: whether widths differ, or a unit has no twin: whether bases must be shared.
    """

    pairs: tuple[int, ...]
    positions: tuple[int, ...]
    gains: tuple[float, ...]
    lengths: tuple[float, ...]
    last_columns: int
    change: bool


def _positions(layouts: Sequence[Layout]) -> tuple[int, ...] | None:
    """Columns for each unit of the weight before; None where the sizes do not fit."""
    found = [1]
    for before, after in pairwise(layouts):
        each, rest = divmod(after.in_, before.out)
        if rest or not each:
            return None
        found.append(each)
    return tuple(found)


def _smallest_ahead(pairs: Sequence[int], positions: Sequence[int]) -> list[int]:
    """Directions that δ fills at each place: the fewest from there to the next flattening."""
    ahead = list(pairs)
    for i in reversed(range(len(pairs) - 1)):
        if positions[i + 1] == 1:
            ahead[i] = min(pairs[i], ahead[i + 1])
    return ahead


def widths_of(layouts: Sequence[Layout], *, mirrored: bool) -> Widths | None:
    """Gains and lengths of a chain whose weights have these layouts.

    Args:
        layouts: of the chain's weights, at least two.
        mirrored: whether units come in pairs.

    Returns:
        The record; None if the sizes fit no chain (a mirrored place with fewer than two pairs, a
        reshaping that mixes units).

    >>> from firstlight.records.network import plain_layout
    >>> grows = [plain_layout(shape) for shape in ((4, 8), (4, 4), (16, 4), (10, 16))]
    >>> widths_of(grows, mirrored=False).gains
    (1.0, 2.0)
    """
    positions = _positions(layouts)
    pairs = [layout.out // 2 if mirrored else layout.out for layout in layouts[:-1]]
    if positions is None or min(pairs) < (_FEWEST_PAIRS if mirrored else 1):
        return None
    ahead = _smallest_ahead(pairs, positions)
    rank = min(pairs[0], layouts[0].in_)
    squares: list[float] = []
    steps: list[float] = [1.0]
    for i in range(1, len(pairs)):
        before, after, each = pairs[i - 1], pairs[i], positions[i]
        if each > 1:  # a projection of all positions at random: length and ‖δ‖² are kept on average
            squares.append(after / min(after, before * each))
            steps.append(1.0)
            rank = min(after, rank * each)
        else:
            passed = min(rank, after)
            squares.append(ahead[i] / ahead[i - 1])
            steps.append(squares[-1] * before / after * passed / rank)
            rank = passed
    odd = mirrored and any(layout.out % 2 for layout in layouts[:-1])
    return Widths(
        pairs=tuple(pairs),
        positions=positions,
        gains=tuple(math.sqrt(square) for square in squares),
        lengths=tuple(accumulate(steps, lambda a, b: a * b)),
        last_columns=pairs[-1] * positions[-1],
        change=odd or len(set(pairs)) > 1,
    )
