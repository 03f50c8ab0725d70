"""The words and rows of a race that text and pages share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from firstlight.records.curves import Comparison, Share
from firstlight.records.race import Race, Start
from firstlight.reporting import wording
from firstlight.reporting.numbers import number, score

MOST_PAIRS = 30
"""Pairs listed; all of them are in the JSON."""


def race_heads(race: Race) -> tuple[str, ...]:
    """The heads of the table of starts; all but the first are numbers."""
    return ("start", "best learning rate", f"{race.score_name} (95 %)", "diverged")


def race_rows(race: Race) -> list[tuple[str, ...]]:
    """A row for each start."""
    return [
        (
            race.label(start),
            wording.rate_words(start),
            wording.start_score(race, start),
            diverged_words(start),
        )
        for start in race.starts
    ]


def way_heads(race: Race) -> tuple[str, ...]:
    """The heads of the table of what was on the way; empty if nothing was looked at."""
    if not any(start.area is not None for start in race.starts):
        return ()
    heads = ("start", "mean score on the way (95 %)")
    aimed = any(start.reach for start in race.starts)
    return (*heads, f"reached {_target(race)}", "median steps") if aimed else heads


def way_rows(race: Race) -> list[tuple[str, ...]]:
    """A row for each start: area under its curve, and the steps to the target if there is one."""
    aimed = any(start.reach for start in race.starts)
    return [
        (race.label(start), _area(race, start), *(_reach(race, start) if aimed else ()))
        for start in race.starts
    ]


def _area(race: Race, start: Start) -> str:
    if start.area is None or start.area_interval is None:
        return "–"
    return score(start.area, start.area_interval, percent=wording.in_percent(race))


def _target(race: Race) -> str:
    target = next((start.reach.target for start in race.starts if start.reach), math.nan)
    return f"{100 * target:.3g} %" if wording.in_percent(race) else number(target)


def _reach(race: Race, start: Start) -> tuple[str, str]:
    if start.reach is None:
        return "–", "–"
    count = f"{start.reach.reached.count} of {start.reach.reached.of}"
    median = start.reach.median_steps
    return count, f"> {race.steps}" if median is None else f"{median:g}"


def diverged_words(start: Start) -> str:
    """How many runs diverged, with the interval of the share behind it where any did."""
    count = sum(run.diverged for run in start.runs)
    words = f"{count} of {len(start.runs)}"
    return f"{words} ({_share(start.diverged)})" if count and start.diverged else words


def _share(found: Share) -> str:
    return f"{100 * found.low:.0f}–{100 * found.high:.0f} %"


def shown_pairs(race: Race) -> Sequence[Comparison]:
    """The pairs that are listed: none if there is but one start."""
    return race.comparisons[:MOST_PAIRS]


def pair_words(race: Race, pair: Comparison) -> str:
    """``plan − default``, with the optimizer where there are several."""
    words = f"{pair.first} − {pair.second}"
    return words if len(race.optimizers) < 2 else f"{words}, {pair.optimizer}"


PAIR_HEADS = ("pair", "difference (95 %)", "p", "p (Holm)", "seen")


def pair_rows(race: Race) -> list[tuple[str, ...]]:
    """A row for each pair: its difference, the p-value, the corrected one, and the decision."""
    return [
        (
            pair_words(race, pair),
            difference_words(race, pair),
            _p(pair.p),
            _p(pair.p_holm),
            "yes" if pair.different else "no",
        )
        for pair in shown_pairs(race)
    ]


def difference_words(race: Race, pair: Comparison) -> str:
    """The mean paired difference with half its interval, in points where scores are shares."""
    percent = wording.in_percent(race)
    words = score(pair.difference, pair.interval, percent=percent)
    words = words.removeprefix("-") if re.match(r"-0(\.0+)? ", words) else words
    return words.replace(" %", " points") if percent else words


def _p(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.1g}"
