"""Rows that say the same, said once: deep networks have thirty parameters under one rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from firstlight.records.plan import Audit


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def group(entries: Iterable[N], key: Callable[[N], Hashable]) -> tuple[tuple[N, ...], ...]:
    """Entries with equal keys together, in the order of each key's first entry.

    Not only neighbours: weights and biases alternate in every model.
    """
    groups: dict[Hashable, list[N]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return tuple(tuple(entries) for entries in groups.values())


def remarked(audit: Audit) -> list[tuple[str, str, str]]:
    """The remarks of an audit, each once: kind, the parameters it was made of, what was seen."""
    names: dict[tuple[str, str], list[str]] = {}
    for entry in audit:
        for remark in entry.remarks:
            names.setdefault((remark.kind, remark.text), []).append(entry.name)
    return [(kind, pattern(found), text) for (kind, text), found in names.items()]


def pattern(names: Sequence[str]) -> str:
    """Many names as one, if they differ in one number only; otherwise the first and the last.

    >>> pattern(["net.0.weight", "net.2.weight", "net.4.weight"])
    'net.{0,2…4}.weight'
    >>> pattern(["fc1.bias", "fc2.bias", "fc3.bias"]), pattern(["head"]), pattern(["a", "b", "c"])
    ('fc{1…3}.bias', 'head', 'a … c (3)')
    """
    if len(names) == 1:
        return names[0]
    parts = [re.split(r"(\d+)", name) for name in names]
    if len({len(p) for p in parts}) == 1:
        varying = [i for i, values in enumerate(zip(*parts, strict=True)) if len(set(values)) > 1]
        if len(varying) == 1 and varying[0] % 2:
            at = varying[0]
            return "".join(parts[0][:at]) + _range([int(p[at]) for p in parts]) + _rest(parts, at)
    return ", ".join(names) if len(names) == 2 else f"{names[0]} … {names[-1]} ({len(names)})"


def _rest(parts: list[list[str]], at: int) -> str:
    return "".join(parts[0][at + 1 :])


def _range(numbers: list[int]) -> str:
    if len(numbers) == 2:
        return f"{{{numbers[0]},{numbers[1]}}}"
    steps = {b - a for a, b in pairwise(numbers)}
    if steps == {1} or len(steps) > 1:
        return f"{{{numbers[0]}…{numbers[-1]}}}"
    return f"{{{numbers[0]},{numbers[1]}…{numbers[-1]}}}"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def shapes(entries: Iterable[tuple[int, ...]]) -> str:
    """The shape that all share, or how many different ones there are.

    >>> shapes([(128, 64), (128, 64)]), shapes([(3,), (4,)]), shapes([()])
    ('128×64', '2 shapes', 'scalar')
    """
    distinct = set(entries)
    if len(distinct) > 1:
        return f"{len(distinct)} shapes"
    return "×".join(str(n) for n in distinct.pop()) or "scalar"
