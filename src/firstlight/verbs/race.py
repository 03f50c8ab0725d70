"""Does it matter? Paired short trainings from several starts."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError
from firstlight.initializers.registry import technique as find_technique
from firstlight.racing.search import SEARCH_SEED, best_rates, checked
from firstlight.racing.statistics import summarize, verdict
from firstlight.records.adapter import Adapter
from firstlight.records.race import Race, Recipe, Run
from firstlight.verbs.adapters import adapter_for
from firstlight.verbs.apply import apply
from firstlight.verbs.plan import plan

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1)
_PLAN_SAMPLES = 256


def race(
    build: Callable[[], Any],
    data: Sequence[Any],
    *,
    loss: Any = None,
    techniques: Sequence[str] = ("default", "plan", "he_normal"),
    seeds: int = 10,
    steps: int = 300,
    batch_size: int = 64,
    learning_rates: Sequence[float] = LEARNING_RATES,
    search_seeds: int = 2,
    momentum: float = 0.9,
    clip_norm: float | None = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Race:
    """Train the same model from several starts on the same data in the same order.

    Each start is raced at its own best learning rate, searched on seeds of their own. All runs take
    the same number of SGD steps with momentum and clipping.

    Args:
        build: returns a new model; called under each seed, so that ``default`` varies with it.
        data: inputs, targets, held-out inputs, held-out targets: arrays or tensors.
        loss: as for `check`; by default cross-entropy for integer targets, else mean squares.
        techniques: ``default`` (as built), ``plan`` (Firstlight's), or names of the registry.
        seeds: number of scored runs of each start, at least 1.
        steps: optimizer steps of each run.
        batch_size: samples in a step.
        learning_rates: searched for each start.
        search_seeds: runs of each rate in the search.
        momentum: of SGD.
        clip_norm: largest norm of the gradient; None leaves it.
        progress: called with (steps done, steps in all) of model updates.

    Returns:
        A `Race`: ``race["plan"].mean``, ``.interval``, ``.runs``; ``race.verdict``.

    Raises:
        BadInputError: data, rates or counts that cannot be used; an unknown technique.

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
    seeds, steps = _count(seeds, "seeds"), _count(steps, "steps")
    search_seeds, batch_size = (
        _count(search_seeds, "search_seeds"),
        _count(batch_size, "batch_size"),
    )
    techniques = _names(techniques)
    rates = checked(learning_rates, "race: learning_rates")
    data = _arrays(data)
    recipe = Recipe(
        loss=loss, steps=steps, batch_size=batch_size, momentum=momentum, clip_norm=clip_norm
    )
    adapter = adapter_for(_built(build))
    planned = list(range(SEARCH_SEED, SEARCH_SEED + search_seeds)) if len(rates) > 1 else []
    updates = len(techniques) * steps * (len(rates) * len(planned) + seeds)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, updates)

    def train(jobs: Sequence[tuple[str, int, float]]) -> list[Run]:
        models = {
            key: _start(build, adapter, data, loss, *key)
            for key in dict.fromkeys((name, seed) for name, seed, _ in jobs)
        }
        try:
            runs = adapter.train(
                [models[name, seed] for name, seed, _ in jobs],
                data,
                recipe,
                learning_rates=[rate for _, _, rate in jobs],
                seeds=[seed for _, seed, _ in jobs],
                progress=advance,
            )
        except FirstlightError:
            raise
        except Exception as error:
            raise _raised("training", error) from error
        return list(runs)

    higher = _classifies(data)
    found: dict[str, tuple[float, list[tuple[float, float]]]] = {
        name: (rates[0], []) for name in techniques
    }
    if planned:
        jobs = [(name, s, rate) for name in techniques for rate in rates for s in planned]
        runs = train(jobs)
        by_start = {
            name: [run for run, job in zip(runs, jobs, strict=True) if job[0] == name]
            for name in techniques
        }
        found = best_rates(by_start, higher_is_better=higher)
    jobs = [(name, seed, found[name][0]) for name in techniques for seed in range(seeds)]
    runs = train(jobs)
    starts = tuple(
        summarize(
            name,
            found[name][0],
            found[name][1],
            [run for run, job in zip(runs, jobs, strict=True) if job[0] == name],
        )
        for name in techniques
    )
    score_name = "held-out accuracy" if higher else "held-out loss"
    return Race(
        starts=starts,
        steps=steps,
        batch_size=batch_size,
        optimizer=f"SGD, momentum {momentum:g}"
        + ("" if clip_norm is None else f", gradient norm clipped at {clip_norm:g}"),
        score_name=score_name,
        higher_is_better=higher,
        chance=_chance(data) if higher else None,
        verdict=verdict(starts, higher_is_better=higher, score_name=score_name),
    )


