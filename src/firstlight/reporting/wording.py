"""The sentences that text and pages share."""

from __future__ import annotations

from firstlight.records.checkup import Checkup, Finding, JacobianReading
from firstlight.records.plan import Audit, AuditEntry, Plan, Receipt
from firstlight.records.race import Race, Start
from firstlight.reporting.grouping import some
from firstlight.reporting.numbers import number, score
from firstlight.reporting.signal import change, hidden

SEVERITIES = ("error", "warning", "note")

_LOST, _EVEN = 1e29, 1.01
"""Ratios of largest to smallest along the depth that are not worth a number."""


def count(n: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(parts: list[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def brings(finding: Finding) -> str:
    """What a finding explains, each kind once with its first place."""
    first: dict[str, str] = {}
    for consequence in finding.consequences:
        first.setdefault(consequence.kind, consequence.where[0] if consequence.where else "")
    return ", ".join(f"{kind} at `{name}`" if name else kind for kind, name in first.items())


def by_severity(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; the given order within each."""
    return tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity)))


def tally(checkup: Checkup, *, notes: bool = False) -> str:
    """``2 errors and 1 warning``; empty if there is nothing to count."""
    wanted = SEVERITIES if notes else SEVERITIES[:2]
    counts = [(s, sum(f.severity == s for f in checkup.findings)) for s in wanted]
    parts = [count(n, severity) for severity, n in counts if n]
    return listed(parts) if parts else ""


def verdict(checkup: Checkup) -> str:
    """One sentence that says whether the network is healthy, and what was not looked at."""
    seen, name = checkup.observation, checkup.network.name
    if not checkup.healthy:
        sentence = f"{name} is not healthy at step zero: {tally(checkup)}"
    elif not seen.readings:
        sentence = f"{name} was not measured, so nothing is known about its health"
    elif tally(checkup):
        sentence = f"{name} is healthy at step zero, with {tally(checkup)}"
    else:
        sentence = f"{name} is healthy at step zero"
    if seen.raised:
        sentence += (
            f"; the pass was stopped by an error: {' '.join(seen.raised.split()).rstrip('.')}"
        )
    closed = checkup.network.not_looked_into
    if closed:
        sentence += f"; not looked into: {some(closed)}"
    return sentence + "."


def conditions(checkup: Checkup) -> str:
    """How the measurement was made: samples, device, type, mode, where backward started."""
    seen = checkup.observation
    origin = {
        "loss": "backward from the loss",
        "random": "backward from a random cotangent",
        "head-input": "backward from the input of the zero head",
    }
    return ", ".join(
        [
            count(seen.samples, "sample"),
            seen.device,
            seen.dtype,
            f"{seen.mode} mode",
            origin[seen.cotangent],
        ]
    )


def facts(checkup: Checkup) -> list[tuple[str, str]]:
    """The few numbers that tell one start from another, as (what, value)."""
    seen, shown = checkup.observation, hidden(checkup)
    rows = [("findings", tally(checkup, notes=True) or "none")]
    if seen.loss is not None:
        rows.append(("loss at step zero", number(seen.loss)))
    forward = change(s.forward for s in shown)
    backward = change(s.backward for s in reversed(shown))
    if forward is not None:
        rows.append(("forward RMS across hidden layers", f"× {number(forward, digits=2)}"))
    if backward is not None:
        rows.append(("‖δ‖ back across them", f"× {number(backward, digits=2)}"))
    if seen.jacobian is not None:
        rows.append(("Jacobian, input to output", jacobian_words(seen.jacobian)))
    return rows


def jacobian_words(reading: JacobianReading) -> str:
    """The singular values from input to output in a line."""
    ends = [number(value, digits=2) for value in (reading.largest[:1] or (0.0,))]
    least = f" to {number(reading.smallest, digits=2)}" if reading.smallest is not None else ""
    square = number(reading.mean_square.value, reading.mean_square.standard_error)
    words = f"σ {ends[0]}{least or ' at most'}, mean σ² {square}"
    return (
        words if reading.spread is None else f"{words}, spread {number(reading.spread, digits=2)}"
    )


def plan_summary(plan: Plan) -> str:
    """One sentence on how much is drawn and how much is kept."""
    drawn = sum(entry.action == "draw" for entry in plan)
    kept = len(plan) - drawn
    asked = f", technique {plan.technique}" if plan.technique else ""
    parts = [f"{count(drawn, 'parameter')} drawn"] + ([f"{kept:,} kept"] if kept else [])
    return f"Plan for {plan.network.name}: {', '.join(parts)}{asked}."


def receipt_summary(receipt: Receipt) -> str:
    """One sentence on what was done, with the seed that brings it back."""
    drawn = sum(entry.action == "draw" for entry in receipt)
    space = f", namespace '{receipt.namespace}'" if receipt.namespace else ""
    name = receipt.plan.network.name
    done = f"{name}: {count(drawn, 'parameter')} drawn with seed {receipt.seed}{space}."
    if any(entry.achieved.share < 1 for entry in receipt):
        done += " Means and standard deviations are of what this process holds."
    return done


def audit_summary(audit: Audit) -> str:
    """One sentence on how many parameters are what they were meant to be."""
    wrong = [entry.name for entry in audit if entry.agrees is False]
    unknown = sum(not entry.laws for entry in audit)
    sentence = f"{audit.network.name}: {count(len(audit.entries), 'parameter')}"
    sentence += f", {len(wrong):,} not as intended ({some(wrong)})" if wrong else ""
    sentence += f", {unknown:,} that no known law fits" if unknown else ""
    said = len({remark.text for entry in audit for remark in entry.remarks})
    sentence += f", {count(said, 'remark')}" if said else ""
    if wrong or unknown:
        return sentence + "."
    asked = any(entry.agrees for entry in audit)
    return sentence + (", all named and as intended." if asked else ", all named.")


def agreement(entry: AuditEntry) -> str:
    """Whether the numbers are what was intended, in one word."""
    return {True: "yes", False: "no", None: "unknown"}[entry.agrees]


def law_words(entry: AuditEntry) -> str:
    """The law that fits best in words, and what else fits."""
    if not entry.laws:
        return "no known law fits"
    best, *others = entry.laws
    words = best.words + (f" ({best.technique})" if best.technique else "")
    return words + (f", or {some([o.words for o in others], 2)}" if others else "")


def chance_words(race: Race) -> str:
    """The score of guessing; empty if it is not known."""
    if race.chance is None:
        return ""
    return f"{100 * race.chance:.3g} %" if in_percent(race) else number(race.chance)


def in_percent(race: Race) -> bool:
    """Whether the score is a share that reads better in per cent."""
    return "accuracy" in race.score_name


def start_score(race: Race, start: Start) -> str:
    """A start's mean score with its interval."""
    return score(start.mean, start.interval, percent=in_percent(race))


def rate_words(start: Start) -> str:
    """The best learning rate; says so if it lies at the edge of what was searched."""
    rates = [rate for rate, _ in start.searched]
    edge = len(rates) > 1 and start.learning_rate in (min(rates), max(rates))
    return f"{start.learning_rate:.3g}" + (" (edge of search)" if edge else "")


def race_conditions(race: Race) -> str:
    """How the race was run."""
    runs = max((len(start.runs) for start in race.starts), default=0)
    return (
        f"{count(runs, 'seed')} per start, {count(race.steps, 'step')} of {race.optimizer}, "
        f"batches of {race.batch_size}, each start at its own best learning rate"
    )


def ranking(plan: Plan) -> tuple[str, ...]:
    """The plan's place among other starts, the most even first, in a sentence each."""
    if len(plan.ranking) < 2:
        return ()
    return tuple(
        f"{place.technique}: {_range('second moment', place.forward_ratio)},"
        f" {_range('‖δ‖²', place.delta_ratio)} ({place.how})"
        for place in plan.ranking
    )


def was_compared(plan: Plan) -> bool:
    """Whether starts were measured besides the plan and the model's own one."""
    return sum(place.how == "measured" for place in plan.ranking) > 2


def _range(what: str, ratio: float) -> str:
    if ratio >= _LOST:
        return f"{what} lost along the depth"
    return f"{what} within × {ratio:.3g}" if ratio >= _EVEN else f"{what} even"
