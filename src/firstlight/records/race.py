"""Paired short trainings: the curves, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firstlight.errors import BadInputError, near_names
from firstlight.records.late import Shown

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How all models of one group are trained.

    Args:
        loss: name or callable (output, target); None chooses by the targets.
        steps: optimizer steps, at least 1.
        batch_size: samples in a step.
        optimizer: ``sgd``, ``adam``, ``adamw`` or ``rmsprop``; all but the rate and the momentum
            of SGD as the framework sets it.
        momentum: of SGD.
        clip_norm: largest norm of the whole gradient; None leaves it.
        looks: steps after which the held-out score is taken; it is always taken after the last.
    """

    loss: Any
    steps: int
    batch_size: int
    optimizer: str = "sgd"
    momentum: float = 0.9
    clip_norm: float | None = 1.0
    looks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInputError(f"steps: must be at least 1, got {self.steps}")
        if self.batch_size < 1:
            raise BadInputError(f"batch_size: must be at least 1, got {self.batch_size}")
        if self.optimizer not in OPTIMIZERS:
            raise BadInputError(
                f"optimizer: no '{self.optimizer}'; {near_names(self.optimizer, OPTIMIZERS)}"
            )
        if any(not 1 <= look <= self.steps for look in self.looks):
            raise BadInputError(
                f"looks: must be steps from 1 to {self.steps}, got {list(self.looks)}"
            )

    @property
    def all_looks(self) -> tuple[int, ...]:
        """The steps that are looked at, in order, the last step among them."""
        return tuple(sorted({*self.looks, self.steps}))


@dataclass(frozen=True, kw_only=True)
class Together:
    """How many models of one kind are best trained as one.

    Args:
        count: how many at most; 1 means one after another.
        reason: why, in one sentence for the user.
    """

    count: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training.

    Args:
        seed: seeds the start and the order of the data; the same for all starts of a race.
        optimizer: what it was trained with.
        learning_rate: what it was trained with.
        losses: training loss at each step; of a diverged run up to the one that is not finite.
        scores: held-out score at each look of the recipe. After it diverged, that of the model it
            ended as.
        score: the last of them: accuracy (a share), or the loss if it does not classify.
        diverged: whether the loss became NaN or infinite.
    """

    seed: int
    learning_rate: float
    losses: tuple[float, ...]
    score: float
    diverged: bool
    optimizer: str = "sgd"
    scores: tuple[float, ...] = ()


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
