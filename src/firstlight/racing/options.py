"""What a race is asked for, checked: each refusal is one line that says what is allowed."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from firstlight.errors import BadInputError, near_names
from firstlight.initializers.registry import technique as find_technique
from firstlight.records.race import OPTIMIZERS

LEARNING_RATES: Mapping[str, tuple[float, ...]] = {
    "sgd": (0.003, 0.01, 0.03, 0.1),
    "adam": (0.0003, 0.001, 0.003, 0.01),
    "adamw": (0.0003, 0.001, 0.003, 0.01),
    "rmsprop": (0.0003, 0.001, 0.003, 0.01),
}
"""Searched where the caller names none; as many for each optimizer, so that none has more tries."""


MOST = 1_000_000
"""Of any count: each seed, step and look is held in memory."""


def checked_count(value: Any, what: str, least: int = 1, most: int = MOST) -> int:
    """An integer from ``least`` to ``most``."""
    try:
        count = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = least - 1
    if count < least:
        raise BadInputError(f"race: {what} must be an integer of at least {least}, got {value!r}")
    if count > most:
        raise BadInputError(f"race: {what} must be at most {most}, got {value!r}")
    return count


def checked_number(
    value: Any, what: str, *, least: float, below: float, open_below: bool = False
) -> float:
    """A number of at least ``least`` (above it if open) and below ``below``."""
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not known or not (least < value if open_below else least <= value) or not value < below:
        bound = f"above {least:g}" if open_below else f"of at least {least:g}"
        upper = f" and below {below:g}" if math.isfinite(below) else ""
        raise BadInputError(f"race: {what} must be a number {bound}{upper}, got {value!r}")
    return float(value)


def checked_clip(value: Any) -> float | None:
    """A finite norm above zero, or None."""
    if value is None:
        return None
    try:
        return checked_number(value, "clip_norm", least=0, below=math.inf, open_below=True)
    except BadInputError as error:
        raise BadInputError(f"{error}; None clips nothing") from None


def check_hooks(folder: Any, **hooks: Any) -> None:
    """Refuse what is no path, and hooks that can't be called."""
    if folder is not None and not (isinstance(folder, str | os.PathLike) and str(folder)):
        raise BadInputError(f"race: folder: expected a path or None, got {folder!r}")
    for name, hook in hooks.items():
        if hook is not None and not callable(hook):
            raise BadInputError(
                f"race: {name}: expected a function or None, got {type(hook).__name__}"
            )


def checked_seeds(seeds: Any, searched: range) -> tuple[int, ...]:
    """Seeds of the scored runs: 0 to n − 1 for a number n, or those that are named.

    Args:
        seeds: a number or integers.
        searched: the seeds of the search, which must not be scored.
    """
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        return tuple(range(checked_count(seeds, "seeds")))
    most = 2**63 - 1  # what frameworks take
    named = tuple(checked_count(seed, "each of seeds", 0, most) for seed in seeds)
    if not named:
        raise BadInputError("race: seeds is empty; give a number of seeds, or the seeds")
    if len(set(named)) < len(named):
        raise BadInputError("race: seeds names a seed twice; once is enough")
    if set(named) & set(searched):
        raise BadInputError(
            f"race: seeds holds {min(set(named) & set(searched))}, which the search for learning"
            f" rates uses ({searched.start} and on); name others"
        )
    return named


def checked_techniques(techniques: str | Sequence[str]) -> tuple[str, ...]:
    """The starts to race, each known and named once."""
    names = _once(techniques, "technique", "techniques", "'plan' or 'he_normal'")
    for name in names:
        if name not in ("default", "plan"):
            find_technique(name)
    return names


def checked_optimizers(optimizers: str | Sequence[str]) -> tuple[str, ...]:
    """The optimizers to race under, each known and named once."""
    names = _once(optimizers, "optimizer", "optimizers", "'sgd' or 'adam'")
    for name in names:
        if name not in OPTIMIZERS:
            raise BadInputError(f"race: no optimizer '{name}'; {near_names(str(name), OPTIMIZERS)}")
    return names


def _once(given: str | Sequence[str], what: str, plural: str, example: str) -> tuple[str, ...]:
    if not isinstance(given, Iterable):
        raise BadInputError(
            f"race: {plural}: expected names, {example}, got {type(given).__name__}"
        )
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names:
        raise BadInputError(f"race: {plural} is empty; name at least one, {example}")
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"race: {what} {name!r} is named twice; once is enough")
    return names


def checked_rates(
    rates: Sequence[float] | Mapping[str, Sequence[float]] | None, optimizers: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """The learning rates to search for each optimizer, as many for each."""
    if rates is None:
        return {name: LEARNING_RATES[name] for name in optimizers}
    if not isinstance(rates, Mapping):
        return dict.fromkeys(optimizers, _positive(rates))
    if set(rates) != set(optimizers):
        raise BadInputError(
            f"race: learning_rates has {', '.join(map(str, rates)) or 'no optimizer'}; expected"
            f" rates for {', '.join(optimizers)}"
        )
    found = {name: _positive(rates[name]) for name in optimizers}
    if len({len(own) for own in found.values()}) > 1:
        counts = ", ".join(f"{len(own)} for {name}" for name, own in found.items())
        raise BadInputError(
            f"race: learning_rates: {counts}; give each optimizer as many, for the same budget"
        )
    return found


def _positive(values: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or any(not 0 < value < math.inf for value in numbers):
        shown = list(values) if isinstance(values, list | tuple) else values
        raise BadInputError(
            f"race: learning_rates: expected positive numbers, at least one; got {shown!r}"
        )
    if len(set(numbers)) < len(numbers):
        raise BadInputError(f"race: learning_rates: {list(numbers)} names a rate twice")
    return numbers


def checked_target(target: Any) -> float | None:
    """A finite score to reach, or None."""
    if target is None:
        return None
    if isinstance(target, bool) or not isinstance(target, int | float) or not math.isfinite(target):
        raise BadInputError(f"race: target: expected a score such as 0.9, got {target!r}")
    return float(target)


def looks_at(steps: int, count: int) -> tuple[int, ...]:
    """Steps at which the held-out score is taken: ``count`` of them, evenly spaced, the last too.

    >>> looks_at(300, 4), looks_at(3, 10), looks_at(5, 0)
    ((75, 150, 225, 300), (1, 2, 3), (5,))
    """
    spaced = np.linspace(0, steps, min(max(count, 1), steps) + 1).round().astype(int)
    return tuple(int(step) for step in np.unique(spaced) if step > 0)
