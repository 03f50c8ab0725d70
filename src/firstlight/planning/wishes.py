"""What the user asks of a plan: parameters to leave alone, laws for some, a preferred form."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from firstlight.errors import BadInputError
from firstlight.initializers.registry import technique
from firstlight.initializers.technique import Technique
from firstlight.records.law import Law
from firstlight.records.network import Parameter

Override = str | Law
"""The name of a technique, or a law as data."""

_ROWS = re.compile(r"^(?P<pattern>.*)\[(?P<start>\d+):(?P<stop>\d*)\]$")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """As the call has them.

    Args:
        keep: patterns of parameters that stay as they are.
        only: patterns of the parameters that are drawn, all others stay; ``name[start:stop]`` for
            rows of one. None for all.
        overrides: a technique or law by pattern; the last one that matches wins.
        prefer: the technique whose form hidden weights take; their scales stay those of the plan.
    """

    keep: Sequence[str] = ()
    only: Sequence[str] | None = None
    overrides: Mapping[str, Override] = field(default_factory=dict)
    prefer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The same, parameter by parameter.

    Args:
        kept: names of parameters that stay.
        rows: of some parameters, the rows that are drawn.
        overrides: by name, what was asked and by which pattern.
        prefer: the technique, if one was named.
        loaded: names, among those of ``kept``, of parameters that stay because they were loaded
            from a checkpoint and nobody asked for them.
    """

    kept: frozenset[str]
    rows: Mapping[str, tuple[int, int]]
    overrides: Mapping[str, tuple[Technique | Law, str]]
    prefer: Technique | None
    loaded: frozenset[str] = frozenset()


def _matching(pattern: str, parameters: Sequence[Parameter], what: str) -> list[Parameter]:
    """The parameters of which one name (a tied one has several) fits a pattern."""
    if not isinstance(pattern, str):
        raise BadInputError(f"{what}: expected names or patterns, got {pattern!r}")
    matched = [
        parameter
        for parameter in parameters
        if any(fnmatch.fnmatchcase(n, pattern) for n in (parameter.name, *parameter.ties))
    ]
    if not matched:
        names = ", ".join(parameter.name for parameter in parameters[:4])
        raise BadInputError(
            f"{what}: pattern '{pattern}' matches none of the {len(parameters)} parameters; the"
            f" first are {names}"
        )
    return matched


def _listed(patterns: Iterable[str] | str) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _rows_of(
    pattern: str, start: int, stop: str, parameters: Sequence[Parameter]
) -> dict[str, tuple[int, int]]:
    found = {}
    for parameter in _matching(pattern, parameters, "only"):
        rows = parameter.layout.shape[0] if parameter.layout.shape else 0
        end = int(stop) if stop else rows
        if not 0 <= start < end <= rows:
            raise BadInputError(
                f"only: '{pattern}[{start}:{stop}]' is not within the {rows} rows of"
                f" {parameter.name}; give 0 <= start < stop <= {rows}"
            )
        found[parameter.name] = (start, end)
    return found


def resolved(wishes: Wishes, parameters: Sequence[Parameter]) -> Asked:
    """Wishes for the parameters of one model.

    Args:
        wishes: of the call.
        parameters: of the model.

    Raises:
        BadInputError: a pattern matches nothing, or an unknown technique.
    """
    kept = {
        parameter.name
        for pattern in _listed(wishes.keep)
        for parameter in _matching(pattern, parameters, "keep")
    }
    rows: dict[str, tuple[int, int]] = {}
    chosen: set[str] = set()
    if wishes.only is not None:
        for pattern in _listed(wishes.only):
            part = _ROWS.match(pattern) if isinstance(pattern, str) else None
            if part is None:
                chosen.update(p.name for p in _matching(pattern, parameters, "only"))
            else:
                rows |= _rows_of(part["pattern"], int(part["start"]), part["stop"], parameters)
        kept |= {p.name for p in parameters} - chosen - set(rows)
    overrides: dict[str, tuple[Technique | Law, str]] = {}
    for pattern, wanted in wishes.overrides.items():
        what = technique(wanted) if isinstance(wanted, str) else wanted
        for parameter in _matching(pattern, parameters, "overrides"):
            overrides[parameter.name] = (what, pattern)
    prefer = None if wishes.prefer is None else technique(wishes.prefer)
    named = {*kept, *chosen, *rows, *overrides}
    loaded = frozenset(p.name for p in parameters if p.loaded and p.name not in named)
    return Asked(
        kept=frozenset(kept) | loaded,
        rows=rows,
        overrides=overrides,
        prefer=prefer,
        loaded=loaded,
    )
