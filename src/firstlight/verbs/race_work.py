"""What one worker of a race does: build the starts of a unit and train them together."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError, said
from firstlight.racing.units import Unit
from firstlight.records.adapter import Adapter
from firstlight.records.plan import Plan
from firstlight.records.race import Recipe, Run
from firstlight.verbs.apply import apply

_ONE_AT_A_TIME = threading.Lock()
"""Threads of a process share the framework's random state, so units there take turns."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a worker needs besides the unit.

    Args:
        build: returns a new model; see `takes_seed`.
        adapter: of the model's framework.
        data: four arrays.
        recipes: of each (stage, optimizer).
        plans: of each technique; None leaves the model as it was built.
    """

    build: Callable[..., Any]
    adapter: Adapter
    data: Sequence[Any]
    recipes: Mapping[tuple[str, str], Recipe]
    plans: Mapping[str, Plan | None]


def train_unit(
    task: Task, unit: Unit, progress: Callable[[int], None] | None = None
) -> tuple[Run, ...]:
    """The runs of a unit, in the order of its jobs."""
    with _ONE_AT_A_TIME:
        models = {
            (job.technique, job.seed): _start(task, job.technique, job.seed) for job in unit.jobs
        }
        try:
            return task.adapter.train(
                [models[job.technique, job.seed] for job in unit.jobs],
                task.data,
                task.recipes[unit.stage, unit.optimizer],
                learning_rates=[job.learning_rate for job in unit.jobs],
                seeds=[job.seed for job in unit.jobs],
                progress=progress,
            )
        except FirstlightError:
            raise
        except Exception as error:
            raise raised("training", error) from error


def train_packed(packed: bytes, unit: Unit) -> tuple[Run, ...]:
    """The same in another process, from a pickled `Task`."""
    return train_unit(pickle.loads(packed), unit)


def raised(what: str, error: Exception) -> ModelRaisedError:
    """An error of the user's code as one line."""
    words = said(error)
    return ModelRaisedError(f"race: {what} raised {type(error).__name__}: {words}")


def takes_seed(build: Callable[..., Any]) -> bool:
    """Whether a factory has one argument without a default: it is given the seed."""
    try:
        parameters = signature(build).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is Parameter.empty and p.kind in kinds for p in parameters) == 1


def built(adapter: Adapter, build: Callable[..., Any], seed: int) -> Any:
    """A model under a seed: the framework's own, and the factory's where it takes one."""
    return adapter.build(partial(build, seed) if takes_seed(build) else build, seed)


def _start(task: Task, technique: str, seed: int) -> Any:
    """A model at one start of one seed."""
    try:
        model = built(task.adapter, task.build, seed)
    except Exception as error:
        raise raised("build", error) from error
    plan = task.plans[technique]
    if plan is not None:
        try:
            model = apply(model, plan, seed=seed).model
        except BadInputError as error:
            raise BadInputError(
                f"build: must return the same kind of model each time; under seed {seed}: {error}"
            ) from error
    return model
