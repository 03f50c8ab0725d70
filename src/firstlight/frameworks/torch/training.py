"""Short trainings of many models: as one where that is possible and pays, else one by one.

Each process uses one thread: at the sizes that are raced, threads inside an operation cost more
than they give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.training_alike import signature
from firstlight.frameworks.torch.training_data import Data, beside
from firstlight.frameworks.torch.training_single import train_single
from firstlight.frameworks.torch.training_stacked import train_stacked
from firstlight.frameworks.torch.training_trial import Trial, attempt
from firstlight.records.race import Recipe, Run, Together

FEWEST_TOGETHER, MOST_TOGETHER = 4, 64
NUMBERS_TOGETHER = 2**21
"""Parameters and kept activations of a group, about 8 MB: more falls out of the cache."""
LARGE_OPERATION = 1.5e6
"""Floating-point operations per tensor operation from which its overhead no longer counts."""


def together(model: nn.Module, data: Data, recipe: Recipe) -> Together:
    """How many models like this one are best trained as one, and why.

    Decided by what a step of it computes, never by the clock: the same everywhere. Raises
    `BadInputError` if there is nothing to train.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadInputError(
            f"model: {type(model).__name__} has no trainable parameter, so training changes"
            " nothing; set requires_grad_(True) on what is to learn"
        )
    with _one_thread():
        return _group(attempt(model, beside(data, model), recipe))


def _group(trial: Trial) -> Together:
    if trial.obstacle is not None:
        return Together(count=1, reason=f"trained one after another: {trial.obstacle}")
    if trial.flops > LARGE_OPERATION * trial.operations:
        reason = "trained one after another: its layers are large enough to keep a core busy"
        return Together(count=1, reason=reason)
    room = NUMBERS_TOGETHER // (trial.parameters + trial.kept)
    count = MOST_TOGETHER
    while count > room:
        count //= 2
    if count < FEWEST_TOGETHER:
        reason = "trained one after another: several of them do not fit into the cache"
        return Together(count=1, reason=reason)
    reason = f"up to {count} are trained as one network: small ones cost mostly overhead"
    return Together(count=count, reason=reason)


def train(
    models: Sequence[nn.Module],
    data: Data,
    recipe: Recipe,
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> tuple[Run, ...]:
    """Train copies of ``models``, one for each (seed, learning rate), and score them.

    The gradient's norm is clipped, then the recipe's optimizer takes its step.

    Args:
        models: n models; they are left as they are. Those that are alike train as one where
            `together` says so.
        data: see `as_data`.
        recipe: how.
        learning_rates: n rates.
        seeds: n seeds of the order of the data and of dropout.
        progress: called with the number of steps done since the last call, over all models; the
            steps that a diverged model need not take are done.

    Returns:
        n runs, in order. A run whose loss is not finite has diverged; its score is that of the
        model it ended as.
    """
    report = progress or (lambda _: None)
    data = beside(data, models[0]) if models else data
    jobs = list(zip(models, learning_rates, seeds, strict=True))
    alike: dict[Any, list[int]] = {}
    for place, model in enumerate(models):
        alike.setdefault(signature(model), []).append(place)
    runs: dict[int, Run] = {}
    with _one_thread():
        for places in alike.values():
            trial = attempt(models[places[0]], data, recipe) if len(places) > 1 else None
            count = _group(trial).count if trial is not None else 1
            for start in range(0, len(places), count):
                group = places[start : start + count]
                if trial is None or len(group) == 1:
                    found = tuple(_single(jobs[p], data, recipe, report) for p in group)
                else:
                    found = train_stacked(
                        [models[p] for p in group],
                        data,
                        recipe,
                        learning_rates=[learning_rates[p] for p in group],
                        seeds=[seeds[p] for p in group],
                        drops=trial.drops,
                        frozen=trial.frozen,
                        progress=report,
                    )
                runs.update(zip(group, found, strict=True))
    return tuple(runs[place] for place in range(len(models)))


def _single(
    job: tuple[nn.Module, float, int],
    data: Data,
    recipe: Recipe,
    report: Callable[[int], None],
) -> Run:
    model, rate, seed = job
    return train_single(model, data, recipe, learning_rate=rate, seed=seed, progress=report)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
