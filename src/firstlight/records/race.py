"""Paired short trainings: the curves, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firstlight.errors import BadInputError, near_names
from firstlight.records.curves import Comparison, Curve, Reach, Share
from firstlight.records.late import Shown, call

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
    """One way to start under one optimizer, at its own best learning rate.

    Args:
        name: technique, ``plan`` or ``default``.
        optimizer: what it was trained with.
        learning_rate: the best of those searched.
        searched: learning rate and mean held-out score of each that was tried.
        runs: one per seed.
        mean: mean score over the seeds; a diverged run enters with `Race.worst`.
        interval: 95 % interval of that mean (Student's t over the seeds).
        diverged: how many runs diverged.
        curve: held-out score at the looks.
        loss_curve: training loss, averaged over blocks of steps.
        area: area under the curve of the score divided by the steps: the mean score on the way.
        area_interval: its 95 % bootstrap interval.
        reach: steps to the target, if the race has one.
    """

    name: str
    learning_rate: float
    searched: tuple[tuple[float, float], ...]
    runs: tuple[Run, ...]
    mean: float
    interval: tuple[float, float]
    optimizer: str = "sgd"
    diverged: Share | None = None
    curve: Curve | None = None
    loss_curve: Curve | None = None
    area: float | None = None
    area_interval: tuple[float, float] | None = None
    reach: Reach | None = None


@dataclass(frozen=True, kw_only=True)
class Race(Shown):
    """Starts compared on the same data in the same order.

    ``race["plan"]`` is a start; with several optimizers ``race["plan", "adam"]``.

    Args:
        starts: one for each technique and optimizer.
        steps: optimizer steps of each run.
        batch_size: samples in a step.
        optimizer: how all runs were trained, in words.
        score_name: ``held-out accuracy`` or ``held-out loss``.
        higher_is_better: whether the score is an accuracy.
        chance: the score of guessing, if known.
        verdict: one sentence with its uncertainty.
        looks: steps after which the held-out score was taken.
        worst: the score with which a diverged run enters the statistics; None if none diverged.
        comparisons: every pair of starts under the same optimizer.
        remarks: what else a reader must know, one sentence each.
    """

    starts: tuple[Start, ...]
    steps: int
    batch_size: int
    optimizer: str
    score_name: str
    higher_is_better: bool
    chance: float | None
    verdict: str
    looks: tuple[int, ...] = ()
    worst: float | None = None
    comparisons: tuple[Comparison, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Those raced, in order."""
        return tuple(dict.fromkeys(start.optimizer for start in self.starts))

    def label(self, start: Start) -> str:
        """The name of a start, with its optimizer where there are several."""
        return start.name if len(self.optimizers) < 2 else f"{start.name}, {start.optimizer}"

    def __getitem__(self, key: str | tuple[str, str]) -> Start:
        name, optimizer = (key, None) if isinstance(key, str) else key
        named = [start for start in self.starts if start.name == name]
        if not named:
            raise BadInputError(
                f"race: no start '{name}'; {near_names(name, [s.name for s in self.starts])}"
            )
        found = [start for start in named if optimizer in (None, start.optimizer)]
        if not found:
            raise BadInputError(
                f"race: no optimizer '{optimizer}'; {near_names(str(optimizer), self.optimizers)}"
            )
        if len(found) > 1:
            raise BadInputError(
                f"race: '{name}' ran under {', '.join(self.optimizers)}; name one of them:"
                f" race['{name}', '{self.optimizers[0]}']"
            )
        return found[0]

    def to_pandas(self) -> Any:
        """A long table, one row for each run and step.

        Returns:
            A `pandas.DataFrame` with technique, optimizer, seed, learning_rate, step (from 1), loss
            (of that step's batch), score (held out, after that step; NaN between the looks) and
            diverged.

        Raises:
            BadInputError: pandas is not installed.
        """
        return call("table", self)
