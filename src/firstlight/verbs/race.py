"""Does it matter? Paired short trainings from several starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from firstlight.errors import BadInputError
from firstlight.racing.search import SEARCH_SEED, best_rates, checked
from firstlight.racing.statistics import summarize, verdict
from firstlight.records.adapter import Adapter
from firstlight.records.race import Race, Run
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
    for count, what in ((seeds, "seeds"), (steps, "steps"), (search_seeds, "search_seeds")):
        if count < 1:
            raise BadInputError(f"race: {what} must be at least 1, got {count}")
    if not techniques:
        raise BadInputError("race: techniques is empty; name at least one, 'plan' or 'he_normal'")
    rates = checked(learning_rates, "race: learning_rates")
    adapter = adapter_for(build())
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
        return list(
            adapter.train(
                [models[name, seed] for name, seed, _ in jobs],
                data,
                loss=loss,
                learning_rates=[rate for _, _, rate in jobs],
                seeds=[seed for _, seed, _ in jobs],
                steps=steps,
                batch_size=batch_size,
                momentum=momentum,
                clip_norm=clip_norm,
                progress=advance,
            )
        )

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