def _count(value: int, what: str) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise BadInputError(f"race: {what} must be an integer of at least 1, got {value!r}")
    return count


def _names(techniques: Sequence[str]) -> tuple[str, ...]:
    """The starts to race, each known and named once."""
    names = (techniques,) if isinstance(techniques, str) else tuple(techniques)
    if not names:
        raise BadInputError("race: techniques is empty; name at least one, 'plan' or 'he_normal'")
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"race: technique {name!r} is named twice; once is enough")
        if name not in ("default", "plan"):
            find_technique(name)
    return names


def _arrays(data: Any) -> tuple[Any, ...]:
    """Inputs, targets, held-out inputs and held-out targets; lists become arrays."""
    if not isinstance(data, tuple | list) or len(data) != 4:
        got = f"{len(data)} parts" if isinstance(data, tuple | list) else type(data).__name__
        raise BadInputError(
            f"data: expected (inputs, targets, held-out inputs, held-out targets), got {got}"
        )
    parts = tuple(_array(part) for part in data)
    for x, y, what in ((*parts[:2], "training"), (*parts[2:], "held-out")):
        if len(x) != len(y) or not len(x):
            raise BadInputError(
                f"data: {what} part has {len(x)} inputs and {len(y)} targets; both must be equal"
                " and above 0"
            )
        # Zero times NaN or infinity is NaN, in every framework and on every device.
        for values, kind in ((x, "inputs"), (y, "targets")):
            with np.errstate(invalid="ignore"):
                clean = math.isfinite(float((values * 0).sum()))
            if not clean:
                raise BadInputError(
                    f"data: {what} {kind} hold NaN or infinite values; clean them first"
                )
    return parts


def _array(part: Any) -> Any:
    """A tensor or array as it is; numbers in lists in the precision of models, float32."""
    try:
        found = part if hasattr(part, "dtype") else np.asarray(part)
    except ValueError as error:
        raise BadInputError(f"data: a list that is no array ({error})") from error
    numbers = any(kind in str(found.dtype) for kind in ("float", "int", "bool"))
    if not found.shape or not numbers:
        raise BadInputError(
            f"data: expected four arrays of numbers, one row for each sample; got {found.dtype}"
            f" of shape {tuple(found.shape)}"
        )
    return found.astype(np.float32) if found is not part and found.dtype == np.float64 else found


def _built(build: Callable[[], Any]) -> Any:
    """One model, to see what it is."""
    if not callable(build) or hasattr(build, "parameters"):
        raise BadInputError(
            f"build: expected a function that returns a new model, got {type(build).__name__};"
            " pass lambda: Model()"
        )
    try:
        return build()
    except Exception as error:
        raise _raised("build", error) from error


def _raised(what: str, error: Exception) -> ModelRaisedError:
    words = " ".join(str(error).split()) or "no message"
    return ModelRaisedError(f"race: {what} raised {type(error).__name__}: {words}")


def _start(
    build: Callable[[], Any], adapter: Adapter, data: Sequence[Any], loss: Any, name: str, seed: int
) -> Any:
    """A model at one start of one seed."""
    model = adapter.build(build, seed)
    if name == "default":
        return model
    inputs, targets = data[0][:_PLAN_SAMPLES], data[1][:_PLAN_SAMPLES]
    chosen = plan(
        model, inputs, target=targets, loss=loss, technique=None if name == "plan" else name
    )
    apply(model, chosen, seed=seed)
    return model


def _classifies(data: Sequence[Any]) -> bool:
    return "float" not in str(data[1].dtype)


def _chance(data: Sequence[Any]) -> float:
    """The accuracy of always naming the commonest held-out class."""
    targets = [int(value) for value in data[3]]
    return max(targets.count(value) for value in set(targets)) / len(targets)
