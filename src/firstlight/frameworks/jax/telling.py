"""Options that need numbers: moments of constants and expressions, masks, rows looked up.

Only what these numbers depend on is computed, by one compiled function for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from firstlight.frameworks.jax.compiling import evaluated
from firstlight.frameworks.jax.flat import Atom, Constant
from firstlight.frameworks.jax.flow import Flow
from firstlight.records.network import Options

_MASKED_BELOW = -1e4
"""What is added to a logit to hide it; no model means a number like that as a number."""


def told(
    flow: Flow, asked: Sequence[tuple[str, Atom, tuple[int, ...]]], values: Sequence[Any]
) -> list[Options]:
    """The options that were asked for, one after the other.

    Args:
        flow: the steps.
        asked: what kind of answer, about which value, and the shape of the operation's result.
        values: the arguments of the flat list; what depends on abstract ones gets no answer.
    """
    given = {i: v for i, v in enumerate(values) if not isinstance(v, jax.ShapeDtypeStruct)}
    if len(given) < len(values):
        every, unknown = asked, frozenset(range(len(values))) - given.keys()
        asked = [one for one in every if not _leans_on(flow, one[1], unknown)] if given else []
        answers = iter(_answers(flow, asked, given))
        return [next(answers) if one in asked else () for one in every]
    return _answers(flow, asked, given)


def _answers(
    flow: Flow, asked: Sequence[tuple[str, Atom, tuple[int, ...]]], given: Mapping[int, Any]
) -> list[Options]:
    if not asked:
        return []
    atoms = [atom for _, atom, _ in asked]
    places = _needed(flow, atoms)

    def compute(arguments: Sequence[Any]) -> list[Any]:
        known: dict[int, Any] = dict(zip(given, arguments, strict=True))
        for place in places:
            step = flow.steps[place]
            read = [a.value if isinstance(a, Constant) else known[a] for a in step.inputs]
            known.update(zip(step.outputs, step.evaluate(read), strict=True))
        found = [a.value if isinstance(a, Constant) else known[a] for a in atoms]
        return [_reduced(kind, value) for (kind, _, _), value in zip(asked, found, strict=True)]

    answers = jax.device_get(evaluated(compute, list(given.values())))
    return [
        _option(kind, shape, answer)
        for (kind, _, shape), answer in zip(asked, answers, strict=True)
    ]


def _leans_on(flow: Flow, atom: Atom, unknown: Collection[int]) -> bool:
    """Whether a value depends on arguments that have no values."""
    read = {atom} | {a for place in _needed(flow, [atom]) for a in flow.steps[place].inputs}
    return any(isinstance(a, int) and a in unknown for a in read)


def _needed(flow: Flow, atoms: Sequence[Atom]) -> list[int]:
    """The places of the steps that these values depend on, in order."""
    stack = [a for a in atoms if isinstance(a, int)]
    places: set[int] = set()
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        place = flow.maker[value]
        if value in seen or place is None:
            continue
        seen.add(value)
        places.add(place)
        stack.extend(a for a in flow.steps[place].inputs if isinstance(a, int))
    return sorted(places)


def _reduced(kind: str, value: Any) -> Any:
    """What has to leave the compiled function: few numbers, or integers and masks as they are."""
    if kind not in ("constant", "expression"):
        return value
    x = jnp.abs(value) if jnp.iscomplexobj(value) else jnp.asarray(value)
    x = x.astype(jnp.float32) if x.dtype != jnp.float64 else x
    hidden = x < _MASKED_BELOW
    centre = x.mean(axis=tuple(range(x.ndim - 1))) if x.ndim > 1 else x
    seen = _inverse_visible(~hidden)
    return jnp.any(hidden), seen, jnp.mean(x), jnp.mean(x * x), jnp.mean(centre * centre)


def _inverse_visible(visible: Any) -> Any:
    """Mean over the rows of one over the number of keys that a row sees."""
    if visible.ndim == 0:
        return jnp.ones(())
    return jnp.mean(1 / jnp.maximum(jnp.sum(visible, axis=-1), 1))


def _option(kind: str, shape: tuple[int, ...], answer: Any) -> Options:
    if kind in ("constant", "expression"):
        hidden, visible, mean, square, alike = (float(v) for v in answer)
        if hidden:
            return (("inverse_visible", (float(f"{visible:.6g}"),)),)
        finite = math.isfinite(square + alike)
        return ((kind, (mean, square, alike)),) if finite else ()
    if kind == "lookup":
        return _lookup(np.asarray(answer), shape)
    name, _, place = kind.partition("_")
    mask = np.asarray(answer, bool)
    replaced = mask if place == "1" else ~mask
    if name == "masked":
        full = np.broadcast_to(replaced, shape) if shape else replaced
        return (("inverse_visible", (float(f"{float(_inverse_visible(~full)):.6g}"),)),)
    return (("share", (float(replaced.mean()),)),)


def _lookup(ids: Any, shape: tuple[int, ...]) -> Options:
    """How often two places look up the same row."""
    if not ids.size or not np.issubdtype(ids.dtype, np.integer):
        return ()
    if ids.ndim > 1 and ids.shape[-1] == 1 and ids.ndim == len(shape):
        ids = ids[..., 0]
    rows = ids.reshape(ids.shape[0], -1) if ids.ndim > 1 else ids.reshape(-1, 1)
    inside, anywhere = _collisions(rows), _collisions(rows.reshape(1, -1))
    pairs_inside = rows.shape[0] * rows.shape[1] * (rows.shape[1] - 1)
    pairs = rows.size * (rows.size - 1)
    across = pairs - pairs_inside
    samples = (anywhere * pairs - inside * pairs_inside) / across if across else 1.0
    near = float((rows[:, 1:] == rows[:, :-1]).mean()) if rows.shape[1] > 1 else 1.0
    return (("same", (near, inside if pairs_inside else 1.0, samples)), ("padded", (0.0,)))


def _collisions(rows: Any) -> float:
    """Share of the pairs of entries of a row that are equal, over all rows."""
    length = rows.shape[1]
    if length < 2:
        return 0.0
    equal = 0.0
    for row in rows:
        _, counts = np.unique(row, return_counts=True)
        equal += float((counts * (counts - 1.0)).sum())
    return equal / float(rows.shape[0] * length * (length - 1))


def merged(options: Options, answers: Sequence[Options]) -> Options:
    """The options of an operation together with what was asked for."""
    found: Mapping[str, tuple[float, ...]] = dict(options) | {
        name: value for answer in answers for name, value in answer
    }
    share = found.get("share")
    value = next((v for n, v in found.items() if n.startswith("filled_")), None)
    kept = {n: v for n, v in found.items() if not n.startswith(("filled_", "masked_", "share"))}
    if share is not None and value is not None:
        kept["filled"] = (share[0], value[0])
    if "inverse_visible" in kept:
        kept.pop("constant_first", None)
    return tuple(kept.items())
