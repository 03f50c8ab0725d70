"""All judges in order, and the findings sorted so that the leading one names the cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from firstlight.records.checkup import Finding, Observation
from firstlight.verdicts import constants, ends, losses, profiles, scales, task, units, weights
from firstlight.verdicts.folding import fold
from firstlight.verdicts.view import View

Judge = Callable[[View], Iterator[Finding]]

# Causes before consequences: a NaN explains everything, equal units explain a missing gradient.
JUDGES: tuple[Judge, ...] = (
    ends.non_finite_parameters,
    weights.wild,
    task.head_mismatch,
    constants.all_constant,
    constants.nothing_passes,
    constants.some_constant,
    weights.equal_rows,
    weights.cloned,
    weights.rank_deficient,
    weights.parallel,
    task.input_scale,
    scales.norm_scales,
    scales.zero_embeddings,
    units.silenced,
    units.flat,
    ends.nothing_learns,
    units.dead,
    scales.large_biases,
    scales.large_embeddings,
    units.saturated,
    units.symmetric,
    profiles.backward,
    profiles.forward,
    profiles.collapse,
    scales.outliers,
    scales.overall,
    task.update_ratio,
    losses.loss_at_start,
    ends.non_finite_signal,
    ends.no_gradient,
    ends.frozen,
)


def judge(observation: Observation) -> tuple[Finding, ...]:
    """The findings on an observation, errors first, consequences under their causes.

    Args:
        observation: what an adapter measured.

    Returns:
        The findings; empty for a healthy network.
    """
    view = View(observation)
    return fold([finding for judge in JUDGES for finding in judge(view)])
