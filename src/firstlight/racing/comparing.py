"""Which starts differ: paired differences, corrected for the number of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from firstlight.racing.statistics import counted, mean_interval
from firstlight.records.curves import Comparison
from firstlight.records.race import Start

LEVEL = 0.05
"""A difference is called one if its corrected p-value is at most this."""


def _paired(a: Start, b: Start, worst: float | None) -> list[float]:
    """Differences a − b over the seeds that both ran."""
    scores = {run.seed: counted(run, worst) for run in b.runs}
    return [counted(run, worst) - scores[run.seed] for run in a.runs if run.seed in scores]


def paired_p(values: Sequence[float]) -> float:
    """The two-sided p-value of Student's paired t test that the differences have mean zero.

    Where all differences are equal, t has no scale to measure them by; then that of the exact sign
    flip test, 2^(1−n), or 1 if they are zero. Differences that are not finite (a loss without a
    known worst) are tested by their signs alone.

    >>> paired_p([0.0, 0.0, 0.0]), paired_p([0.1, 0.1, 0.1])
    (1.0, 0.25)
    """
    from scipy.stats import binomtest, ttest_1samp

    numbers = np.asarray(values, np.float64)
    if len(numbers) < 2:
        return 1.0
    if not np.isfinite(numbers).all():
        signs = np.sign(numbers[~np.isnan(numbers)])
        moved = int((signs != 0).sum())
        return float(binomtest(int((signs > 0).sum()), moved).pvalue) if moved else 1.0
    if np.ptp(numbers) == 0:
        return 1.0 if numbers[0] == 0 else 2.0 ** (1 - len(numbers))
    return float(ttest_1samp(numbers, 0.0).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): p₍ᵢ₎ times (m − i + 1), made monotone.

    >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(values, kind="stable")
    raised = np.asarray(values, np.float64)[order] * (len(values) - np.arange(len(values)))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(p) for p in corrected]


def compare(starts: Sequence[Start], worst: float | None) -> tuple[Comparison, ...]:
    """Every pair of starts under the same optimizer, p-values corrected over all pairs.

    All pairs, not the best against the rest: the best is chosen by the same scores, and a test that
    does not know that would find differences between equals.

    Args:
        starts: those of a race.
        worst: the score that counts for a diverged run.
    """
    pairs = [(a, b) for a, b in combinations(starts, 2) if a.optimizer == b.optimizer]
    differences = [_paired(a, b, worst) for a, b in pairs]
    pairs, differences = (
        [pair for pair, d in zip(pairs, differences, strict=True) if d],
        [d for d in differences if d],
    )
    raw = [paired_p(values) for values in differences]
    found = []
    for (a, b), values, p, corrected in zip(pairs, differences, raw, holm(raw), strict=True):
        mean, interval = mean_interval(values)
        found.append(
            Comparison(
                first=a.name,
                second=b.name,
                optimizer=a.optimizer,
                seeds=len(values),
                difference=mean,
                interval=interval,
                p=p,
                p_holm=corrected,
                different=corrected <= LEVEL,
            )
        )
    return tuple(found)


def by_pair(found: Sequence[Comparison]) -> Mapping[tuple[str, str, str], Comparison]:
    """Comparisons by (first, second, optimizer), in both directions' names."""
    return {(c.first, c.second, c.optimizer): c for c in found} | {
        (c.second, c.first, c.optimizer): c for c in found
    }
