"""Which learning rate each start is raced at."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firstlight.records.race import Run

SEARCH_SEED = 1_000_000
"""Rates are searched on seeds from here on, so that no scored run was used to choose its rate."""


def best_rate(
    runs: Sequence[Run], *, higher_is_better: bool
) -> tuple[float, list[tuple[float, float]]]:
    """The best rate of a start, and the mean score of every rate that was tried.

    Args:
        runs: the search runs of one start under one optimizer, at least one.
        higher_is_better: whether the score is an accuracy.

    Returns:
        (best rate, [(rate, mean score), …]), rates ascending; a diverged run counts as worst, ties
        go to the smaller rate.
    """
    worst = 0.0 if higher_is_better else float("inf")
    # A sum of floats depends on its order, and runs come in any.
    ordered = sorted(runs, key=lambda run: run.seed)
    means = []
    for rate in sorted({run.learning_rate for run in runs}):
        scores = [
            worst if run.diverged or math.isnan(run.score) else run.score
            for run in ordered
            if run.learning_rate == rate
        ]
        means.append((rate, sum(scores) / len(scores)))
    sign = -1.0 if higher_is_better else 1.0
    best = min(means, key=lambda pair: (sign * pair[1], pair[0]))[0]
    return best, means
