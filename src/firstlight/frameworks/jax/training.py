"""Short trainings of many models: as one where that is possible and pays, else one by one.

A step is a pure function of one network's arrays; `jax.vmap` makes it one of many, and one compiled
loop takes all steps between two looks.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from firstlight.frameworks.jax.alike import signature
from firstlight.frameworks.jax.batches import output_array
from firstlight.frameworks.jax.held import Held
from firstlight.frameworks.jax.models import hold
from firstlight.frameworks.jax.training_cost import cost_of
from firstlight.frameworks.jax.training_data import Data, check_classes, orders
from firstlight.frameworks.jax.training_programs import Programs
from firstlight.frameworks.jax.training_updates import moments
from firstlight.records.race import Recipe, Run, Together

FEWEST_TOGETHER, MOST_TOGETHER = 4, 64
NUMBERS_TOGETHER = 2**21
"""Parameters and kept activations of a group, about 8 MB: more falls out of the cache."""
LARGE_OPERATION = 1.5e6
"""Floating-point operations per operation from which its overhead no longer counts."""
_CHUNK = 50
"""So many steps at a time, so that progress is told and a lost group is given up."""
_COMPILED = 8

_PROGRAMS: OrderedDict[Hashable, Programs] = OrderedDict()


def together(held: Held, data: Data, recipe: Recipe) -> Together:
    """How many models like this one are best trained as one, and why.

    Decided by what a step of it computes, never by the clock: the same everywhere.
    """

    def alone(reason: str) -> Together:
        return Together(count=1, reason=f"trained one after another: {reason}")

    programs = Programs(held, data, recipe, 1)
    size = min(recipe.batch_size, len(data.inputs))
    arrays, state = dict(held.view.arrays), held.state
    batch = data.inputs[:size], data.targets[:size]
    gradient = jax.value_and_grad(programs.loss, has_aux=True)
    key = jax.random.key(0)
    try:
        cost = cost_of(gradient, arrays, state, key, *batch)
    except Exception:  # trained alone it will say this better
        return alone("it could not take a step")
    if cost.convolves:
        return alone("several convolutions as one are slower on a CPU than one by one")
    if cost.flops > LARGE_OPERATION * cost.operations:
        return alone("its layers are large enough to keep a core busy")
    try:
        pair = jax.tree.map(lambda a: jnp.stack([a, a]), (arrays, state))
        jax.eval_shape(jax.vmap(lambda a, s: gradient(a, s, key, *batch)), *pair)
    except Exception as error:
        return alone(f"as one it raises {type(error).__name__}: {_line(error)}")
    room = NUMBERS_TOGETHER // (sum(a.size for a in arrays.values()) + cost.kept)
    count = MOST_TOGETHER
    while count > room:
        count //= 2
    if count < FEWEST_TOGETHER:
        return alone("several of them do not fit into the cache")
    return Together(
        count=count,
        reason=f"up to {count} are trained as one network: small ones cost mostly overhead",
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or "no message"


def train(
    models: Sequence[Any],
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
    held = [hold(model) for model in models]
    kinds = [_kind(model, each) for model, each in zip(models, held, strict=True)]
    return train_held(
        held,
        kinds,
        data,
        recipe,
        learning_rates=learning_rates,
        seeds=seeds,
        progress=progress,
    )


def train_held(
    held: Sequence[Held],
    kinds: Sequence[Hashable],
    data: Data,
    recipe: Recipe,
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> tuple[Run, ...]:
    """The same of models that are held already.

    Args:
        held: n models.
        kinds: what is equal for models that compute the same function of arrays and state.
        data: see `train`.
        recipe: see `train`.
        learning_rates: n rates.
        seeds: n seeds.
        progress: see `train`.
    """
    report = progress or (lambda _: None)
    jobs = list(zip(held, learning_rates, seeds, strict=True))
    alike: dict[Hashable, list[int]] = {}
    for place, kind in enumerate(kinds):
        alike.setdefault(kind, []).append(place)
    runs: dict[int, Run] = {}
    for kind, places in alike.items():
        count = together(held[places[0]], data, recipe).count if len(places) > 1 else 1
        for start in range(0, len(places), count):
            group = places[start : start + count]
            found = _group(
                [held[p] for p in group],
                kind,
                data,
                recipe,
                rates=[jobs[p][1] for p in group],
                seeds=[jobs[p][2] for p in group],
                report=report,
            )
            runs.update(zip(group, found, strict=True))
    return tuple(runs[place] for place in range(len(held)))


def _kind(model: Any, held: Held) -> Hashable:
    carried = {*map(id, held.view.arrays.values()), *map(id, jax.tree.leaves(held.state))}
    kind = signature(model, frozenset(carried | set(map(id, held.streams))))
    try:
        hash(kind)
    except TypeError:
        kind = id(held)
    return kind, jax.tree.structure(held.state)


def _programs(kind: Hashable, held: Held, data: Data, recipe: Recipe, count: int) -> Programs:
    """Compiled code is kept: a race trains many groups of one kind."""
    key = (kind, data.key, recipe.optimizer, recipe.momentum, recipe.clip_norm, recipe.loss, count)
    if key not in _PROGRAMS:
        _PROGRAMS[key] = Programs(held, data, recipe, count)
        if len(_PROGRAMS) > _COMPILED:
            _PROGRAMS.popitem(last=False)
    _PROGRAMS.move_to_end(key)
    return _PROGRAMS[key]


def _group(
    held: Sequence[Held],
    kind: Hashable,
    data: Data,
    recipe: Recipe,
    *,
    rates: Sequence[float],
    seeds: Sequence[int],
    report: Callable[[int], None],
) -> list[Run]:
    """Train models that are alike as one; a diverged one does the others no harm."""
    programs = _programs(kind, held[0], data, recipe, len(held))
    distinct = list(dict.fromkeys(seeds))
    order = jnp.asarray(orders(data, recipe, distinct))
    nets = [
        {
            "arrays": dict(each.view.arrays),
            "state": jax.tree.map(jnp.asarray, each.state),
            "memory": moments(recipe, each.view.arrays),
            "rate": jnp.asarray(rate, jnp.float32),
            "seed": jnp.asarray(seed % 2**31, jnp.int32),
            "owner": jnp.asarray(distinct.index(seed), jnp.int32),
            "alive": jnp.asarray(True),
            "losses": jnp.full(recipe.steps, jnp.nan, jnp.float32),
        }
        for each, rate, seed in zip(held, rates, seeds, strict=True)
    ]
    stack: Any = nets[0] if len(nets) == 1 else jax.tree.map(lambda *a: jnp.stack(a), *nets)
    _check(held[0], data)
    scores: list[list[float]] = [[] for _ in held]
    done, alive = 0, [True] * len(held)
    stops = sorted({*recipe.all_looks, *range(_CHUNK, recipe.steps, _CHUNK), recipe.steps})
    for stop in stops:
        if any(alive):
            stack = programs.train(stack, (data.inputs, data.targets), order, done, stop)
        report((stop - done) * len(held))
        done = stop
        alive = [bool(a) for a in jnp.atleast_1d(stack["alive"])]
        if stop in recipe.all_looks:
            now = programs.score(stack, data.held_out_inputs, data.held_out_targets)
            for net, value in enumerate(jnp.atleast_1d(now).tolist()):
                scores[net].append(float(value))
    losses = jnp.atleast_2d(stack["losses"]).tolist()
    return [
        _run(recipe, seeds[net], rates[net], losses[net], scores[net]) for net in range(len(held))
    ]


def _check(held: Held, data: Data) -> None:
    """Refuse classes that the model does not give."""

    def output(arrays: Any, state: Any, inputs: Array) -> Array:
        key = jax.random.key(0)
        return output_array(held.call(arrays, state, key, (inputs,), {}, training=False)[0])

    if data.classifies:
        given = dict(held.view.arrays), held.state, data.held_out_inputs
        check_classes(jax.eval_shape(output, *given).shape[-1], data)


def _run(recipe: Recipe, seed: int, rate: float, losses: list[float], scores: list[float]) -> Run:
    """The record of one training; losses end with the first that is not finite."""
    end = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses) - 1)
    kept = losses[: end + 1]
    return Run(
        seed=seed,
        optimizer=recipe.optimizer,
        learning_rate=rate,
        losses=tuple(kept),
        scores=tuple(scores),
        score=scores[-1],
        diverged=not math.isfinite(kept[-1]),
    )
