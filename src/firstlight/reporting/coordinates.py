"""A coordinate check in words, rows and a chapter of the page."""

from __future__ import annotations

from firstlight.records.exhibit import Picture, Series
from firstlight.records.transfer import CoordinateCheck, Coordinates, Slope, Trend
from firstlight.reporting.chapter import Chapter, Item, Table, version_line
from firstlight.reporting.exhibit_page import figure_of
from firstlight.reporting.grouping import some
from firstlight.reporting.numbers import number, typeset

HEADS = ("operation", "start", "exponent", "change", "exponent", "so")
PARAMETER_HEADS = ("parameter", "role", "start", "needed", "change", "needed")

_LINES = 6
"""Lines that a picture can hold."""

_SO: dict[Trend, str] = {
    "steady": "alike",
    "grows": "grows",
    "vanishes": "dies out",
    "undecided": "undecided",
    "unmoved": "does not move",
}


def verdict(check: CoordinateCheck) -> str:
    """One sentence that says whether the model trains alike at every width."""
    where = f"over widths {check.widths[0]:,} to {check.widths[-1]:,}"
    off = [op for op in check.operations if op.trend in ("grows", "vanishes")]
    if not check.healthy:
        first = f"; first at {off[0].name}" if off else ""
        many = f"{len(off)} of {len(check.operations)} results do not change alike"
        return f"{check.model} does not train alike {where}: {many}{first}."
    unsure = [op.name for op in check.operations if op.trend == "undecided"]
    if unsure:
        return (
            f"{check.model} trains alike {where}, as far as can be told: {some(unsure)} undecided."
        )
    return f"{check.model} trains alike {where}: no result's change depends on the width."


def conditions(check: CoordinateCheck) -> str:
    """How it was measured."""
    followed = "the model's own start" if check.base is None else f"plan from width {check.base:,}"
    seeds = f"{len(check.seeds)} seed{'s' if len(check.seeds) != 1 else ''}"
    steps = f"{check.steps} step{'s' if check.steps != 1 else ''}"
    return (
        f"{check.optimizer}, {steps}, {seeds}, {followed}; root mean squares over coordinates,"
        " exponents of the width ± 95 %"
    )


def rows(check: CoordinateCheck) -> list[tuple[str, ...]]:
    """One row for each operation."""
    return [
        (
            op.name,
            _ends(op.start),
            _exponent(op.start_slope),
            _ends(op.change[-1]),
            _exponent(op.change_slope),
            _so(op),
        )
        for op in check.operations
    ]


def _so(op: Coordinates) -> str:
    starts = ", starts too large" if op.start_trend == "grows" else ""
    return f"{_SO[op.trend]}{starts}"


def _ends(values: tuple[float, ...]) -> str:
    return f"{number(values[0], digits=2)}…{number(values[-1], digits=2)}"


def _exponent(slope: Slope | None) -> str:
    return "–" if slope is None else str(slope).replace(" ", "")  # a cell must not be broken


def parameter_rows(check: CoordinateCheck) -> list[tuple[str, ...]]:
    """One row for each parameter: how it starts and moves, and how it would have to."""
    return [
        (
            p.name,
            p.role,
            _exponent(p.start_slope),
            f"{p.start_needed:+g}" if p.start_slope else "–",
            _exponent(p.update_slope),
            f"{p.update_needed:+g}",
        )
        for p in check.parameters
    ]


def tables(
    check: CoordinateCheck, *, full: bool
) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Heads and rows of the operations, and if ``full`` of the parameters."""
    found: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [(HEADS, rows(check))]
    return [*found, (PARAMETER_HEADS, parameter_rows(check))] if full else found


def notes(check: CoordinateCheck) -> list[str]:
    """How it was measured, and what it assumes."""
    return [f"{conditions(check)}.", *(f"Note: {remark}" for remark in check.remarks)]


def picture(check: CoordinateCheck) -> Picture:
    """The change over the widths, of the operations that depend on it most."""
    moved = [op for op in check.operations if op.change_slope is not None]
    chosen = sorted(moved, key=lambda op: -abs(op.change_slope.value if op.change_slope else 0))
    names = {op.name for op in chosen[:_LINES]}
    shown = [op for op in moved if op.name in names]
    told = "; ".join(f"{op.name} as width^{op.change_slope}" for op in shown)
    return Picture(
        title="Change after the last step",
        alt=f"Root mean square of the change of each result over the width: {told}.",
        form="lines",
        series=tuple(
            Series(name=op.name, x=tuple(float(w) for w in check.widths), y=op.change[-1])
            for op in shown
        ),
        x_title="width",
        y_title="RMS of the change",
        x_log=True,
        y_log=True,
        caption=f"The {len(shown)} results that depend on the width most; level is right.",
    )


def coordinate_chapter(check: CoordinateCheck, findings: tuple[Item, ...]) -> Chapter:
    """The verdict, what is wrong, the picture and both tables."""
    said = picture(check)
    return Chapter(
        title=f"{check.model}: coordinate check",
        verdict=verdict(check),
        healthy=check.healthy,
        findings=findings,
        measured=Table(
            caption="Results at the narrowest and the widest model, and their exponents",
            heads=HEADS,
            rows=tuple(tuple(map(typeset, row)) for row in rows(check)),
            numeric=(1, 2, 3, 4),
        ),
        exhibit=(figure_of(said),) if said.series else (),
        grids=(
            Table(
                caption="Exponents of the parameters",
                heads=PARAMETER_HEADS,
                rows=tuple(tuple(map(typeset, row)) for row in parameter_rows(check)),
                numeric=(2, 3, 4, 5),
            ),
        ),
        remarks=check.remarks,
        made=(conditions(check), *check.remarks, version_line()),
    )
