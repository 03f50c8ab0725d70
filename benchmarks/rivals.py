"""The planted faults, as other packages see them: beside Firstlight, on the same cases.

    pip install --no-deps -r benchmarks/requirements-rivals.txt
    python benchmarks/rivals.py [--part score] [--faults REGEX] [--only REGEX] [--seeds 1] [--all]

Cases are those of `planted_faults.py`, on classifiers of one tensor and on models that compute
their own loss: what every rival can be given. By default a dozen of them, of all families and
quick to train; ``--all`` takes each one, which lasts hours, for torchtest2 trains 200 steps per
case and torchmortem 20. Each tool gets a freshly planted copy.

speaks: there is a complaint (of the tool's own severity warning or above) that it does not make
about the healthy twin, which has the same seed. names: something new that it says, be it mere
information, could mean an expected kind (`zoo.rival_rules`, read generously). Firstlight's own
columns are stricter: *its leading finding* must be of an expected kind. Who raises is silent.

anyinit redraws every weight before it judges, so it can only see what its own draw does not cure.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import SPECIMENS, Specimen
from zoo.faults import CONTROLS, FAULTS, Case
from zoo.rival_cases import Bench, Heard, Row, names, speaks, takes
from zoo.rival_rules import complaints
from zoo.rival_runs import RIVALS, missing
from zoo.scoring import share

QUICK = (
    "mlp-relu-30-he",
    "mlp-tanh-30-orthogonal",
    "mlp-layernorm-10",
    "mlp-residual-prenorm",
    "vgg-11",
    "mlp-mixer",
    "lstm-unrolled",
    "deep-sets",
    "qwen3",
    "convnext",
    "ast",
    "patch-tst",
)
"""Of the score part, quick ones of every family: the whole table takes ten minutes on one core."""


def _cells(rows: list[Row], rivals: tuple[str, ...]) -> list[str]:
    def per(hits: list[bool]) -> str:
        return f"{sum(hits) / len(hits):.0%}" if hits else "–"

    ours = [r.ours.leading in r.case.fault.kinds for r in rows]
    cells = [str(len(rows)), per(ours), per([speaks(r.ours, r.ours_healthy) for r in rows])]
    for rival in rivals:
        cells.append(per([names(rival, r) for r in rows]))
        cells.append(per([speaks(r.sick[rival], r.healthy[rival]) for r in rows]))
    return cells


def fault_table(rows: list[Row], rivals: tuple[str, ...], part: str) -> Table:
    """One line per operator."""
    table = Table(
        "operator", "cases", "Firstlight\nleads", "\nspeaks", title=f"planted faults, part: {part}"
    )
    for rival in rivals:
        table.add_column(f"{rival}\nnames")
        table.add_column("\nspeaks")
    for fault in dict.fromkeys(r.case.fault.name for r in rows):
        table.add_row(fault, *_cells([r for r in rows if r.case.fault.name == fault], rivals))
    table.add_section()
    table.add_row("all", *_cells(rows, rivals))
    return table


def summary_table(rows: list[Row], rivals: tuple[str, ...]) -> Table:
    """The same over all faults, with intervals, errors and cost."""
    table = Table("tool", "names the kind", "speaks", "raised", "ms per case", title="all faults")
    leads = sum(r.ours.leading in r.case.fault.kinds for r in rows)
    spoken = sum(speaks(r.ours, r.ours_healthy) for r in rows)

    def add(tool: str, named: int, spoken: int, said: list[Heard]) -> None:
        raised = sum(bool(h.raised) for h in said)
        cost = f"{1000 * median(h.seconds for h in said):.0f}"
        table.add_row(tool, share(named, len(rows)), share(spoken, len(rows)), str(raised), cost)

    add("Firstlight (leading)", leads, spoken, [r.ours for r in rows])
    for rival in rivals:
        hits = sum(names(rival, r) for r in rows)
        spoken = sum(speaks(r.sick[rival], r.healthy[rival]) for r in rows)
        add(rival, hits, spoken, [r.sick[rival] for r in rows])
    return table


def false_alarm_table(
    bench: Bench, controls: list[Row], specimens: list[Specimen], seeds: range
) -> Table:
    """Who complains about healthy models; one is loud if any seed is."""
    table = Table(
        "tool",
        "healthy: fails",
        "fails or warnings",
        "controls: fails",
        "fails or warnings ",
        "raised",
        "most frequent",
        title="false alarms",
    )
    twins = {s.name: [bench.twin(s, seed) for seed in seeds] for s in specimens}

    def add(tool: str, of: Callable[[tuple[dict[str, Heard], Heard]], Heard]) -> None:
        said = {name: [of(pair) for pair in pairs] for name, pairs in twins.items()}
        spoiled = [of((row.sick, row.ours)) for row in controls]
        loud = {
            level: [
                sum(any(_loud(h, level) for h in group) for group in groups)
                for groups in (said.values(), [[h] for h in spoiled])
            ]
            for level in ("fail", "warning")
        }
        everything = [h for group in said.values() for h in group]
        counts: dict[str, int] = {}
        for one in everything:
            for rule in {alarm.rule for alarm in complaints(one.alarms)}:
                counts[rule] = counts.get(rule, 0) + 1
        often = sorted(counts, key=lambda rule: -counts[rule])[:2]
        table.add_row(
            tool,
            share(loud["fail"][0], len(said)),
            share(loud["warning"][0], len(said)),
            share(loud["fail"][1], len(spoiled)),
            share(loud["warning"][1], len(spoiled)),
            str(sum(bool(h.raised) for h in everything)),
            ", ".join(f"{rule} {counts[rule]}" for rule in often),
        )

    def of(rival: str) -> Callable[[tuple[dict[str, Heard], Heard]], Heard]:
        return lambda pair: pair[0][rival]

    add("Firstlight", lambda pair: pair[1])
    for rival in bench.rivals:
        add(rival, of(rival))
    return table


def _loud(one: Heard, level: str) -> bool:
    levels = ("fail",) if level == "fail" else ("fail", "warning")
    return any(alarm.severity in levels for alarm in one.alarms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("score", "calibrate", "all"), default="score")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--faults", default="", help="faults that match this expression")
    parser.add_argument("--only", default="", help="specimens that match this expression")
    parser.add_argument("--rivals", default="", help="rivals that match this expression")
    parser.add_argument("--all", action="store_true", help="every specimen that rivals can take")
    parser.add_argument("--errors", action="store_true", help="list what rivals raised")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=170)

    for line in filter(None, map(missing, RIVALS)):
        console.print(line)
    rivals = tuple(r for r in RIVALS if not missing(r) and re.search(options.rivals, r))
    chosen = [s for s in SPECIMENS if options.part in ("all", s.split)]
    chosen = [s for s in chosen if re.search(options.only, s.name)]
    taken = [s for s in chosen if takes(s)]
    refused = len(chosen) - len(taken)
    console.print(f"{refused} of {len(chosen)} specimens are left out: not every rival takes them")
    if not (options.all or options.only) and options.part == "score":
        taken = [s for s in taken if s.name in QUICK]
    faults = [f for f in (*FAULTS, *CONTROLS) if options.part in ("all", f.split)]
    faults = [f for f in faults if re.search(options.faults, f.name)]

    bench, seeds = Bench(rivals), range(options.seeds)
    todo = [Case(fault=f, specimen=s, seed=seed) for f in faults for s in taken for seed in seeds]
    rows = [
        row
        for case in track(todo, "asking", console=console, transient=True)
        if (row := bench.row(case)) is not None
    ]
    sick = [r for r in rows if r.case.fault.kinds]
    console.print(fault_table(sick, rivals, options.part))
    if sick:
        console.print(summary_table(sick, rivals))
    controls = [r for r in rows if not r.case.fault.kinds]
    console.print(false_alarm_table(bench, controls, taken, seeds))
    if options.errors:
        lines = {f"{rival}: {h.raised}" for r in rows for rival, h in r.sick.items() if h.raised}
        lines |= {f"Firstlight: {r.ours.raised}" for r in rows if r.ours.raised}
        for line in sorted(lines):
            console.print(line)


if __name__ == "__main__":
    main()
