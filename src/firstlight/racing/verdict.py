"""The verdict of a race in one sentence, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from firstlight.racing.comparing import by_pair
from firstlight.records.curves import Comparison
from firstlight.records.race import Start


def verdict(
    starts: Sequence[Start],
    comparisons: Sequence[Comparison],
    *,
    higher_is_better: bool,
    score_name: str,
) -> str:
    """Who is best under each optimizer, and by how much over each of the others.

    Args:
        starts: at least one.
        comparisons: of their pairs; a pair whose corrected p-value is above 0.05 is called no
            difference, whatever its means are.
        higher_is_better: whether the score is an accuracy.
        score_name: for the sentence.

    Returns:
        One sentence.
    """
    optimizers = list(dict.fromkeys(start.optimizer for start in starts))
    parts = []
    for optimizer in optimizers:
        own = [start for start in starts if start.optimizer == optimizer]
        said = _under_one(own, comparisons, higher_is_better, score_name)
        parts.append(said if len(optimizers) == 1 else f"under {optimizer}, {said}")
    text = "; ".join(parts) + "."
    # A name of a start stays as it is.
    begins_with_name = len(optimizers) == 1 and not all(map(_all_gone, starts))
    return text if begins_with_name else text[0].upper() + text[1:]


def _under_one(
    starts: Sequence[Start],
    comparisons: Sequence[Comparison],
    share: bool,
    score_name: str,
) -> str:
    sign = -1 if share else 1
    # A mean that is no number (a run diverged) ranks last.
    ranked = sorted(starts, key=lambda s: sign * s.mean if math.isfinite(s.mean) else math.inf)
    best, count = ranked[0], len(ranked[0].runs)
    seeds = f"{count} seed" + ("" if count == 1 else "s")
    if all(_all_gone(start) for start in starts):
        return "all runs of " + " and ".join(start.name for start in starts) + " diverged"
    first = f"{best.name} reaches {_score(best.mean, share)} {score_name} over {seeds}"
    first += _gone(best)
    pairs = by_pair(comparisons)
    others = [_against(best, other, pairs, share) for other in ranked[1:]]
    return ", ".join([first, "; ".join(others)]) if others else first


def _against(
    best: Start,
    other: Start,
    pairs: Mapping[tuple[str, str, str], Comparison],
    share: bool,
) -> str:
    if _all_gone(other):
        return f"{other.name} diverged in all of its {len(other.runs)} runs"
    found = pairs.get((best.name, other.name, best.optimizer))
    if found is None:
        return f"{other.name} has no seed in common with it"
    if not found.different:
        return f"no difference from {other.name} is seen (p = {_p(found.p_holm)}){_gone(other)}"
    if not math.isfinite(found.difference):
        return f"better than {other.name} (p = {_p(found.p_holm)}){_gone(other)}"
    low, high = sorted(map(abs, found.interval))
    return (
        f"{_difference(abs(found.difference), share)} better than {other.name}"
        f" (95 % interval {_difference(low, share)} to {_difference(high, share)}){_gone(other)}"
    )


def _all_gone(start: Start) -> bool:
    return start.diverged is not None and start.diverged.count == len(start.runs)


def _gone(start: Start) -> str:
    """How many of its runs diverged, if any did."""
    if start.diverged is None or not start.diverged.count:
        return ""
    return f" with {start.diverged.count} of {start.diverged.of} runs diverged"


def _p(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.1g}"


def _score(value: float, share: bool) -> str:
    return f"{value:.1%}" if share else f"{value:.3g}"


def _difference(value: float, share: bool) -> str:
    return f"{100 * value:.1f} points" if share else f"{value:.3g}"
