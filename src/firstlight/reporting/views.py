"""Records as what the page's templates show: strings and rows, with nothing left to decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from firstlight.errors import BadInputError
from firstlight.records.checkup import Checkup, Finding
from firstlight.records.compared import Compared
from firstlight.records.exhibit import Exhibit
from firstlight.records.plan import Audit, Forecast, Plan, Receipt
from firstlight.records.prediction import Prediction
from firstlight.records.race import Race
from firstlight.records.streamed import Streamed
from firstlight.records.transfer import CoordinateCheck
from firstlight.records.watched import Watched
from firstlight.reporting import theme, wording
from firstlight.reporting.chapter import Chapter, Figure, Item, Table, version_line
from firstlight.reporting.checkpoints import compared_chapter, streamed_chapter
from firstlight.reporting.code import is_code
from firstlight.reporting.coordinates import coordinate_chapter
from firstlight.reporting.exhibit_page import exhibit_chapter
from firstlight.reporting.forecast import forecast_facts, forecast_remark, foretold
from firstlight.reporting.grouping import group, pattern, remarked, shapes
from firstlight.reporting.layers import layers
from firstlight.reporting.numbers import number, typeset, with_error
from firstlight.reporting.prediction_page import theory_chapter
from firstlight.reporting.race_charts import colors, learning_chart, race_chart
from firstlight.reporting.race_curves import difference_chart, has_curves, score_chart
from firstlight.reporting.race_words import (
    PAIR_HEADS,
    pair_rows,
    race_heads,
    race_rows,
    way_heads,
    way_rows,
)
from firstlight.reporting.signal import Level, signals
from firstlight.reporting.signal_map import Direction, signal_chart
from firstlight.reporting.story import Story
from firstlight.reporting.watched import watched_chapter

MOST_NAMES = 4
"""Culprits named in a finding before "and 12 more"; all of them are in the JSON."""

MOST_ROWS = 1000
"""Operations listed one by one; beyond that the list's middle is left to the JSON."""


def chapters(record: Any) -> list[Chapter]:
    """One chapter for each record; bundles have several.

    Raises:
        BadInputError: something else than a record, story or bundle of them.
    """
    if isinstance(record, Story):
        return [_chapter(record)]
    if isinstance(record, Checkup | Plan | Receipt | Race):
        return [_chapter(Story.of(record))]
    if isinstance(record, Audit):
        return [_audit(record)]
    if isinstance(record, Prediction):
        return [theory_chapter(record)]
    if isinstance(record, Exhibit):
        return [exhibit_chapter(record)]
    if isinstance(record, CoordinateCheck):
        return [coordinate_chapter(record, tuple(_item(f, None) for f in record.findings))]
    if isinstance(record, Watched):
        return [watched_chapter(record, tuple(_item(f, None) for _, f in record.alarms))]
    if isinstance(record, Streamed):
        return [streamed_chapter(record)]
    if isinstance(record, Compared):
        return [compared_chapter(record)]
    if isinstance(record, tuple | list):
        return [chapter for part in record for chapter in chapters(part)]
    if isinstance(record, dict):
        named = [(str(key), chapter) for key, part in record.items() for chapter in chapters(part)]
        return [replace(chapter, title=f"{key}: {chapter.title}") for key, chapter in named]
    raise BadInputError(
        f"cannot show {type(record).__name__}; expected a Checkup, Plan, Receipt, Audit, Race, "
        "Prediction, Exhibit, CoordinateCheck, Watched, Streamed, Compared, Story, or a tuple or "
        "dictionary of them"
    )


