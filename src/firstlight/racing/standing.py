"""Where a race stands while it runs: for each start, runs done, best score, runs diverged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from firstlight.racing.units import Unit
from firstlight.records.race import Run


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One start under one optimizer, so far.

    Args:
        technique: the start.
        optimizer: of its runs.
        runs: runs of this race, search included.
        done: of them finished.
        diverged: of those diverged.
        best: best held-out score of a finished run; None if there is none yet.
    """

    technique: str
    optimizer: str
    runs: int
    done: int = 0
    diverged: int = 0
    best: float | None = None


def moved(
    standings: Sequence[Standing], unit: Unit, runs: Sequence[Run], *, higher_is_better: bool
) -> tuple[Standing, ...]:
    """The standings after another unit has finished."""
    better = max if higher_is_better else min
    found = list(standings)
    for job, run in zip(unit.jobs, runs, strict=True):
        for place, old in enumerate(found):
            if (old.technique, old.optimizer) == (job.technique, unit.optimizer):
                scores = [] if run.diverged else [run.score]
                scores += [] if old.best is None else [old.best]
                found[place] = replace(
                    old,
                    done=old.done + 1,
                    diverged=old.diverged + run.diverged,
                    best=better(scores, default=None),
                )
    return tuple(found)
