"""How often a checkup calls a healthy model sick.

    python benchmarks/false_alarms.py [--part zoo] [--seeds 5] [--only REGEX] [--warnings]

Every specimen of `zoo`, started by its own code's law (or a sensible one, where that is known to be
bad), is checked on its own task over several seeds. A model is silent if no seed gives a finding of
severity error. The interval is over models, by Clopper and Pearson: seeds of one model are no
independent cases. The sick ones of `zoo.SICK` follow: published code that deserves its error.
``--part holdout`` takes the architectures of `zoo.holdout` alone, which came after the detectors.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import SICK, SPECIMENS, Specimen, holdout
from zoo.scoring import share

from firstlight.records.checkup import Finding


@dataclass(frozen=True)
class Alarm:
    """A finding on a specimen, or what was raised instead."""

    specimen: Specimen
    seed: int
    finding: Finding | None
    raised: str = ""


def alarms(specimen: Specimen, seed: int) -> list[Alarm]:
    """All findings of one check."""
    try:
        checkup = specimen.checkup(specimen.model(seed), seed)
    except Exception as error:  # a check that raises is counted, not passed on
        return [Alarm(specimen, seed, None, f"{type(error).__name__}: {error}")]
    return [Alarm(specimen, seed, finding) for finding in checkup.findings]


def _is_error(alarm: Alarm) -> bool:
    return alarm.finding is None or alarm.finding.severity == "error"


def _row(alarm: Alarm) -> tuple[str, ...]:
    found = alarm.finding
    if found is None:
        return alarm.specimen.name, str(alarm.seed), "raised", "", alarm.raised
    where = ", ".join(found.where[:2])
    return alarm.specimen.name, str(alarm.seed), found.kind, where, found.evidence


def alarm_table(title: str, rows: list[Alarm]) -> Table:
    """One line per model and kind, with the first seed's evidence."""
    table = Table("model", "seeds", "kind", "where", "evidence of the first", title=title)
    kinds = Counter((a.specimen.name, _row(a)[2]) for a in rows)
    shown: set[tuple[str, str]] = set()
    for alarm in rows:
        name, _, kind, where, evidence = _row(alarm)
        if (name, kind) not in shown:
            shown.add((name, kind))
            table.add_row(name, str(kinds[name, kind]), kind, where, evidence)
    return table


def family_table(specimens: list[Specimen], loud: set[str], loud_runs: int, seeds: int) -> Table:
    """Silent models by family."""
    table = Table("family", "models", "silent on all seeds")
    for family in dict.fromkeys(s.family for s in specimens):
        rows = [s for s in specimens if s.family == family]
        silent = sum(s.name not in loud for s in rows)
        table.add_row(family, str(len(rows)), share(silent, len(rows)))
    table.add_section()
    table.add_row("all", str(len(specimens)), share(len(specimens) - len(loud), len(specimens)))
    runs = len(specimens) * seeds
    table.add_row("all runs", str(runs), f"{1 - loud_runs / runs:.1%}")
    return table


def sick_table(only: str, seeds: int) -> Table:
    """Published code that must get its error."""
    table = Table(
        "model", "seeds with its error", "the healthy copy has", title="published, and rightly sick"
    )
    for specimen, kinds in SICK.items():
        if specimen.missing or not re.search(only, specimen.name):
            continue
        right = 0
        for seed in range(seeds):
            leading = [a.finding.kind for a in alarms(specimen, seed)[:1] if a.finding]
            right += any(kind in kinds for kind in leading)
        table.add_row(specimen.name, f"{right} of {seeds}", specimen.remark)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("zoo", "holdout"), default="zoo")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="names that match this expression")
    parser.add_argument("--warnings", action="store_true", help="list warnings too")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=160)
    table = SPECIMENS if options.part == "zoo" else holdout.SPECIMENS
    chosen = [s for s in table if re.search(options.only, s.name)]
    missing = [s for s in chosen if s.missing]
    if missing:
        console.print(f"{len(missing)} skipped: {missing[0].missing}, and so on")
    chosen = [s for s in chosen if not s.missing]
    found = [
        alarm
        for specimen in track(chosen, "checking", console=console, transient=True)
        for seed in range(options.seeds)
        for alarm in alarms(specimen, seed)
    ]
    errors = [a for a in found if _is_error(a)]
    loud = {a.specimen.name for a in errors}
    loud_runs = len({(a.specimen.name, a.seed) for a in errors})
    console.print(alarm_table("false alarms (errors)", errors))
    if options.warnings:
        console.print(alarm_table("warnings", [a for a in found if not _is_error(a)]))
    console.print(family_table(chosen, loud, loud_runs, options.seeds))

    if options.part == "zoo":
        console.print(sick_table(options.only, options.seeds))


if __name__ == "__main__":
    main()
