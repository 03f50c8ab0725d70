"""All judges in order, and the findings sorted so that the leading one names the cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from firstlight.records.checkup import Finding, Observation
from firstlight.verdicts import ends, profiles, task, units, weights
from firstlight.verdicts.view import View

Judge = Callable[[View], Iterator[Finding]]

# Causes before consequences: a NaN explains everything, equal units explain a missing gradient.
JUDGES: tuple[Judge, ...] = (
    ends.non_finite,
    weights.wild,
    task.head_mismatch,
    ends.nothing_learns,
    units.symmetric,
    weights.cloned,
    weights.parallel,
    weights.rank_deficient,
    units.saturated,
    units.dead,
    profiles.backward,
    profiles.forward,
    profiles.collapse,
    task.input_scale,
    task.update_ratio,
    ends.loss_at_start,
    ends.no_gradient,
)

_SEVERITY = {"error": 0, "warning": 1, "note": 2}


def judge(observation: Observation) -> tuple[Finding, ...]:
    """The findings on an observation, errors first, causes before consequences.

    Args:
        observation: what an adapter measured.

    Returns:
        The findings; empty for a healthy network.
    """
    view = View(observation)
    found = [finding for judge in JUDGES for finding in judge(view)]
    return tuple(sorted(found, key=lambda finding: _SEVERITY[finding.severity]))
