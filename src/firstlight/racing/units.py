"""The work of a race as a list of jobs, cut into units that are trained, kept and sent whole.

The cut is a function of the race's spec alone, never of what is already done: models that train as
one influence each other's rounding, so a race that goes on after a kill must form the same groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Args:
        technique: the start.
        seed: of the start and the order of the data.
        learning_rate: of the optimizer.
    """

    technique: str
    seed: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Jobs that are trained together, in this order.

    Args:
        stage: ``search`` for the learning rates, ``score`` for what is reported.
        optimizer: of all jobs.
        index: place among the units of this stage and optimizer.
        jobs: at least one.
    """

    stage: str
    optimizer: str
    index: int
    jobs: tuple[Job, ...]

    @property
    def name(self) -> str:
        """Its name in a folder."""
        return f"{self.stage}-{self.optimizer}-{self.index:05d}"


def search_units(
    techniques: Sequence[str],
    seeds: Sequence[int],
    rates: Mapping[str, Sequence[float]],
    counts: Mapping[str, int],
) -> tuple[Unit, ...]:
    """The units of the search: every technique at every rate on the seeds of the search.

    Args:
        techniques: to search for.
        seeds: of the search.
        rates: learning rates of each optimizer.
        counts: for each optimizer, how many jobs a unit has at most.
    """
    jobs = {
        optimizer: [
            Job(technique=name, seed=seed, learning_rate=rate)
            for seed, name, rate in product(seeds, techniques, own)
        ]
        for optimizer, own in rates.items()
    }
    return _cut("search", jobs, counts)


def score_units(
    rates: Mapping[tuple[str, str], float], seeds: Sequence[int], counts: Mapping[str, int]
) -> tuple[Unit, ...]:
    """The scored units, seed by seed, so that an interrupted race has whole pairs.

    Args:
        rates: the learning rate of each (technique, optimizer).
        seeds: of the scored runs.
        counts: for each optimizer, how many jobs a unit has at most.
    """
    jobs = {
        optimizer: [
            Job(technique=name, seed=seed, learning_rate=rate)
            for seed in seeds
            for (name, own), rate in rates.items()
            if own == optimizer
        ]
        for optimizer in counts
    }
    return _cut("score", jobs, counts)


def _cut(
    stage: str, jobs: Mapping[str, Sequence[Job]], counts: Mapping[str, int]
) -> tuple[Unit, ...]:
    return tuple(
        Unit(stage=stage, optimizer=optimizer, index=index, jobs=tuple(group))
        for optimizer, own in jobs.items()
        for index, group in enumerate(_groups(own, counts[optimizer]))
    )


def _groups(jobs: Sequence[Any], most: int) -> list[Sequence[Any]]:
    """As few groups as may be, of nearly equal size.

    >>> [len(group) for group in _groups([*range(10)], 4)]
    [4, 4, 2]
    >>> [len(group) for group in _groups([*range(9)], 4)]
    [3, 3, 3]
    """
    size = math.ceil(len(jobs) / math.ceil(len(jobs) / most)) if jobs else 1
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]
