"""Does it matter? Paired short trainings from several starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from firstlight.errors import BadInputError, ModelRaisedError, RaceInterruptedError, WorkerLostError
from firstlight.racing import options
from firstlight.racing.data import classifies, guessing, hint, read
from firstlight.racing.executing import checked_executor, complete, packed
from firstlight.racing.results import Question, race_of
from firstlight.racing.search import SEARCH_SEED, best_rate
from firstlight.racing.spec import data_print, function_print, model_print
from firstlight.racing.standing import Standing, moved
from firstlight.racing.store import Store
from firstlight.racing.units import Unit, score_units, search_units
from firstlight.records.adapter import Adapter
from firstlight.records.race import Race, Recipe, Run
from firstlight.verbs.adapters import adapter_for, first_of
from firstlight.verbs.plan import plan
from firstlight.verbs.race_work import (
    Task,
    built,
    raised,
    takes_seed,
    train_packed,
    train_unit,
)

_PLAN_SAMPLES = 256


def race(
    build: Callable[..., Any],
    data: Sequence[Any],
    *,
    loss: Any = None,
    techniques: str | Sequence[str] = ("default", "plan", "he_normal"),
    seeds: int | Sequence[int] = 10,
    steps: int = 300,
    batch_size: int = 64,
    optimizers: str | Sequence[str] = ("sgd",),
    learning_rates: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    search_seeds: int = 2,
    momentum: float = 0.9,
    clip_norm: float | None = 1.0,
    looks: int = 10,
    target: float | None = None,
    executor: Executor | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[tuple[Standing, ...]], None] | None = None,
) -> Race:
    """Train the same model from several starts on the same data in the same order.

    Each start is raced at its own best learning rate, searched on seeds of their own with the same
    budget. Small models train many at once where the framework can; a diverged run stops early and
    is counted, with the score of guessing.

    Args:
        build: returns a new model; called under each seed, so that ``default`` varies with it. One
            that takes an argument is given the seed: JAX has none of its own.
        data: inputs, targets, held-out inputs, held-out targets: arrays or tensors; or a training
            set and a held-out set (data sets or loaders of (input, target)), read once.
        loss: as for `check`; by default cross-entropy for integer targets, else mean squares.
        techniques: ``default`` (as built), ``plan`` (Firstlight's), or names of the registry.
        seeds: number of scored runs of each start, 1 to 1,000,000; or their seeds.
        steps: optimizer steps of each run.
        batch_size: samples in a step; all of them if there are fewer.
        optimizers: ``sgd``, ``adam``, ``adamw``, ``rmsprop``; each start is raced under each.
        learning_rates: searched for each start; for each optimizer if a mapping.
        search_seeds: runs of each rate in the search.
        momentum: of SGD, from 0 to below 1.
        clip_norm: largest norm of the gradient, above 0; None leaves it.
        looks: how often the held-out score is taken on the way, evenly spaced.
        target: a score; the record then says how many steps each start took to reach it.
        executor: any `concurrent.futures.Executor`, to train in other processes or on other
            machines; None trains here.
        folder: keeps each finished part. The same race in the same folder goes on where it was
            stopped, by Ctrl-C or a kill, and ends as if it had not been.
        progress: called with (steps done, steps in all) of model updates.
        watch: called with a `Standing` of each start whenever a part is finished.

    Returns:
        A `Race`: ``race["plan"].mean``, ``.interval``, ``.runs``; ``race.comparisons``;
        ``race.verdict``.

    Raises:
        BadInputError: data, rates or counts that cannot be used; an unknown technique or optimizer;
            a folder that holds another race.
        ModelRaisedError: the model raised while it was built or trained.
        WorkerLostError: an executor lost its workers; ``.race`` holds what was finished.
        RaceInterruptedError: Ctrl-C, a `KeyboardInterrupt`; ``.race`` holds what was finished.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> x, y = torch.randn(256, 8), torch.randint(2, (256,))
        >>> build = lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> data = (x, y, x, y)
        >>> race = fl.race(build, data, techniques=("default", "plan"), seeds=2, steps=3)
        >>> [start.name for start in race.starts], race.score_name
        (['default', 'plan'], 'held-out accuracy')
    """
    tries = options.checked_count(search_seeds, "search_seeds")
    searched = range(SEARCH_SEED, SEARCH_SEED + tries)
    asked = Question(
        techniques=options.checked_techniques(techniques),
        optimizers=options.checked_optimizers(optimizers),
        seeds=options.checked_seeds(seeds, searched),
        steps=options.checked_count(steps, "steps"),
        batch_size=options.checked_count(batch_size, "batch_size", most=sys.maxsize),
        search_seeds=tries,
        momentum=options.checked_number(momentum, "momentum", least=0, below=1),
        clip_norm=options.checked_clip(clip_norm),
        looks=options.looks_at(
            steps, options.checked_count(looks, "looks", least=0, most=sys.maxsize)
        ),
        target=options.checked_target(target),
    )
    rates = options.checked_rates(learning_rates, asked.optimizers)
    chosen_executor = checked_executor(executor)
    options.check_hooks(folder, progress=progress, watch=watch)
    model, adapter = _built(build)
    parts = adapter.build(lambda: read(data), 0)  # a loader that shuffles draws from the framework
    with _helped(parts):
        plans = {name: _plan(build, adapter, parts, loss, name) for name in asked.techniques}
    task = Task(
        build=build, adapter=adapter, data=parts, recipes=_recipes(asked, loss), plans=plans
    )
    groups = {
        name: adapter.together(model, parts, task.recipes["score", name])
        for name in asked.optimizers
    }
    counts = {name: group.count for name, group in groups.items()}
    store = None
    if folder is not None:
        spec = asked.spec() | {
            "learning_rates": {name: list(own) for name, own in rates.items()},
            "data": data_print(parts),
            "build": function_print(build),
            "model": model_print(model, adapter.values(model)),
            "loss": function_print(loss),
            "versions": _versions(adapter),
        }
        store = Store(folder, spec, counts)
        counts = store.counts
    course = _Course(
        task=task,
        asked=asked,
        rates=rates,
        counts=counts,
        store=store,
        executor=chosen_executor,
        chance=guessing(parts, loss),
        higher=classifies(parts),
        remarks=tuple(dict.fromkeys(g.reason for g in groups.values() if g.count == 1)),
        progress=progress,
        watch=watch,
    )
    with _helped(parts):
        return course.run()


@contextmanager
def _helped(parts: Sequence[Any]) -> Iterator[None]:
    """Add to an error of model or loss what to do about the data."""
    try:
        yield
    except (BadInputError, ModelRaisedError) as error:
        said = str(error).replace("pass loss= or step=", "pass loss=")
        more = hint(parts, said)
        if not more and said == str(error):
            raise
        raise type(error)(said + more) from error


@dataclass(kw_only=True)
class _Course:
    """One race while it is run: what is finished so far, and what is left."""

    task: Task
    asked: Question
    rates: Mapping[str, tuple[float, ...]]
    counts: Mapping[str, int]
    store: Store | None
    executor: Executor | None
    chance: float | None
    higher: bool
    remarks: tuple[str, ...]
    progress: Callable[[int, int], None] | None
    watch: Callable[[tuple[Standing, ...]], None] | None
    done: int = 0
    searched: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    scored: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    standings: tuple[Standing, ...] = ()

    def run(self) -> Race:
        """Search, score, summarize; on the way out by Ctrl-C or a lost worker say what is kept."""
        asked = self.asked
        search_seeds = range(SEARCH_SEED, SEARCH_SEED + asked.search_seeds)
        search = {name: own for name, own in self.rates.items() if len(own) > 1}
        searches = {name: len(search.get(name, ())) * asked.search_seeds for name in self.rates}
        self.standings = tuple(
            Standing(
                technique=name, optimizer=optimizer, runs=searches[optimizer] + len(asked.seeds)
            )
            for optimizer in asked.optimizers
            for name in asked.techniques
        )
        try:
            self._complete(search_units(asked.techniques, search_seeds, search, self.counts))
            rates = {
                (name, optimizer): self._rate(name, optimizer)[0]
                for optimizer in asked.optimizers
                for name in asked.techniques
            }
            self._complete(score_units(rates, asked.seeds, self.counts))
            return self._summary(self.remarks)
        except WorkerLostError as error:
            raise WorkerLostError(f"{error}; {self._kept()}", self._partial()) from error
        except KeyboardInterrupt as error:
            raise RaceInterruptedError(
                f"race: interrupted; {self._kept()}", self._partial()
            ) from error

    def _rate(self, name: str, optimizer: str) -> tuple[float, list[tuple[float, float]]]:
        if len(self.rates[optimizer]) == 1:
            return self.rates[optimizer][0], []
        return best_rate(self.searched[name, optimizer], higher_is_better=self.higher)

    def _complete(self, units: Sequence[Unit]) -> None:
        submit = None
        if self.executor is not None and units:
            executor, task = self.executor, packed(self.task)

            def submit(unit: Unit) -> Any:
                return executor.submit(train_packed, task, unit)

        complete(units, self._train, submit=submit, store=self.store, finished=self._finished)

    def _train(self, unit: Unit) -> tuple[Run, ...]:
        before = self.done

        def advance(count: int) -> None:
            nonlocal before
            before += count
            self._report(before)

        return train_unit(self.task, unit, advance)

    def _finished(self, unit: Unit, runs: tuple[Run, ...]) -> None:
        kept = self.searched if unit.stage == "search" else self.scored
        for job, run in zip(unit.jobs, runs, strict=True):
            kept.setdefault((job.technique, unit.optimizer), []).append(run)
        self.done += len(runs) * self.asked.steps
        self._report(self.done)
        self.standings = moved(self.standings, unit, runs, higher_is_better=self.higher)
        if self.watch is not None:
            self.watch(self.standings)

    def _report(self, done: int) -> None:
        if self.progress is not None:
            total = sum(standing.runs for standing in self.standings) * self.asked.steps
            self.progress(min(done, total), total)

    def _kept(self) -> str:
        total = sum(standing.runs for standing in self.standings)
        done = f"{sum(standing.done for standing in self.standings)} of {total} runs are finished"
        if self.store is not None:
            return f"{done} and kept in {self.store.folder}; the same call goes on from there"
        return f"{done}; name a folder to be able to go on"

    def _partial(self) -> Race | None:
        if not self.scored:
            return None
        seeds = min(len(runs) for runs in self.scored.values())
        remark = (
            f"Stopped early: {seeds} of {len(self.asked.seeds)} seeds are finished for every start"
        )
        return self._summary((remark, *self.remarks))

    def _summary(self, remarks: tuple[str, ...]) -> Race:
        starts = [
            (name, optimizer, *self._rate(name, optimizer), self.scored[name, optimizer])
            for optimizer in self.asked.optimizers
            for name in self.asked.techniques
            if (name, optimizer) in self.scored
        ]
        return race_of(
            self.asked, starts, higher_is_better=self.higher, chance=self.chance, remarks=remarks
        )


def _built(build: Callable[..., Any]) -> tuple[Any, Adapter]:
    """A model under seed 0, to see what it is, and the adapter of its framework."""
    if not callable(build) or (hasattr(build, "parameters") and not isinstance(build, type)):
        raise BadInputError(
            f"build: expected a function that returns a new model, got {type(build).__name__};"
            " pass lambda: Model()"
        )
    try:
        first = first_of(partial(build, 0) if takes_seed(build) else build)
        adapter = adapter_for(first)
        second = built(adapter, build, 0)
    except BadInputError:
        raise
    except Exception as error:
        raise raised("build", error) from error
    if first is second:
        raise BadInputError(
            "build: returned the same model twice; expected a function that makes a new one"
        )
    return second, adapter


def _recipes(asked: Question, loss: Any) -> dict[tuple[str, str], Recipe]:
    """How each stage trains; the search looks at the end only."""
    return {
        (stage, optimizer): Recipe(
            loss=loss,
            steps=asked.steps,
            batch_size=asked.batch_size,
            optimizer=optimizer,
            momentum=asked.momentum,
            clip_norm=asked.clip_norm,
            looks=looks,
        )
        for optimizer in asked.optimizers
        for stage, looks in (("search", ()), ("score", asked.looks))
    }


def _plan(
    build: Callable[..., Any], adapter: Adapter, data: Sequence[Any], loss: Any, name: str
) -> Any:
    """The plan of a start, made once for all seeds; None for the model as it is built."""
    if name == "default":
        return None
    inputs, targets = data[0][:_PLAN_SAMPLES], data[1][:_PLAN_SAMPLES]
    return plan(
        built(adapter, build, 0),
        inputs,
        target=targets,
        loss=loss,
        technique=None if name == "plan" else name,
    )


def _versions(adapter: Adapter) -> dict[str, str]:
    framework = getattr(sys.modules.get(adapter.name), "__version__", "unknown")
    return {
        "firstlight": sys.modules["firstlight"].__version__,
        "numpy": np.__version__,
        adapter.name: str(framework),
    }
