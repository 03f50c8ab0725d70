"""Which runs a race needs, and which learning rate each start is raced at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from firstlight.errors import BadInputError
from firstlight.records.race import Run

SEARCH_SEED = 1_000_000
"""Rates are searched on seeds from here on, so that no scored run was used to choose its rate."""


def checked(values: Sequence[float], what: str) -> tuple[float, ...]:
    """Learning rates: at least one, all positive."""
    numbers = tuple(float(value) for value in values)
    if not numbers or any(not value > 0 for value in numbers):
        raise BadInputError(f"{what}: expected positive numbers, at least one; got {list(values)}")
    return numbers


def best_rates(
    runs: Mapping[str, Sequence[Run]], *, higher_is_better: bool
) -> dict[str, tuple[float, list[tuple[float, float]]]]:
    """The best rate of each start, and the mean score of every rate that was tried.

    Args:
        runs: the search runs of each start.
        higher_is_better: whether the score is an accuracy.

    Returns:
        For each start (best rate, [(rate, mean score), …]); a diverged run counts as worst, ties go
        to the smaller rate.
    """
    worst = 0.0 if higher_is_better else float("inf")
    chosen = {}
    for name, own in runs.items():
        rates = sorted({run.learning_rate for run in own})
        means = []
        for rate in rates:
            scores = [worst if r.diverged else r.score for r in own if r.learning_rate == rate]
            means.append((rate, sum(scores) / len(scores)))
        sign = -1.0 if higher_is_better else 1.0
        best = min(means, key=lambda pair: (sign * pair[1], pair[0]))[0]
        chosen[name] = (best, means)
    return chosen
