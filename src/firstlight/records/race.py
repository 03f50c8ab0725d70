"""Paired short trainings: the curves, and what they say."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.errors import BadInputError, near_names
from firstlight.records.late import Shown


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training.

    Args:
        seed: seeds the start and the order of the data; the same for all starts of a race.
        learning_rate: what it was trained with.
        losses: training loss at each step.
        score: accuracy on the held-out part (a share), or its loss if it does not classify.
        diverged: whether the loss became NaN or infinite.
    """

    seed: int
    learning_rate: float
    losses: tuple[float, ...]
    score: float
    diverged: bool


@dataclass(frozen=True, kw_only=True)
class Start:
    """One way to start, at its own best learning rate.

    Args:
        name: technique, ``plan`` or ``default``.
        learning_rate: the best of those searched.
        searched: learning rate and mean held-out score of each that was tried.
        runs: one per seed.
        mean: mean score over the seeds.
        interval: 95 % interval of that mean (Student's t over the seeds).
    """

    name: str
    learning_rate: float
    searched: tuple[tuple[float, float], ...]
    runs: tuple[Run, ...]
    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Race(Shown):
    """Starts compared on the same data in the same order.

    Args:
        steps: optimizer steps of each run.
        score_name: ``held-out accuracy`` or ``held-out loss``.
        chance: the score of guessing, if known.
        verdict: one sentence with its uncertainty.
    """

    starts: tuple[Start, ...]
    steps: int
    batch_size: int
    optimizer: str
    score_name: str
    higher_is_better: bool
    chance: float | None
    verdict: str

    def __getitem__(self, name: str) -> Start:
        for start in self.starts:
            if start.name == name:
                return start
        raise BadInputError(
            f"race: no start '{name}'; {near_names(name, [s.name for s in self.starts])}"
        )
