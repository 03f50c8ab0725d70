"""Records as text: ``str(record)``, and in colour on a terminal.

Past 400 lines: one short function for each kind of record, all of one registry.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from firstlight.errors import BadInputError
from firstlight.records.checkup import Checkup, Finding
from firstlight.records.compared import Compared
from firstlight.records.exhibit import Exhibit
from firstlight.records.plan import Audit, Plan, Receipt
from firstlight.records.prediction import Prediction
from firstlight.records.race import Race
from firstlight.records.streamed import Streamed
from firstlight.records.transfer import CoordinateCheck
from firstlight.records.watched import Watched
from firstlight.reporting import checkpoints, coordinates, watched, wording
from firstlight.reporting import prediction as theory
from firstlight.reporting.code import is_code
from firstlight.reporting.exhibit_page import HEADS, grid_rows, measurement_rows
from firstlight.reporting.forecast import forecast_facts, forecast_remark
from firstlight.reporting.grouping import group, pattern, remarked, shapes, some
from firstlight.reporting.numbers import number
from firstlight.reporting.race_words import (
    PAIR_HEADS,
    pair_rows,
    race_heads,
    race_rows,
    way_heads,
    way_rows,
)
from firstlight.reporting.signal import Level, Scale, Signal, signals
from firstlight.reporting.story import Story
from firstlight.reporting.terminal import Code, Look, labelled, show, table

Block = RenderableType | Code

ENDS = 5
"""How many operations are shown at either end of a deep network."""


def to_text(record: Any, width: int | None = None, *, full: bool = False) -> str:
    """A record as plain text without colours.

    Args:
        record: a record that has ``.save()`` (a Checkup, say, or a Plan), or a tuple or
            dictionary of them.
        width: columns to fill, 80 if None; code to be pasted is never wrapped.
        full: show every operation of a deep network, and what a plan rejected.

    Returns:
        Lines without trailing spaces, no line break at the end.
    """
    look = Look(width=80 if width is None else max(20, width), full=full)
    file = io.StringIO()
    # Not a terminal and no colour system: the caller's environment must not change the result.
    console = Console(
        file=file,
        width=look.width,
        color_system=None,
        force_terminal=False,
        legacy_windows=False,
        _environ={},
    )
    show(console, _blocks(record, look))
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().split("\n"))


def print_record(record: Any, console: Console | None = None, *, full: bool = False) -> None:
    """Print a record on a terminal, in colour where it has colours and `NO_COLOR` is not set.

    Args:
        record: as for `to_text`.
        console: where to; its width and encoding are honoured. None: standard output.
        full: show every operation of a deep network.
    """
    console = Console() if console is None else console
    look = Look(width=max(20, console.width), encoding=console.encoding or "ascii", full=full)
    show(console, _blocks(record, look))


@singledispatch
def _blocks(record: Any, look: Look) -> list[Block]:  # noqa: ARG001
    raise BadInputError(
        f"cannot show {type(record).__name__}; expected a Checkup, Plan, Receipt, Audit, Race, "
        "Prediction, Exhibit, CoordinateCheck, Watched, Streamed, Compared, Story, or a tuple or "
        "dictionary of them"
    )


@_blocks.register(tuple)
@_blocks.register(list)
def _sequence(records: Sequence[Any], look: Look) -> list[Block]:
    blocks: list[Block] = []
    for record in records:
        blocks += [*([""] if blocks else []), *_blocks(record, look)]
    return blocks


@_blocks.register
def _dictionary(records: dict, look: Look) -> list[Block]:  # type: ignore[type-arg]
    blocks: list[Block] = []
    for title, record in records.items():
        blocks += [*([""] if blocks else []), look.text(str(title), "bold underline")]
        blocks += ["", *_blocks(record, look)]
    return blocks


@_blocks.register
def _checkup(checkup: Checkup, look: Look) -> list[Block]:
    healthy = checkup.healthy and bool(checkup.layers)
    blocks: list[Block] = [look.text(wording.verdict(checkup), "healthy" if healthy else "error")]
    for finding in wording.by_severity(checkup.findings):
        blocks += ["", *_finding(finding, look)]
    return blocks + _signal(checkup, look)


def _finding(finding: Finding, look: Look) -> list[Block]:
    head = Text()
    head.append(look.say(finding.severity.upper()), style=finding.severity)
    head.append("  ").append(look.say(finding.kind), style="name")
    if finding.where:
        head.append("  at ").append(look.say(some(finding.where)))
    pairs = [("evidence", look.text(finding.evidence)), ("cause", look.text(finding.cause))]
    if finding.consequences:
        pairs.append(("brings", look.text(wording.brings(finding))))
    if not is_code(finding.cure):
        pairs.append(("cure", look.text(finding.cure)))
    blocks: list[Block] = [head, Padding(labelled(look, pairs), (0, 0, 0, 2))]
    if is_code(finding.cure):
        code = textwrap.indent(look.say(finding.cure.strip("\n")), "    ")
        blocks += [look.text("  cure", "label"), Code(Text(code, style="number"))]
    return blocks


def _signal(checkup: Checkup, look: Look) -> list[Block]:
    shown = signals(checkup)
    if not shown:
        return []
    forward = Scale.over([s.forward.value for s in shown])
    backward = Scale.over([s.backward.value for s in shown])
    cells = min(20, max(6, (look.width - 58) // 2)) if not look.narrow else 0
    rows = []
    for part in _folded(shown, look.full):
        name = look.name(part[0].name, max(12, look.width - 2 * cells - 32))
        row = [Text(name if len(part) == 1 else look.say(f"… {len(part):,} more …"))]
        for levels, scale in (
            ([s.forward for s in part], forward),
            ([s.backward for s in part], backward),
        ):
            row.append(look.text(_span(levels), "number"))
            if cells:
                values = [level.value for level in levels if level.value is not None]
                row.append(Text(look.dots(values, scale, cells), style="track"))
        rows.append(row)
    heads = ["operation", ">forward RMS", ">‖δ‖"]
    if cells:
        heads = ["operation", ">forward RMS", _axis(forward), ">‖δ‖", _axis(backward)]
    caption = f"Signal at {wording.count(len(shown), 'weighted operation')}"
    facts = [(what, look.text(value, "number")) for what, value in wording.facts(checkup)[1:]]
    blocks: list[Block] = ["", look.text(f"{caption} ({wording.conditions(checkup)})"), ""]
    blocks.append(table(look, heads, rows))
    return blocks + (["", labelled(look, facts)] if facts else [])


def _axis(scale: Scale) -> str:
    return f"1e{scale.low} … 1e{scale.high}"


def _folded(shown: tuple[Signal, ...], full: bool) -> list[tuple[Signal, ...]]:
    """One row each, but the middle of a deep network in one."""
    if full or len(shown) <= 2 * ENDS + 2:
        return [(s,) for s in shown]
    ends = [(s,) for s in shown[:ENDS]], [(s,) for s in shown[-ENDS:]]
    return [*ends[0], shown[ENDS:-ENDS], *ends[1]]


def _span(levels: list[Level]) -> str:
    known = [level for level in levels if level.value is not None]
    if not known:
        return "–"
    low, high = (f(known, key=lambda level: level.value or 0.0) for f in (min, max))
    ends = number(low.value, low.error), number(high.value, high.error)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} … {ends[1]}"


@_blocks.register
def _plan(plan: Plan, look: Look) -> list[Block]:
    rows, roomy = [], look.width >= 100
    heads = ["parameter", *(["shape"] if roomy else []), "law", "rule and reason"]
    for same in group(plan, lambda e: (e.action, str(e.law), e.rule, e.reason)):
        entry = same[0]
        law = "keep" if entry.action == "keep" else str(entry.law)
        row = [
            look.text(pattern([e.name for e in same])),
            look.text(_times(len(same), shapes(e.layout.shape for e in same))),
            look.text(law, "number"),
            look.text(f"{entry.rule}: {entry.reason}"),
        ]
        rows.append(row if roomy else [row[0], *row[2:]])
    blocks: list[Block] = [look.text(wording.plan_summary(plan), "bold"), ""]
    blocks += [look.text(f"No start can help {refusal}", "error") for refusal in plan.refusals]
    blocks += [""] if plan.refusals else []
    blocks.append(table(look, heads, rows))
    blocks += _forecast(plan, look)
    blocks += _ranking(plan, look)
    remarks: list[Block] = [look.text(f"Note: {remark}") for remark in plan.remarks]
    if look.full:
        for same in group(plan, lambda e: e.rejected):
            names = pattern([e.name for e in same])
            remarks += [
                look.text(f"Not {other.technique} for {names}: {other.why}")
                for other in same[0].rejected
            ]
    return blocks + (["", *remarks] if remarks else [])


def _ranking(plan: Plan, look: Look) -> list[Block]:
    order = wording.ranking(plan)
    if not order:
        return []
    lines = [look.text(f"  {place}") for place in order]
    return ["", look.text("Starts by how even they are along the depth:"), *lines]


def _forecast(plan: Plan, look: Look) -> list[Block]:
    """The expected signal: its ranges, and where they lie on a log scale."""
    remark = forecast_remark(plan)
    if not remark:
        return []
    rows = []
    for label, words, values in forecast_facts(plan):
        scale = Scale.over(values)
        track = f"{look.dots(values, scale, 20)}  {_axis(scale)}" if not look.narrow else ""
        rows.append((label, look.text(f"{words}  {track}".rstrip(), "number")))
    return ["", look.text(remark), *([labelled(look, rows)] if rows else [])]


def _times(n: int, shape: str) -> str:
    return shape if n == 1 else f"{n} × {shape}"


@_blocks.register
def _receipt(receipt: Receipt, look: Look) -> list[Block]:
    rows = []
    for same in group(receipt, lambda e: (e.action, str(e.asked))):
        stds = [e.achieved.std for e in same]
        means = [e.achieved.mean for e in same]
        rows.append(
            [
                look.text(pattern([e.name for e in same])),
                look.text(_times(len(same), _asked(same[0]))),
                look.text(_values(means, 2), "number"),
                look.text(_values(stds, 4), "number"),
            ]
        )
    blocks: list[Block] = [look.text(wording.receipt_summary(receipt), "bold"), ""]
    blocks.append(table(look, ["parameter", "asked", ">mean", ">std"], rows))
    if wording.was_compared(receipt.plan):
        blocks += _ranking(receipt.plan, look)
        blocks += ["", *(look.text(f"Note: {remark}") for remark in receipt.plan.remarks)]
    return blocks + _change(receipt.before, receipt.after, look)


def _asked(entry: Any) -> str:
    return "keep" if entry.action == "keep" else str(entry.asked)


def _values(values: list[float], digits: int) -> str:
    low, high = number(min(values), digits=digits), number(max(values), digits=digits)
    return low if low == high else f"{low} … {high}"


def _change(before: Checkup | None, after: Checkup | None, look: Look) -> list[Block]:
    """What the numbers were and are now."""
    if before is None and after is None:
        return []
    columns = [dict(wording.facts(c)) if c else {} for c in (before, after)]
    whats = list(dict.fromkeys([*columns[0], *columns[1]]))
    rows = [[look.text(w), *(look.text(c.get(w, "–"), "number") for c in columns)] for w in whats]
    blocks: list[Block] = ["", table(look, ["at step zero", "before", "after"], rows), ""]
    if after is not None:
        style = "healthy" if after.healthy else "error"
        blocks.append(look.text(f"Now: {wording.verdict(after)}", style))
    return blocks


@_blocks.register
def _audit(audit: Audit, look: Look) -> list[Block]:
    key: Callable[[Any], Any] = lambda e: (wording.law_words(e), e.intended, e.agrees)  # noqa: E731
    rows = []
    for same in group(audit, key):
        entry = same[0]
        style = {True: "healthy", False: "error", None: ""}[entry.agrees]
        rows.append(
            [
                look.text(pattern([e.name for e in same])),
                look.text(_values([e.std for e in same], 3), "number"),
                look.text(wording.law_words(entry)),
                look.text(entry.intended or "–"),
                look.text(wording.agreement(entry), style),
            ]
        )
    heads = ["parameter", ">std", "drawn from", "intended", "agrees"]
    blocks: list[Block] = [look.text(wording.audit_summary(audit), "bold"), ""]
    blocks.append(table(look, heads, rows))
    said = [
        [look.text(kind, "warning"), look.text(names), look.text(text)]
        for kind, names, text in remarked(audit)
    ]
    if said:
        blocks += ["", table(look, ["fails silently", "parameter", "what was seen"], said)]
    notes: list[Block] = [look.text(f"Note: {remark}") for remark in audit.remarks]
    return blocks + (["", *notes] if notes else [])


@_blocks.register
def _race(race: Race, look: Look) -> list[Block]:
    heads = race_heads(race)
    rows = []
    for start, row in zip(race.starts, race_rows(race), strict=True):
        gone = any(run.diverged for run in start.runs)
        styles = ["", "", "number", "warning" if gone else ""]
        rows.append([look.text(cell, style) for cell, style in zip(row, styles, strict=True)])
    blocks: list[Block] = [look.text(race.verdict, "bold"), ""]
    blocks += [table(look, [heads[0], *(f">{head}" for head in heads[1:])], rows), ""]
    if way_heads(race):
        first, *figures = way_heads(race)
        way = [[look.text(cell) for cell in row] for row in way_rows(race)]
        blocks += [table(look, [first, *(f">{head}" for head in figures)], way), ""]
    if len(race.comparisons) > 1 or (look.full and race.comparisons):
        pairs = [[look.text(cell) for cell in row] for row in pair_rows(race)]
        first, *figures, seen = PAIR_HEADS
        blocks += [table(look, [first, *(f">{head}" for head in figures), seen], pairs), ""]
    blocks.append(look.text(f"{wording.race_conditions(race)}."))
    if race.chance is not None:
        blocks.append(look.text(f"Guessing scores {wording.chance_words(race)}."))
    return blocks + [look.text(remark) for remark in race.remarks]


@_blocks.register
def _prediction(said: Prediction, look: Look) -> list[Block]:
    style = "healthy" if theory.within(said) else "error"
    blocks: list[Block] = [look.text(theory.verdict(said), style)]
    for pairs in (theory.activation_rows, theory.start_rows, theory.depth_rows):
        blocks += ["", labelled(look, [(what, look.text(text)) for what, text in pairs(said)])]
    rows = [[look.text(cell) for cell in row] for row in theory.profile_rows(said)]
    heads = [theory.PROFILE_HEADS[0], *(f">{head}" for head in theory.PROFILE_HEADS[1:])]
    blocks += ["", table(look, heads, rows)]
    if said.limit is not None:
        changes = [[look.text(cell) for cell in row] for row in theory.change_rows(said)]
        what, *figures, helps = theory.CHANGE_HEADS
        heads = [what, *(f">{head}" for head in figures), helps]
        blocks += ["", look.text(theory.limit(said)), "", table(look, heads, changes)]
    if said.instead is not None:
        blocks += ["", look.text(f"The planner's start: {theory.instead(said)}")]
    notes: list[Block] = [look.text(f"Note: {remark}.") for remark in said.remarks]
    rule = f"Rule: {said.trainable.rule} ({said.trainable.source})."
    return [*blocks, "", *notes, look.text(rule, "label")]


@_blocks.register
def _exhibit(shown: Exhibit, look: Look) -> list[Block]:
    style = {"holds": "healthy", "does not hold": "error"}.get(shown.verdict, "warning")
    blocks: list[Block] = [look.text(shown.title, "bold underline"), "", look.text(shown.claim)]
    blocks += ["", look.text(f"The claim {shown.verdict}. {shown.conditions}", style), ""]
    what, value, needs, so = HEADS
    rows = [[look.text(cell) for cell in row] for row in measurement_rows(shown.measurements)]
    blocks.append(table(look, [what, f">{value}", needs, so], rows))
    for grid in shown.tables:
        cells = [[look.text(cell) for cell in row] for row in grid_rows(grid)]
        blocks += ["", look.text(grid.caption), "", table(look, list(grid.heads), cells)]
    blocks += ["", look.text(shown.lesson)]
    return [*blocks, "", *(look.text(source, "label") for source in shown.sources)]


@_blocks.register
def _coordinates(check: CoordinateCheck, look: Look) -> list[Block]:
    style = "healthy" if check.healthy else "error"
    blocks: list[Block] = [look.text(coordinates.verdict(check), style)]
    blocks += [part for finding in check.findings for part in ("", *_finding(finding, look))]
    for heads, rows in coordinates.tables(check, full=look.full):
        cells = [[look.text(cell) for cell in row] for row in rows]
        first, *figures, last = heads
        blocks += ["", table(look, [first, *(f">{head}" for head in figures), last], cells)]
    return [*blocks, "", *(look.text(line) for line in coordinates.notes(check))]


@_blocks.register
def _watched(seen: Watched, look: Look) -> list[Block]:
    blocks: list[Block] = [look.text(watched.verdict(seen), "healthy" if seen.healthy else "error")]
    for _, finding in seen.alarms:
        blocks += ["", *_finding(finding, look)]
    cells = [[look.text(cell) for cell in row] for row in watched.rows(seen)]
    first, *others, last = watched.HEADS
    return [*blocks, "", table(look, [f">{first}", *(f">{head}" for head in others), last], cells)]


@_blocks.register
def _streamed(done: Streamed, look: Look) -> list[Block]:
    first: Block = look.text(f"{checkpoints.streamed_verdict(done)}.", "healthy")
    return [first, *_sentences(checkpoints.streamed_facts(done), look)]


@_blocks.register
def _compared(found: Compared, look: Look) -> list[Block]:
    first: Block = look.text(f"{checkpoints.compared_verdict(found)}.", "bold")
    return [first, *_sentences(checkpoints.compared_facts(found), look)]


def _sentences(facts: Sequence[tuple[str, str]], look: Look) -> list[Block]:
    return [look.text(f"{what}: {text}") for what, text in facts]


@_blocks.register
def _story(story: Story, look: Look) -> list[Block]:
    blocks: list[Block] = [look.text(story.title, "bold underline")]
    blocks += ["", look.text(story.lead)] if story.lead else []
    told = story.receipt if story.receipt and story.receipt.after else None
    for record in (story.before, story.plan, story.receipt, None if told else story.after):
        if record is not None:
            blocks += ["", *_blocks(record, look)]
    blocks += ["", *_blocks(story.race, look)] if story.race else []
    notes: list[Block] = [look.text(note) for note in story.notes]
    return blocks + (["", *notes] if notes else [])