def _chapter(story: Story) -> Chapter:
    race, plan, receipt = story.race, story.plan, story.receipt
    first, second = story.before or story.after, story.after if story.before else None
    found = wording.by_severity(first.findings) if first else ()
    verdict, proof = _verdict(story), race.verdict if race else ""
    summary = _summary(plan) if plan else ""
    # What a record says in one sentence comes first, and once.
    if not verdict and proof:
        verdict, proof = proof, ""
    elif not verdict:
        verdict, summary = summary, ""
    return Chapter(
        title=story.title,
        lead=story.lead,
        verdict=verdict,
        healthy=_healthy(story.after or story.before),
        compared=second is not None,
        glance=_glance(first, second, race) if first else None,
        findings=tuple(_item(f, n) for n, f in enumerate(found, 1)),
        maps=_maps(first, second, found, plan) if first else (),
        layers=layers(first, second, found) if first else None,
        operations=_operations(first, second) if first else None,
        remaining=tuple(_item(f) for f in wording.by_severity(second.findings)) if second else (),
        plan_summary=summary,
        plan=_plan(plan) if plan else None,
        rejected=_rejected(plan) if plan else None,
        ranking=tuple(map(typeset, wording.ranking(plan))) if plan else (),
        remarks=_remarks(plan) if plan else (),
        receipt_summary=wording.receipt_summary(receipt) if receipt else "",
        receipt=_receipt(receipt) if receipt else None,
        proof=proof,
        scores=_scores(race) if race and race.starts else None,
        race=_race(race) if race else None,
        curves=_curves(race) if race and race.starts else (),
        way=_way(race) if race and way_heads(race) else None,
        pairs=_pairs(race) if race and race.comparisons else None,
        differences=_differences(race) if race and race.comparisons else None,
        race_remarks=race.remarks if race else (),
        conditions=f"{wording.race_conditions(race)}." if race else "",
        made=_made(story, first),
    )


def _audit(audit: Audit) -> Chapter:
    rows = tuple(
        (
            pattern([entry.name for entry in same]),
            typeset(_between([entry.std for entry in same], 3)),
            wording.law_words(same[0]),
            same[0].intended or "–",
            wording.agreement(same[0]),
        )
        for same in group(audit, lambda e: (wording.law_words(e), e.intended, e.agrees))
    )
    table = Table(
        caption="What each parameter was drawn from, and what it was meant to be",
        heads=("parameter", "std", "drawn from", "intended", "agrees"),
        rows=rows,
        numeric=(1,),
    )
    said = tuple(remarked(audit))
    remarks = Table(
        caption="What fails silently",
        heads=("kind", "parameter", "what was seen"),
        rows=said,
        code=(1,),
    )
    return Chapter(
        title=audit.network.name,
        verdict=wording.audit_summary(audit),
        healthy=all(entry.agrees is not False for entry in audit) and not said,
        audit=table,
        audit_remarks=remarks if said else None,
        remarks=audit.remarks,
        made=(version_line(),),
    )


def _verdict(story: Story) -> str:
    if story.before and story.after:
        was = wording.verdict(story.before).rstrip(".")
        return f"{was}. After initialization: {wording.verdict(story.after)}"
    only = story.before or story.after
    return wording.verdict(only) if only else ""


def _healthy(checkup: Checkup | None) -> bool | None:
    return None if checkup is None else checkup.healthy and bool(checkup.layers)


def _glance(first: Checkup, second: Checkup | None, race: Race | None) -> Table:
    columns = [dict(wording.facts(c)) for c in (first, second) if c is not None]
    if second is not None and race is not None:
        for column, name in zip(columns, ("default", "plan"), strict=True):
            start = next((s for s in race.starts if s.name == name), None)
            if start is not None:
                column[race.score_name] = wording.start_score(race, start)
    whats = dict.fromkeys(what for column in columns for what in column)
    return Table(
        caption="At a glance",
        heads=("at step zero", *(("before", "after") if second else ("value",))),
        rows=tuple((w, *(typeset(column.get(w, "–")) for column in columns)) for w in whats),
        numeric=tuple(range(1, len(columns) + 1)),
        code=(),
    )


def _item(finding: Finding, label: int | None = None) -> Item:
    return Item(
        number=label,
        finding=finding,
        title=finding.kind.replace("-", " ").replace("non ", "non-"),
        names=finding.where[:MOST_NAMES],
        more=max(0, len(finding.where) - MOST_NAMES),
        code=is_code(finding.cure),
        brings=wording.brings(finding),
    )


