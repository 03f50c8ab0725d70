"""Means over seeds with their intervals, and the verdict of a race in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from firstlight.records.race import Run, Start

CONFIDENCE = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The mean and its 95 % interval, x̄ ± t·s/√n (Student's t with n − 1 degrees of freedom).

    Args:
        values: one per seed, at least one; non-finite ones make the interval infinite.

    Returns:
        Mean and (low, high). One value alone gives an infinite interval.
    """
    from scipy.stats import t

    numbers = np.asarray(values, np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return mean, (-math.inf, math.inf)
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(numbers) - 1))
    half *= float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    return mean, (mean - half, mean + half)


def summarize(
    name: str, learning_rate: float, searched: Sequence[tuple[float, float]], runs: Sequence[Run]
) -> Start:
    """One start's runs at its own best learning rate, as a record."""
    mean, interval = mean_interval([run.score for run in runs])
    return Start(
        name=name,
        learning_rate=learning_rate,
        searched=tuple(searched),
        runs=tuple(runs),
        mean=mean,
        interval=interval,
    )


def paired_difference(a: Start, b: Start) -> tuple[float, tuple[float, float]]:
    """Mean and interval of a − b over the seeds that both ran."""
    scores = {run.seed: run.score for run in b.runs}
    return mean_interval([r.score - scores[r.seed] for r in a.runs if r.seed in scores])


def verdict(starts: Sequence[Start], *, higher_is_better: bool, score_name: str) -> str:
    """Who is best, by how much over the next, with the interval of the paired difference.

    Args:
        starts: at least one, each with the same seeds.
        higher_is_better: whether the score is an accuracy.
        score_name: for the sentence.

    Returns:
        One sentence. Intervals that hold zero are called no difference.
    """
    sign = -1 if higher_is_better else 1
    # A mean that is no number (a run diverged) ranks last.
    ranked = sorted(starts, key=lambda s: sign * s.mean if math.isfinite(s.mean) else math.inf)
    best, count = ranked[0], len(ranked[0].runs)
    seeds = f"{count} seed" + ("" if count == 1 else "s")
    share = higher_is_better
    if len(ranked) == 1:
        return f"{best.name} reaches {_score(best.mean, share)} {score_name} over {seeds}."
    parts = []
    for other in ranked[1:]:
        if not math.isfinite(other.mean):
            gone = sum(run.diverged for run in other.runs)
            parts.append(f"{other.name} diverged in {gone} of {len(other.runs)} runs")
            continue
        mean, (low, high) = paired_difference(best, other)
        if low <= 0 <= high:
            parts.append(f"no difference from {other.name} is seen")
        else:
            low, high = sorted((abs(low), abs(high)))
            parts.append(
                f"{_difference(abs(mean), share)} better than {other.name}"
                f" (95 % interval {_difference(low, share)} to {_difference(high, share)})"
            )
    return (
        f"{best.name} reaches {_score(best.mean, share)} {score_name} over {seeds}, "
        + "; ".join(parts)
        + "."
    )


def _score(value: float, share: bool) -> str:
    return f"{value:.1%}" if share else f"{value:.3g}"


def _difference(value: float, share: bool) -> str:
    return f"{100 * value:.1f} points" if share else f"{value:.3g}"
