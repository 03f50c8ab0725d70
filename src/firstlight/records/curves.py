"""What is said of a start's runs: curves with intervals, steps to a target, shares, differences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A mean over the seeds along the steps, with its 95 % bootstrap interval.

    Args:
        steps: optimizer steps done, ascending.
        mean: mean over the seeds at each of them.
        low: lower end of the interval of that mean.
        high: its upper end.
    """

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A count of runs, and the 95 % interval (Wilson's) of the share behind it.

    Args:
        count: runs of which it is true.
        of: all runs.
        low: lower end of the interval of the share, in [0, 1].
        high: its upper end.
    """

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Steps to a target score, counted at the looks.

    Args:
        target: the score to reach.
        reached: the share of runs that did. The others are censored: they count as later than
            the last step, and are not left out.
        steps: of each run the first look at which it had the target; None if it never had.
        median_steps: median over all runs; None unless more than half reached the target.
    """

    target: float
    reached: Share
    steps: tuple[int | None, ...]
    median_steps: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One start against another at the same seeds, under the same optimizer.

    Args:
        first: technique, ``plan`` or ``default``.
        second: the other.
        optimizer: of both.
        seeds: that both ran.
        difference: mean of first − second over the seeds.
        interval: its 95 % interval (Student's t over the seeds), for this pair alone.
        p: of the paired t test that there is no difference.
        p_holm: the same, corrected (Holm) for all pairs of the race.
        different: whether ``p_holm`` is at most 0.05.
    """

    first: str
    second: str
    optimizer: str
    seeds: int
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    different: bool
