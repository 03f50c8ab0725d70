"""What a fault does to training: the judge of severity, which never looks at a checkup.

A fault *hurts* if under at least one of the two optimizers of `zoo.training` its score lies above
the 97.5 % quantile at which one more healthy twin is expected (Student's t over twins with other
seeds) and the fault costs at least a twentieth of what the twins learned from their loss at start.
One optimizer is enough: many a wrong scale is repaired by Adam and spoils SGD. An optimizer under
which the twins themselves learn nothing beyond their scatter does not judge; where neither judges,
the case is open.

Compared are losses of the same task. Where an operator changes the task or what is trained, the
twin is no longer the specimen as it is: LoRA with two zero factors is compared with LoRA with one,
a softmax over one unit with that unit's logit. LoRA itself and imbalanced labels are their own
twins. Twins are the yardstick, and harmless by definition.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import nn

from zoo.faults import CONTROLS, FAULTS, Fault
from zoo.planting import reach
from zoo.specimen import Specimen
from zoo.training import Key, Run

SEEDS, OTHER_SEEDS = range(5), range(3)
"""Twins per model; where the twin is not the model as it is, three."""

FEWEST = 3
"""Twins without which nothing is judged."""

LOST = 0.05
"""Least share of the twins' progress that a fault must cost to count."""


_NAMED = {fault.name: fault for fault in (*FAULTS, *CONTROLS)}
_ONE_LOGIT = replace(
    _NAMED["softmax-over-one-unit"], name="one-logit", kinds=(), apply=reach.one_unit(nn.Identity)
)

TWINS: dict[str, Fault] = {
    "softmax-over-one-unit": _ONE_LOGIT,
    "lora-both-zero": _NAMED["lora"],
    "lora": _NAMED["lora"],
    "imbalanced-labels": _NAMED["imbalanced-labels"],
}
"""Where the healthy twin is not the specimen as it is: operator and twin."""

OPERATORS: dict[str, Fault | None] = {"": None, **_NAMED, _ONE_LOGIT.name: _ONE_LOGIT}
"""By the name that a run gives; none for the specimen as it is."""


def starts(specimen: Specimen, faults: Iterable[Fault]) -> Iterator[tuple[Fault | None, int]]:
    """What must be trained to judge these faults: twins, then each fault once."""
    yield from ((None, seed) for seed in SEEDS)
    faults = [f for f in faults if f.to(specimen)]
    twins = {twin.name: twin for f in faults if (twin := TWINS.get(f.name))}
    yield from ((twin, seed) for twin in twins.values() for seed in OTHER_SEEDS)
    yield from ((fault, 0) for fault in faults if fault.name not in twins)


def is_twin(run: Run) -> bool:
    """Whether a run is a yardstick."""
    return run.fault in {"", *(twin.name for twin in TWINS.values())}


def lost(run: Run, twins: Iterable[Run]) -> dict[str, float]:
    """The share of its twins' progress that a start costs, by optimizer that judges.

    1: it learned nothing; infinite: it diverged; 0 where the difference is within what one more
    twin would show.
    """
    others = [twin for twin in twins if twin.key != run.key]
    starts = [twin.start for twin in others if twin.start is not None]
    shares: dict[str, float] = {}
    for name, score in run.scores.items():
        healthy = [s for twin in others if (s := twin.scores.get(name)) is not None]
        if len(healthy) < FEWEST:
            continue
        mean, n = statistics.fmean(healthy), len(healthy)
        spread = statistics.stdev(healthy) * math.sqrt(1 + 1 / n)
        limit = mean + float(student.ppf(0.975, n - 1)) * spread
        start = statistics.fmean(starts)
        if limit >= start:
            continue
        if score is None:
            shares[name] = math.inf
        else:
            shares[name] = (score - mean) / (start - mean) if score > limit else 0.0
    return shares


def hurts(run: Run, twins: Iterable[Run]) -> bool | None:
    """Whether a start is worse than its twins (see above); None if no optimizer judges."""
    shares = lost(run, twins)
    return max(shares.values()) >= LOST if shares else None


def twins_of(run: Run, runs: dict[tuple[str, str, int], list[Run]]) -> list[Run]:
    """Its healthy twins, out of runs by specimen, fault and steps."""
    twin = TWINS.get(run.fault)
    name = run.fault if run.fault == _ONE_LOGIT.name else "" if twin is None else twin.name
    return runs.get((run.specimen, name, run.steps), [])


def verdicts(runs: Iterable[Run]) -> dict[Key, bool | None]:
    """`hurts` of each run that did not raise; of a twin, against the others of its kind."""
    trained = [run for run in runs if not run.raised]
    groups: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    for run in trained:
        groups[run.specimen, run.fault, run.steps].append(run)
    return {run.key: hurts(run, twins_of(run, groups)) for run in trained}


# Predicting --------------------------------------------------------------------------------------


def auc(harmful: NDArray[np.float64], harmless: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance that a harmful start is called worse than a harmless one, ties counted half.

    The area under the ROC curve, from counts by severity (..., severities).

    >>> float(auc(np.array([0, 0, 1, 3]), np.array([8, 1, 0, 0])))
    1.0
    """
    milder = harmless.cumsum(-1) - harmless
    pairs = harmful.sum(-1) * harmless.sum(-1)
    return np.asarray((harmful * (milder + harmless / 2)).sum(-1) / pairs)


def auc_interval(
    harmful: NDArray[np.float64], harmless: NDArray[np.float64], draws: int = 2000
) -> tuple[float, float, float]:
    """`auc` and its 95 % interval over architectures, from counts (architectures, severities).

    Bootstrap: architectures are drawn with replacement, each with all of its starts, because starts
    of one architecture are no independent cases.
    """
    count = len(harmful)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), draws)
    with np.errstate(invalid="ignore"):  # a draw without a harmful start has no curve
        drawn = auc(weights @ harmful, weights @ harmless)
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(auc(harmful.sum(0), harmless.sum(0))), float(low), float(high)
