"""The signal of a checkup, as the table and the map show it: one row per weighted operation."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from firstlight.records.checkup import Checkup, Estimate, Finding


@dataclass(frozen=True, kw_only=True)
class Level:
    """A root mean square and its standard error; None where it was not measured."""

    value: float | None = None
    error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What passes one weighted operation.

    Args:
        position: place among the weighted operations, from 1.
        operation: index in `Network.operations`.
        name: the operation's name.
        forward: root of the second moment of its result.
        backward: ‖δ‖, root mean over samples of the squared norm of the gradient with respect
            to its result.
    """

    position: int
    operation: int
    name: str
    forward: Level
    backward: Level


def rms(square: Estimate | None) -> Level:
    """Root of a mean square; its error is that of the square over twice the root.

    >>> rms(Estimate(value=4.0, standard_error=0.4))
    Level(value=2.0, error=0.1)
    """
    if square is None:
        return Level()
    if not square.value > 0:
        return Level(value=0.0 if square.value == 0 else math.nan)
    root = math.sqrt(square.value)
    error = square.standard_error
    return Level(value=root, error=None if error is None else error / (2 * root))


def signals(checkup: Checkup) -> tuple[Signal, ...]:
    """The measured weighted operations in order; all that were measured if none has a weight."""
    weighted = {operation.index for operation in checkup.network.weighted()}
    readings = [r for r in checkup.layers if r.second_moment or r.delta_square_per_sample]
    chosen = [r for r in readings if r.operation in weighted] or readings
    return tuple(
        Signal(
            position=position,
            operation=reading.operation,
            name=reading.name,
            forward=rms(reading.second_moment),
            backward=rms(reading.delta_square_per_sample),
        )
        for position, reading in enumerate(chosen, 1)
    )


def hidden(checkup: Checkup) -> tuple[Signal, ...]:
    """The signal without the head: its small start is meant and would look like a loss."""
    shown = signals(checkup)
    if len(shown) > 2 and shown[-1].operation in checkup.network.outputs:
        return shown[:-1]
    return shown


def change(levels: Iterable[Level]) -> float | None:
    """Last level over the first, None unless both are positive and finite."""
    values = [level.value for level in levels]
    if len(values) < 2 or not values[0] or values[-1] is None:
        return None
    ratio = values[-1] / values[0]
    return ratio if math.isfinite(ratio) else None


def addresses(checkup: Checkup) -> dict[str, int]:
    """The operation that each name stands for: its own, a parameter's, a module's (its first)."""
    network = checkup.network
    found = {reading.name: reading.operation for reading in checkup.layers}
    for operation in reversed(network.operations):
        path = operation.name.partition("#")[0]
        while path:
            found[path] = operation.index
            path = path.rpartition(".")[0]
    names = {p.name: (p.name, *p.ties) for p in network.parameters}
    for operation in reversed(network.operations):
        for parameter in operation.parameters:
            found |= dict.fromkeys(names.get(parameter, (parameter,)), operation.index)
    return found | {o.name: o.index for o in reversed(network.operations)}


def places(found: Mapping[str, int], finding: Finding, shown: Sequence[Signal]) -> tuple[int, ...]:
    """Positions in the signal of a finding's culprits, the leading one first.

    A culprit may be an operation, a parameter or a module; what is not itself a weighted operation
    is placed at the last one before it.

    Args:
        found: what `addresses` gives.
        finding: the finding to place.
        shown: the signal of the same checkup.
    """
    if not shown:
        return ()
    indices = [signal.operation for signal in shown]
    at = [bisect_right(indices, found[name]) for name in finding.where if name in found]
    return tuple(dict.fromkeys(shown[max(0, i - 1)].position for i in at))


@dataclass(frozen=True)
class Scale:
    """A log axis between two powers of ten."""

    low: int
    high: int

    @classmethod
    def over(cls, values: Sequence[float | None]) -> Scale:
        """The whole decades around the positive finite values, at least four of them.

        A flat line must look flat: over less than four decades noise would look like a trend.

        >>> Scale.over([0.9, 1.1, 0.0, None])
        Scale(low=-2, high=2)
        """
        logs = [math.log10(v) for v in values if v is not None and 0 < v < math.inf]
        if not logs:
            return cls(-2, 2)
        low, high = math.floor(min(logs)), math.ceil(max(logs))
        while high - low < 4:
            low, high = (low - 1, high) if (high - low) % 2 else (low, high + 1)
        return cls(low, high)

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1; what is beyond the ends lies at the ends."""
        if math.isnan(value) or value == math.inf:
            return 1.0
        if value <= 0:
            return 0.0
        return min(1.0, max(0.0, (math.log10(value) - self.low) / (self.high - self.low)))
