"""What a calibration found: a factor for each weight, and what it could not settle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What one weight's law is to be multiplied by.

    Args:
        name: of the parameter.
        factor: 1 where the weight is left alone.
        uses: operations in the pass that are scaled by it.
        low: smallest second moment over target among its uses as the last pass left them.
        high: largest of them.
        left: why it was left alone; None if it was not.
    """

    name: str
    factor: float = 1.0
    uses: int = 0
    low: float = 1.0
    high: float = 1.0
    left: str | None = None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The result of a calibration.

    Args:
        scalings: one per weight that had a target, in the order of the targets.
        shifts: values of the biases that take means off, by name; empty unless asked for.
        forwards: passes through the model for each batch; a pass for the backward balance is one.
        batches: how many there were.
    """

    scalings: tuple[Scaling, ...]
    shifts: tuple[tuple[str, tuple[float, ...]], ...] = ()
    forwards: int
    batches: int
