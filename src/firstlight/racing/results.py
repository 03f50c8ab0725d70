"""What a race asks, and the record that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from firstlight.racing.comparing import compare
from firstlight.racing.statistics import summarize, worst_score
from firstlight.racing.verdict import verdict
from firstlight.records.race import Race, Run

_WORDS = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}

Raced = tuple[str, str, float, Sequence[tuple[float, float]], Sequence[Run]]
"""Technique, optimizer, learning rate, what was searched, the scored runs."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is raced, all checked.

    Args:
        techniques: the starts.
        optimizers: each start is raced under each.
        seeds: of the scored runs of each start.
        steps: of each run.
        batch_size: samples in a step.
        search_seeds: runs of each learning rate in the search.
        momentum: of SGD.
        clip_norm: largest norm of the gradient, or None.
        looks: steps after which the score is taken.
        target: a score to reach, or None.
    """

    techniques: tuple[str, ...]
    optimizers: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    batch_size: int
    search_seeds: int
    momentum: float
    clip_norm: float | None
    looks: tuple[int, ...]
    target: float | None

    def spec(self) -> dict[str, Any]:
        """All of it that changes a run; the target only changes what is said of it."""
        return {name: value for name, value in asdict(self).items() if name != "target"}

    @property
    def words(self) -> str:
        """How the runs are trained."""
        names = [
            f"SGD, momentum {self.momentum:g}" if name == "sgd" else _WORDS[name]
            for name in self.optimizers
        ]
        clipped = self.clip_norm is not None
        return " or ".join(names) + (
            f", gradient norm clipped at {self.clip_norm:g}" if clipped else ""
        )


def race_of(
    asked: Question,
    raced: Sequence[Raced],
    *,
    higher_is_better: bool,
    chance: float | None,
    remarks: Sequence[str] = (),
) -> Race:
    """The record of a race from its runs, whatever the order in which they came.

    Args:
        asked: what was raced.
        raced: each start's runs.
        higher_is_better: whether the score is an accuracy.
        chance: the score of guessing, or None.
        remarks: what else to say.
    """
    score_name = "held-out accuracy" if higher_is_better else "held-out loss"
    every = [run for *_, runs in raced for run in runs]
    worst = worst_score(every, higher_is_better=higher_is_better, chance=chance)
    starts = tuple(
        summarize(
            name,
            rate,
            searched,
            sorted(runs, key=lambda run: run.seed),
            optimizer=optimizer,
            looks=asked.looks,
            worst=worst,
            target=asked.target,
            higher_is_better=higher_is_better,
        )
        for name, optimizer, rate, searched, runs in raced
    )
    comparisons = compare(starts, worst)
    said = tuple(f"{remark[0].upper()}{remark[1:].rstrip('.')}." for remark in remarks)
    if worst is not None:
        gone = sum(run.diverged for run in every)
        count = f"{worst:.1%}" if higher_is_better else f"{worst:.3g}"
        said += (
            f"{gone} of {len(every)} runs diverged; each counts as a {score_name} of {count},"
            " the worst of the race, guessing included.",
        )
    return Race(
        starts=starts,
        steps=asked.steps,
        batch_size=asked.batch_size,
        optimizer=asked.words,
        score_name=score_name,
        higher_is_better=higher_is_better,
        chance=chance,
        verdict=verdict(
            starts, comparisons, higher_is_better=higher_is_better, score_name=score_name
        ),
        looks=asked.looks,
        worst=worst,
        comparisons=comparisons,
        remarks=said,
    )
