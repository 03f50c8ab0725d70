"""The scales of hidden weights: σ_w² = variance × fan_in, each and on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from firstlight.records.network import ActivationRef, Operation
from firstlight.theory.activations import is_known
from firstlight.theory.gains import moments
from firstlight.verdicts import limits


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The typical scale of a network's hidden weights.

    Args:
        sigma_w2: weight variance times fan_in, the median over hidden weights.
        activation: what feeds most of them.
        forward: the factor of the second moment per layer, σ_w²·E φ²/q at q = 1.
        backward: the factor of ‖δ‖² per layer, χ₁ = σ_w²·E φ′².
    """

    sigma_w2: float
    activation: ActivationRef
    forward: float
    backward: float


class Sigmas:
    """Questions about the σ_w² of hidden weights, answered once.

    Args:
        rows: weighted operations with σ_w² and the activation that feeds them, if any.
    """

    def __init__(self, rows: Sequence[tuple[Operation, float, ActivationRef | None]]) -> None:
        self._all = rows
        self._drawn = [row for row in rows if row[1] > 0]

    @cached_property
    def typical(self) -> float | None:
        """The median; None where they are too few. Zero weights do not count."""
        values = [value for _, value, _ in self._drawn]
        return median(values) if len(values) >= limits.PEERS else None

    @cached_property
    def ratios(self) -> tuple[tuple[Operation, float], ...]:
        """Each one over the median; none where they are too few."""
        middle = self.typical
        rows = self._drawn if middle is not None else ()
        return tuple((operation, value / (middle or 1.0)) for operation, value, _ in rows)

    @cached_property
    def outliers(self) -> tuple[tuple[Operation, float], ...]:
        """Those far from the median, with their ratio to it."""
        return self._beyond(limits.OUTLIER)

    @property
    def uneven(self) -> bool:
        """Whether they differ so much that one number does not tell."""
        return bool(self._beyond(limits.UNEVEN))

    def _beyond(self, limit: float) -> tuple[tuple[Operation, float], ...]:
        return tuple(row for row in self.ratios if not 1 / limit <= row[1] <= limit)

    @cached_property
    def excess(self) -> float | None:
        """The median of σ_w² over what would keep signal and gradient, whichever is more."""
        if self.typical is None:
            return None
        return median(value / _keeping(feed) for _, value, feed in self._drawn)

    def extreme(self, *, largest: bool) -> str:
        """The three largest or smallest, in words."""
        ranked = sorted(self._drawn, key=lambda row: row[1], reverse=largest)[:3]
        return ", ".join(f"`{operation.name}` ({value:.2g})" for operation, value, _ in ranked)

    @cached_property
    def scale(self) -> Scale | None:
        """The typical scale behind activations, None if there are none. Zero weights count.

        A saved checkup may name activations of its model that this process has not seen.
        """
        rows = [(value, feed) for _, value, feed in self._all if feed and is_known(feed)]
        if not rows:
            return None
        feeds = [feed for _, feed in rows]
        usual = max(set(feeds), key=feeds.count)
        sigma_w2 = median(value for value, _ in rows)
        seen = moments(usual)
        return Scale(
            sigma_w2=sigma_w2,
            activation=usual,
            forward=sigma_w2 * seen.second_moment,
            backward=sigma_w2 * seen.derivative_second_moment,
        )


def _keeping(feed: ActivationRef | None) -> float:
    """The σ_w² that keeps the second moment or ‖δ‖² behind an activation, at least 1."""
    if feed is None or not is_known(feed):
        return 1.0
    seen = moments(feed)
    return 1 / min(1.0, seen.second_moment, seen.derivative_second_moment)
