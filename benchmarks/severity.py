"""Whether severity predicts harm: what a checkup says at step zero against what training does.

    python benchmarks/severity.py [--sweep] [--steps 200] [--only REGEX] [--cases]

Each start of the zoo's score part, healthy or spoiled by an operator of the score part, is trained
(`zoo.training`); training alone says whether the fault hurts (`zoo.harm`). With ``--sweep`` the
trainings that the file lacks are done first, which takes hours for the whole zoo and can be cut
short at any time; without it the file is read. Then every start is checked, untrained, and the
worst severity found is set against the harm. No limit was set on these architectures, and none on
these operators: both parts are held out.

AUC: the chance that a harmful start is called worse than a harmless one. Its interval is over
architectures. Healthy twins count as harmless by definition; how often the judge itself would call
one of them hurt, against the others, is printed beside.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import SPECIMENS, Specimen
from zoo.faults import CONTROLS, FAULTS, Case
from zoo.harm import OPERATORS, auc_interval, is_twin, verdicts
from zoo.scoring import share
from zoo.sweep import sweep
from zoo.training import RESULTS, STEPS, Run, read

import firstlight as fl

SEVERITIES = ("silent", "note", "warning", "error")
ERROR = SEVERITIES.index("error")


@dataclass(frozen=True)
class Start:
    """A start with what training and what the checkup say of it."""

    run: Run
    hurts: bool | None
    severity: int
    leading: str

    @property
    def group(self) -> str:
        """What it was meant to be."""
        fault = OPERATORS[self.run.fault]
        return "healthy" if fault is None else "fault" if fault.kinds else "control"


def checked(run: Run, hurts: bool | None, specimen: Specimen) -> Start:
    """Check the start as it was before it was trained."""
    fault = OPERATORS[run.fault]
    model, batch, options = (
        specimen.model(run.seed),
        specimen.batch(run.seed),
        specimen.check(run.seed),
    )
    if fault is not None:
        case = Case(fault=fault, specimen=specimen, seed=run.seed)
        planted = case.plant()
        if planted is None:
            return Start(run, None, 0, "no longer applies")
        model = planted[0]
        batch, options = case.fed()
    try:
        findings = fl.check(model, batch, **options).findings
    except Exception as error:  # counted as silent: nothing was said of the start
        return Start(run, hurts, 0, f"raised {type(error).__name__}")
    worst = max((SEVERITIES.index(f.severity) for f in findings), default=0)
    return Start(run, hurts, worst, findings[0].kind if findings else "")


def prediction(starts: list[Start]) -> str:
    """AUC with its interval."""
    names = sorted({s.run.specimen for s in starts})
    counts = np.zeros((2, len(names), len(SEVERITIES)))
    for s in starts:
        if s.hurts is not None:
            counts[int(s.hurts), names.index(s.run.specimen), s.severity] += 1
    harmless, harmful = counts
    if not (harmless.any() and harmful.any()):
        return "no AUC: harmful and harmless starts are needed"
    area, low, high = auc_interval(harmful, harmless)
    return (
        f"AUC {area:.3f} ({low:.3f}–{high:.3f}), {harmful.sum():.0f} harmful and"
        f" {harmless.sum():.0f} harmless starts of {len(names)} architectures"
    )


def severity_table(starts: list[Start]) -> Table:
    """Severity against harm; and the points of the ROC curve."""
    faults = [s for s in starts if s.group == "fault"]
    columns = {
        "faults that hurt": [s for s in faults if s.hurts],
        "faults that do not": [s for s in faults if s.hurts is False],
        "faults not judged": [s for s in faults if s.hurts is None],
        "controls": [s for s in starts if s.group == "control"],
        "healthy twins": [s for s in starts if s.group == "healthy"],
    }
    harmful = [s.severity for s in starts if s.hurts]
    harmless = [s.severity for s in starts if s.hurts is False]
    table = Table("worst finding", *columns, "harmful: so or worse", "harmless: so or worse")
    for level, name in reversed(list(enumerate(SEVERITIES))):
        cells = [sum(s.severity == level for s in column) for column in columns.values()]
        caught = (
            f"{sum(s >= level for s in group) / max(len(group), 1):.1%}"
            for group in (harmful, harmless)
        )
        table.add_row(name, *map(str, cells), *caught)
    table.add_section()
    table.add_row("all", *(str(len(column)) for column in columns.values()))
    return table


def operator_table(starts: list[Start]) -> Table:
    """Per operator: how often it hurts, and where severity and harm disagree."""
    table = Table(
        "operator",
        "trained",
        "judged",
        "hurts",
        "called error",
        "hurts, no error",
        "hurts, silent",
        "error, harmless",
        "and calls it",
        title="by operator",
    )
    for name in dict.fromkeys(s.run.fault for s in starts if s.run.fault):
        rows = [s for s in starts if s.run.fault == name]
        judged = [s for s in rows if s.hurts is not None]
        loud = [s for s in judged if not s.hurts and s.severity == ERROR]
        kinds = Counter(s.leading for s in loud).most_common(2)
        table.add_row(
            f"{name} ({rows[0].group})" if rows[0].group == "control" else name,
            str(len(rows)),
            str(len(judged)),
            f"{sum(bool(s.hurts) for s in judged) / max(len(judged), 1):.0%}",
            f"{sum(s.severity == ERROR for s in rows) / len(rows):.0%}",
            str(sum(bool(s.hurts) and s.severity < ERROR for s in judged)),
            str(sum(bool(s.hurts) and s.severity == 0 for s in judged)),
            str(len(loud)),
            ", ".join(f"{kind} {count}" for kind, count in kinds),
        )
    return table


def disagreements(starts: list[Start]) -> Table:
    """Case by case: hurts but silent, error but harmless."""
    table = Table("operator", "architectures", title="where severity and harm disagree")
    groups = {
        "hurts, silent": [s for s in starts if s.hurts and s.severity == 0],
        "error, harmless": [s for s in starts if s.hurts is False and s.severity == ERROR],
    }
    for title, rows in groups.items():
        table.add_section()
        table.add_row(title, "")
        for name in dict.fromkeys(s.run.fault for s in rows):
            models = [
                f"{s.run.specimen} ({s.leading})" if s.leading else s.run.specimen
                for s in rows
                if s.run.fault == name
            ]
            table.add_row(f"  {name or 'healthy'}", ", ".join(dict.fromkeys(models)))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweep", action="store_true", help="train what the file does not have")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", default="", help="specimens that match this expression")
    parser.add_argument("--file", type=Path, default=RESULTS)
    parser.add_argument("--slowest", type=float, default=40, help="most milliseconds of a step")
    parser.add_argument("--cases", action="store_true", help="list the cases that disagree")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=170)
    faults = tuple(f for f in (*FAULTS, *CONTROLS) if f.split == "score")
    specimens = {
        s.name: s for s in SPECIMENS if s.split == "score" and re.search(options.only, s.name)
    }
    if options.sweep:
        torch.set_flush_denormal(True)
        sweep(options.file, specimens.values(), faults, options.steps, options.slowest, console)
        torch.set_flush_denormal(False)
    runs = [
        run
        for run in read(options.file)
        if run.specimen in specimens
        and not specimens[run.specimen].missing
        and run.fault in OPERATORS
        and run.steps == options.steps
    ]
    judged = verdicts(runs)
    starts = [
        checked(
            run,
            False if is_twin(run) else judged[run.key],
            specimens[run.specimen],
        )
        for run in track(runs, "checking", console=console, transient=True)
        if not run.raised
    ]
    for run in runs:
        if run.raised:
            console.print(f"{run.specimen}, {run.fault}: training raised {run.raised}")

    console.print(severity_table(starts))
    console.print(operator_table(starts))
    if options.cases:
        console.print(disagreements(starts))
    twins = [hurt for key, hurt in judged.items() if not key[1] and hurt is not None]
    console.print(f"healthy twins that the judge calls hurt: {share(sum(twins), len(twins))}")
    raised = [s for s in starts if s.leading.startswith("raised")]
    if raised:
        console.print(f"checks that raised, counted as silent: {len(raised)}")
    console.print(f"all starts: {prediction(starts)}")
    planted = [s for s in starts if s.group == "fault"]
    console.print(f"planted faults alone: {prediction(planted)}")


if __name__ == "__main__":
    main()