_HALVES: tuple[tuple[Direction, str], ...] = (
    ("forward", "Forward: RMS of what each operation passes on"),
    ("backward", "Backward: ‖δ‖ per sample, the gradient that comes back to it"),
)


def _maps(
    first: Checkup, second: Checkup | None, found: tuple[Finding, ...], plan: Plan | None
) -> tuple[Figure, ...]:
    if not signals(first):
        return ()
    key: list[tuple[str, str, bool | str]] = []
    expected: tuple[Forecast, ...] = ()
    if second is not None:
        key = [("before", theme.BEFORE, True), ("after", theme.AFTER, False)]
        expected = plan.forecast if plan is not None else ()
    if foretold(expected, signals(second) if second is not None else ()):
        key.append(("theory", theme.INK, "1 3"))
    return tuple(
        Figure(
            heading=heading,
            chart=signal_chart(first, second, direction, found, expected),
            key=tuple(key),
        )
        for direction, heading in _HALVES
    )


def _operations(first: Checkup, second: Checkup | None) -> Table | None:
    runs = [signals(c) for c in (first, second) if c is not None]
    if not runs[0]:
        return None
    rows = []
    for index, signal in enumerate(runs[0]):
        both = [run[index] if index < len(run) else None for run in runs]
        cells = [_level(s.forward if s else None) for s in both]
        cells += [_level(s.backward if s else None) for s in both]
        rows.append((str(signal.position), signal.name, *cells))
    if len(rows) > MOST_ROWS:
        middle = ("…", f"{len(rows) - MOST_ROWS:,} more", *("…",) * 2 * len(runs))
        rows = [*rows[: MOST_ROWS // 2], middle, *rows[-MOST_ROWS // 2 :]]
    halves = ("forward RMS", "‖δ‖")
    words = [f"{half}, {when}" for half in halves for when in ("before", "after")]
    return Table(
        caption="Every weighted operation, ± one standard error",
        heads=("", "operation", *(words if second else halves)),
        rows=tuple(rows),
        numeric=(0, *range(2, 2 + 2 * len(runs))),
        code=(1,),
    )


def _level(level: Level | None) -> str:
    if level is None or level.value is None:
        return "–"
    return typeset(with_error(level.value, level.error))


def _plan(plan: Plan) -> Table:
    rows, also = [], []
    for same in group(plan, lambda e: (e.action, str(e.law), e.rule, e.reason, e.source)):
        entry, shape = same[0], shapes(e.layout.shape for e in same)
        times = f"{len(same)} × " if len(same) > 1 else ""
        law = "keep" if entry.action == "keep" else str(entry.law)
        why = f"{entry.reason} ({entry.source})" if entry.source else entry.reason
        rows.append((pattern([e.name for e in same]), times + shape, law, entry.rule, why))
        also.append(" ".join(e.name for e in same) if len(same) > 1 else "")
    return Table(
        caption="What each parameter starts as, and why",
        heads=("parameter", "shape", "law", "rule", "reason (source)"),
        rows=tuple(rows),
        also=tuple(also),
    )


def _summary(plan: Plan) -> str:
    """What is drawn, and first of all where that cannot help."""
    refused = (f"No start can help {refusal}." for refusal in plan.refusals)
    return " ".join((*refused, wording.plan_summary(plan)))


def _remarks(plan: Plan) -> tuple[str, ...]:
    """What the plan assumes and expects."""
    return (*plan.remarks, *_expected(plan))


def _expected(plan: Plan) -> tuple[str, ...]:
    """The forecast of a plan in sentences."""
    facts = [f"{label[0].upper()}{label[1:]}: {words}." for label, words, _ in forecast_facts(plan)]
    remark = forecast_remark(plan)
    return (" ".join([remark, *facts]),) if remark else ()


def _rejected(plan: Plan) -> Table | None:
    """What else was considered, and the figure that spoke against it."""
    rows = [
        (pattern([entry.name for entry in same]), other.technique, other.why)
        for same in group(plan, lambda e: e.rejected)
        for other in same[0].rejected
    ]
    if not rows:
        return None
    return Table(
        caption="Alternatives, and what spoke against them",
        heads=("parameter", "technique", "why not"),
        rows=tuple(rows),
    )


def _receipt(receipt: Receipt) -> Table:
    rows = []
    for same in group(receipt, lambda e: (e.action, str(e.asked))):
        asked = "keep" if same[0].action == "keep" else str(same[0].asked)
        got = [entry.achieved for entry in same]
        means, stds = _between([a.mean for a in got], 2), _between([a.std for a in got], 4)
        rows.append((pattern([e.name for e in same]), asked, typeset(means), typeset(stds)))
    return Table(
        caption="Asked and achieved, measured after writing",
        heads=("parameter", "asked", "mean", "std"),
        rows=tuple(rows),
        numeric=(2, 3),
    )


def _between(values: list[float], digits: int) -> str:
    low, high = number(min(values), digits=digits), number(max(values), digits=digits)
    return low if low == high else f"{low} … {high}"


def _scores(race: Race) -> Figure:
    caption = "Each start's mean with its 95 % interval; below it every seed."
    if race.chance is not None:
        caption += f" Dashed: guessing, {wording.chance_words(race)}."
    return Figure(heading=race.score_name.capitalize(), chart=race_chart(race), caption=caption)


def _curves(race: Race) -> tuple[Figure, ...]:
    key = tuple((name, color, False) for name, color in colors(race).items())
    of_loss = "Median over the seeds; the band holds the middle 80 % of them."
    if all(start.loss_curve is not None for start in race.starts):
        of_loss = "Mean over the seeds with its 95 % bootstrap interval, in blocks of steps."
    loss = Figure(
        heading="Training loss",
        chart=learning_chart(race),
        key=key,
        caption=of_loss,
    )
    if not has_curves(race):
        return (loss,)
    lines = ["the target"] if any(start.reach for start in race.starts) else []
    lines += [f"guessing, {wording.chance_words(race)}"] if race.chance is not None else []
    caption = "Mean over the seeds with its 95 % bootstrap interval."
    caption += f" Dashed: {wording.listed(lines)}." if lines else ""
    heading = f"{race.score_name.capitalize()} on the way"
    return (Figure(heading=heading, chart=score_chart(race), key=key, caption=caption), loss)


def _differences(race: Race) -> Figure:
    return Figure(
        heading="Paired differences",
        chart=difference_chart(race),
        caption="Mean over the seeds with its 95 % interval; in colour where a difference is seen"
        " after correction for the number of pairs.",
    )


def _race(race: Race) -> Table:
    return Table(
        caption="The starts at their best learning rates",
        heads=race_heads(race),
        rows=tuple((row[0], *map(typeset, row[1:])) for row in race_rows(race)),
        numeric=(1, 2, 3),
    )


def _way(race: Race) -> Table:
    heads = way_heads(race)
    return Table(
        caption="On the way to the last step",
        heads=heads,
        rows=tuple((row[0], *map(typeset, row[1:])) for row in way_rows(race)),
        numeric=tuple(range(1, len(heads))),
    )


def _pairs(race: Race) -> Table:
    return Table(
        caption="Every pair at the same seeds: paired t test, corrected by Holm's method",
        heads=PAIR_HEADS,
        rows=tuple((row[0], *map(typeset, row[1:])) for row in pair_rows(race)),
        numeric=(1, 2, 3),
    )


def _made(story: Story, checkup: Checkup | None) -> tuple[str, ...]:
    """How the page came about: the caller's notes, the conditions, the seed, the versions."""
    lines = list(story.notes)
    if checkup is not None:
        lines.append(f"Measured on {wording.conditions(checkup)}; {checkup.network.framework}")
        if checkup.observation.jacobian is not None:
            words = wording.jacobian_words(checkup.observation.jacobian)
            lines.append(f"Jacobian, input to output: {words}")
    if story.receipt is not None:
        lines.append(f"Seed: {story.receipt.seed}")
    return (*lines, version_line())
