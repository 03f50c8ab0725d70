"""Statistics of a race: means and curves with intervals, shares, steps to a target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from firstlight.records.curves import Curve, Reach, Share
from firstlight.records.race import Run, Start

CONFIDENCE = 0.95

_RESAMPLES = 2000
_BLOCKS = 100
"""Blocks of steps on a curve of the training loss: enough for the eye, small in the file."""

_SEED = 0
"""Of the bootstrap: the same runs give the same intervals."""


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


def bootstrap_mean(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The mean over rows, and its 95 % bootstrap interval (percentiles, whole rows redrawn).

    Args:
        rows: one per seed; one alone, or a value that is not finite, gives an infinite interval.

    Returns:
        Mean, low and high, one for each column.
    """
    from scipy.stats import bootstrap

    mean = rows.mean(axis=0)
    low, high = np.full_like(mean, -np.inf), np.full_like(mean, np.inf)
    finite = np.isfinite(rows).all(axis=0)
    if len(rows) > 1 and finite.any():
        found = bootstrap(
            (rows[:, finite],),
            np.mean,
            n_resamples=_RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
        low[finite], high[finite] = found.low, found.high
    return mean, low, high


def share(count: int, of: int) -> Share:
    """A count of runs with Wilson's 95 % interval.

    >>> found = share(0, 8)
    >>> found.low, round(found.high, 3)
    (0.0, 0.324)
    """
    from scipy.stats import binomtest

    ends = binomtest(count, of).proportion_ci(CONFIDENCE, method="wilson")
    return Share(count=count, of=of, low=max(0.0, float(ends.low)), high=float(ends.high))


def worst_score(
    runs: Sequence[Run], *, higher_is_better: bool, chance: float | None
) -> float | None:
    """The score with which diverged runs are counted: the worst of the race, guessing included.

    Args:
        runs: all scored runs of the race.
        higher_is_better: whether the score is an accuracy.
        chance: the score of guessing; where it is not known, a loss counts as infinite.

    Returns:
        The score, or None if no run diverged.
    """
    if not any(run.diverged for run in runs):
        return None
    if chance is None:
        return 0.0 if higher_is_better else math.inf
    finite = [r.score for r in runs if not r.diverged and math.isfinite(r.score)]
    return min((chance, *finite)) if higher_is_better else max((chance, *finite))


def counted(run: Run, worst: float | None) -> float:
    """The score of a run as the statistics take it."""
    return worst if run.diverged and worst is not None else run.score


def summarize(
    name: str,
    learning_rate: float,
    searched: Sequence[tuple[float, float]],
    runs: Sequence[Run],
    *,
    optimizer: str = "sgd",
    looks: Sequence[int] = (),
    worst: float | None = None,
    target: float | None = None,
    higher_is_better: bool = True,
) -> Start:
    """One start's runs at its own best learning rate, as a record.

    Args:
        name: technique, ``plan`` or ``default``.
        learning_rate: of the runs.
        searched: learning rate and mean score of each that was tried.
        runs: one per seed, at least one.
        optimizer: of the runs.
        looks: steps at which the runs were scored; empty gives no curve.
        worst: the score that counts for a diverged run; see `worst_score`.
        target: a score to reach, or None.
        higher_is_better: whether the score is an accuracy.
    """
    mean, interval = mean_interval([counted(run, worst) for run in runs])
    scores = _scores(runs, looks, worst)
    found = Start(
        name=name,
        optimizer=optimizer,
        learning_rate=learning_rate,
        searched=tuple(searched),
        runs=tuple(runs),
        mean=mean,
        interval=interval,
        diverged=share(sum(run.diverged for run in runs), len(runs)),
        loss_curve=_loss_curve(runs),
    )
    if scores is None:
        return found
    areas = bootstrap_mean(_areas(scores, looks))
    return replace(
        found,
        curve=_curve(looks, scores),
        area=float(areas[0][0]),
        area_interval=(float(areas[1][0]), float(areas[2][0])),
        reach=None if target is None else reach(scores, looks, target, higher_is_better),
    )


def _scores(
    runs: Sequence[Run], looks: Sequence[int], worst: float | None
) -> NDArray[np.float64] | None:
    """The scores at the looks, a row for each run; after it diverged, the worst."""
    if not looks or any(len(run.scores) != len(looks) for run in runs):
        return None
    rows = np.array([run.scores for run in runs], np.float64)
    if worst is not None:
        for row, run in zip(rows, runs, strict=True):
            if run.diverged:
                row[np.asarray(looks) >= len(run.losses)] = worst
    return rows


def _curve(steps: Sequence[int], rows: NDArray[np.float64]) -> Curve:
    mean, low, high = (tuple(map(float, part)) for part in bootstrap_mean(rows))
    return Curve(steps=tuple(int(step) for step in steps), mean=mean, low=low, high=high)


def _areas(scores: NDArray[np.float64], looks: Sequence[int]) -> NDArray[np.float64]:
    """The mean score on the way, by trapezoids; before the first look, that of the first look."""
    steps = np.array([0, *looks], np.float64)
    held = np.concatenate([scores[:, :1], scores], axis=1)
    areas: NDArray[np.float64] = np.trapezoid(held, steps, axis=1) / steps[-1]
    return areas[:, None]


def _loss_curve(runs: Sequence[Run]) -> Curve | None:
    """Training loss averaged over blocks of steps; a diverged run stays at its highest finite loss.

    (It stays there so that it counts against its start; its true loss has no mean.)
    """
    length = max((len(run.losses) for run in runs), default=0)
    if not length:
        return None
    losses = np.empty((len(runs), length))
    for row, run in zip(losses, runs, strict=True):
        known = np.asarray(run.losses, np.float64)
        finite = known[np.isfinite(known)]
        highest = float(finite.max()) if len(finite) else math.inf
        row[:] = highest
        row[: len(known)] = np.where(np.isfinite(known), known, highest)
    blocks = np.array_split(np.arange(length), min(length, _BLOCKS))
    means = np.stack([losses[:, block].mean(axis=1) for block in blocks], axis=1)
    return _curve([int(block[len(block) // 2]) + 1 for block in blocks], means)


def reach(
    scores: NDArray[np.float64], looks: Sequence[int], target: float, higher_is_better: bool
) -> Reach:
    """Steps to a target, counted at the looks; runs that never reach it are censored, not dropped.

    >>> found = reach(np.array([[0.5, 0.9], [0.9, 0.9], [0.1, 0.2]]), (10, 20), 0.8, True)
    >>> found.steps, found.reached.count, found.median_steps
    ((20, 10, None), 2, 20.0)
    """
    there = scores >= target if higher_is_better else scores <= target
    first = [int(np.argmax(row)) if row.any() else None for row in there]
    steps = tuple(None if index is None else int(looks[index]) for index in first)
    ordered = sorted(math.inf if step is None else step for step in steps)
    n = len(ordered)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return Reach(
        target=target,
        reached=share(sum(step is not None for step in steps), n),
        steps=steps,
        median_steps=median if math.isfinite(median) else None,
    )
