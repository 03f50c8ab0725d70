"""Choose a layer: what one operation passes on, up close, of each that was looked at."""

from __future__ import annotations

from itertools import chain
from typing import Any

from firstlight.records.checkup import Checkup, Finding
from firstlight.records.detail import Detail
from firstlight.reporting import theme
from firstlight.reporting.chapter import Figure, Layers
from firstlight.reporting.layer_charts import PANELS, PLACES, Panel, panel_chart
from firstlight.reporting.numbers import number
from firstlight.reporting.plain import visible
from firstlight.reporting.signal import addresses, places, signals

_COLORS = {"before": theme.BEFORE, "after": theme.AFTER, "now": theme.AFTER}


def layers(first: Checkup, second: Checkup | None, found: tuple[Finding, ...]) -> Layers | None:
    """What can be chosen; None if nothing was looked at closely.

    Args:
        first: the checkup.
        second: a later one of the same model, shown beside it.
        found: findings of ``first``; the leading culprit of the first one is chosen.
    """
    runs = {"now": first} if second is None else {"before": first, "after": second}
    closely = {name: _details(run) for name, run in runs.items()}
    shown = [s for s in signals(first) if any(s.operation in d for d in closely.values())]
    if not shown:
        return None
    details = [
        {name: d[s.operation] for name, d in closely.items() if s.operation in d} for s in shown
    ]
    told = [tuple(_fact(name, d) for name, d in each.items()) for each in details]
    chosen = _first(first, found, [s.position for s in shown])
    names = tuple(signal.name for signal in shown)
    return Layers(
        names=names,
        chosen=chosen,
        facts=told[chosen],
        figures=tuple(
            Figure(
                heading=panel.heading,
                chart=panel_chart(
                    panel,
                    details[chosen],
                    _COLORS,
                    f"{panel.heading} at {names[chosen]}. {' '.join(told[chosen])}",
                ),
            )
            for panel in PANELS
        ),
        key=() if second is None else tuple((n, _COLORS[n], False) for n in runs),
        payload={
            "names": [visible(name) for name in names],
            "at": [signal.position for signal in shown],
            "facts": [[visible(fact) for fact in facts] for facts in told],
            "series": [{"series": name, "color": _COLORS[name]} for name in runs],
            "panels": [_columns(panel, details, list(runs)) for panel in PANELS],
        },
    )


def _columns(panel: Panel, details: list[dict[str, Detail]], runs: list[str]) -> dict[str, Any]:
    """Columns by layer and series, none where a series was not measured; places are said once."""
    found = [[panel.columns(each[n]) if n in each else {} for n in runs] for each in details]
    longest = max(chain.from_iterable(found), key=lambda columns: len(columns.get("y", ())))
    return {
        "places": {n: values for n, values in longest.items() if n in PLACES},
        "layers": [
            [{n: _short(c[n]) for n in c if n not in PLACES} for c in each] for each in found
        ],
    }


def _short(values: list[float]) -> list[float]:
    """As many digits as a screen has points."""
    return [float(f"{value:.3g}") for value in values]


def _details(checkup: Checkup) -> dict[int, Detail]:
    return {r.operation: r.detail for r in checkup.layers if r.detail is not None}


def _first(checkup: Checkup, found: tuple[Finding, ...], positions: list[int]) -> int:
    """The layer nearest to where the first finding leads; without findings the first one."""
    shown, known = signals(checkup), addresses(checkup)
    led = (places(known, finding, shown) for finding in found)
    at = next((where[0] for where in led if where), positions[0])
    return min(range(len(positions)), key=lambda i: abs(positions[i] - at))


def _fact(name: str, detail: Detail) -> str:
    """One series of a layer in a sentence."""
    rows = "samples" if detail.per_sample else "rows"
    head = f"{detail.rows} {rows} and {detail.units} of {detail.of_units:,} units"
    if name != "now":
        head = f"{name[0].upper()}{name[1:]}, {head}"
    if detail.rms is None:
        return f"{head}: not all values are finite."
    facts = [f"RMS {number(detail.rms)}"]
    if detail.constant_units:
        facts.append(f"{detail.constant_units} units constant")
    if detail.mean_cosine is not None:
        facts.append(f"mean cosine {number(detail.mean_cosine, digits=2)}")
    rank = detail.effective_rank
    if rank is not None:
        facts.append(f"effective rank {number(rank, digits=2)} of {detail.rows}")
    return f"{head}: {', '.join(facts)}."
