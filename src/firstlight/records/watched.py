"""What was seen of a model while it trained its first steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from firstlight.records.checkup import Finding
from firstlight.records.late import Shown


@dataclass(frozen=True, kw_only=True)
class Glance:
    """The measurements of one step, from lowest to highest over the operations.

    Args:
        step: training steps that had been taken.
        loss: on the batch that is looked at; None without a loss.
        forward: second moments E[z²]; None where nothing was measured.
        backward: squared gradients per sample, ‖δ‖²; likewise.
        dead: largest share of units of one activation that are zero on every sample.
        findings: errors of the kinds that matter while a model trains.
        alarms: those of them that the glance before did not have.
    """

    step: int
    loss: float | None
    forward: tuple[float, float] | None
    backward: tuple[float, float] | None
    dead: float
    findings: tuple[Finding, ...]
    alarms: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Watched(Shown):
    """All glances at one training.

    Args:
        model: its name.
        every: steps between glances.
        glances: in order.
    """

    model: str
    every: int
    glances: tuple[Glance, ...]

    def __iter__(self) -> Iterator[Glance]:
        return iter(self.glances)

    @property
    def alarms(self) -> tuple[tuple[int, Finding], ...]:
        """Step and finding of every alarm."""
        return tuple((glance.step, f) for glance in self.glances for f in glance.alarms)

    @property
    def healthy(self) -> bool:
        """Whether no alarm was raised."""
        return not self.alarms
