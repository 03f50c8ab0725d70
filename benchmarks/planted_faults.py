"""Whether a checkup finds planted faults: the right kind first, the culprit named.

    python benchmarks/planted_faults.py [--part score] [--seeds 1] [--faults REGEX] [--only REGEX]

Each operator of `zoo.faults` is planted in every specimen of `zoo` where it makes sense. Cases are
split twice, so that no limit is scored on what it was set on. By architecture: each specimen has a
part, and relatives share it. By operator: each finding kind has at least one operator that
calibrates, and other mechanisms that score. ``--part score`` (the default) crosses the score part
of both, ``--part calibrate`` the other parts; ``--part all`` takes every pair, for debugging only.
``--part holdout`` is `zoo.holdout`: architectures and operators whose author had not read the
detectors; its architectures meet all scored operators, its operators also a sample of the zoo.

kind: the leading finding is of an expected kind. any: some finding is. culprit: a finding of an
expected kind names one of the culprits. silent: no finding at all. For controls, which are no
faults, kind is the share without an error.

A fault counts against recall only where it hurts training. hurts: the share of the cases that were
trained (`severity.py`, seed 0) and do; the columns "kind, hurts" and "culprit, hurts" and the
second total are over these cases alone. Cases that were not trained, or that training does not
decide, are in the first total only.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import SPECIMENS, holdout
from zoo.faults import CONTROLS, FAULTS, Case, Fault, cases
from zoo.harm import verdicts
from zoo.scoring import names_culprit, share
from zoo.training import RESULTS, read

import firstlight as fl
from firstlight.records.checkup import Finding


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    case: Case
    culprits: tuple[str, ...]
    findings: tuple[Finding, ...]
    hurts: bool | None = None
    raised: str = ""

    @property
    def leading(self) -> str:
        """The kind of the first finding."""
        return self.findings[0].kind if self.findings else ("raised" if self.raised else "silent")

    @property
    def right(self) -> bool:
        """Whether the leading finding is an expected one; for controls, no error."""
        if not self.case.fault.kinds:
            return not self.raised and not any(f.severity == "error" for f in self.findings)
        return self.leading in self.case.fault.kinds

    @property
    def expected(self) -> tuple[Finding, ...]:
        """The findings of an expected kind."""
        return tuple(f for f in self.findings if f.kind in self.case.fault.kinds)

    @property
    def named(self) -> bool:
        """Whether one of them names a culprit."""
        return any(names_culprit(finding, self.culprits) for finding in self.expected)


def outcome(case: Case, hurts: bool | None) -> Outcome | None:
    """Plant and check; None where the fault does not apply."""
    planted = case.plant()
    if planted is None:
        return None
    model, culprits = planted
    batch, options = case.fed()
    try:
        found: tuple[Finding, ...] = fl.check(model, batch, **options).findings
    except Exception as error:  # a check that raises is counted, not passed on
        return Outcome(case, culprits, (), hurts, f"{type(error).__name__}: {error}")
    return Outcome(case, culprits, found, hurts)


def _share(rows: list[Outcome], hit: Callable[[Outcome], bool]) -> str:
    return f"{sum(map(hit, rows)) / len(rows):.0%}" if rows else "–"


def row(fault: Fault, rows: list[Outcome]) -> tuple[str, ...]:
    """One line of the table."""
    wrong = Counter(o.leading for o in rows if not o.right)
    judged = [o for o in rows if o.hurts is not None]
    harmful = [o for o in rows if o.hurts]
    return (
        fault.name,
        ", ".join(fault.kinds[:3]) or "no error",
        str(len(rows)),
        _share(rows, lambda o: o.right),
        _share(rows, lambda o: bool(o.expected)) if fault.kinds else "",
        _share(rows, lambda o: o.named) if fault.kinds else "",
        _share(rows, lambda o: o.leading == "silent"),
        f"{_share(judged, lambda o: bool(o.hurts))} of {len(judged)}",
        _share(harmful, lambda o: o.right),
        _share(harmful, lambda o: o.named) if fault.kinds else "",
        ", ".join(f"{kind} {count}" for kind, count in wrong.most_common(3)),
    )


def total(rows: list[Outcome]) -> str:
    """Kind and culprit over the cases of many faults."""
    return (
        f"{len(rows)} cases of {len({o.case.fault.name for o in rows})} faults on"
        f" {len({o.case.specimen.name for o in rows})} architectures: leading kind right"
        f" {share(sum(o.right for o in rows), len(rows))}, culprit named"
        f" {share(sum(o.named for o in rows), len(rows))}"
    )


def _crossed(part: str, seeds: range) -> list[Case]:
    """The cases of a part, applicable or not."""
    if part == "holdout":
        return holdout.crossed(seeds)
    operators, specimens = (
        tuple(t for t in table if part in ("all", t.split))
        for table in ((*FAULTS, *CONTROLS), SPECIMENS)
    )
    return cases(operators, specimens, seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("score", "calibrate", "all", "holdout"), default="score")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--faults", default="", help="faults that match this expression")
    parser.add_argument("--only", default="", help="specimens that match this expression")
    parser.add_argument("--misses", action="store_true", help="list each case that was missed")
    parser.add_argument(
        "--harm",
        type=Path,
        nargs="*",
        default=[RESULTS, holdout.RESULTS],
        help="what severity.py and holdout_harm.py trained",
    )
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=170)

    todo = [
        case
        for case in _crossed(options.part, range(options.seeds))
        if re.search(options.faults, case.fault.name)
        and re.search(options.only, case.specimen.name)
    ]
    faults = list(dict.fromkeys(case.fault for case in todo))
    faults.sort(key=lambda fault: not fault.kinds)  # controls last
    missing = list(dict.fromkeys(case.specimen for case in todo if case.specimen.missing))
    if missing:
        console.print(f"{len(missing)} specimens skipped: {missing[0].missing}, and so on")
    runs = [run for path in options.harm for run in read(path)]
    harm = {(name, fault): hurts for (name, fault, *_), hurts in verdicts(runs).items()}
    found = [
        result
        for case in track(todo, "planting", console=console, transient=True)
        if (result := outcome(case, harm.get((case.specimen.name, case.fault.name)))) is not None
    ]

    came = ("cases", "kind", "any", "culprit", "silent")
    harmful = ("hurts", "kind, hurts", "culprit, hurts")
    heads = ("operator", "expected", *came, *harmful, "came instead")
    table = Table(*heads, title=f"planted faults, part: {options.part}")
    for fault in faults:
        if not fault.kinds and all(other.kinds for other in faults[: faults.index(fault)]):
            table.add_section()
        table.add_row(*row(fault, [o for o in found if o.case.fault is fault]))
    console.print(table)
    sick = [o for o in found if o.case.fault.kinds]
    console.print(f"all faults: {total(sick)}")
    controls = [o for o in found if not o.case.fault.kinds]
    console.print(
        f"controls without an error: {share(sum(o.right for o in controls), len(controls))}"
    )
    console.print(f"where training hurts: {total([o for o in sick if o.hurts])}")
    if options.misses:
        heads = ("operator", "model", "seed", "hurts", "came", "where", "evidence")
        misses = Table(*heads, title="misses: another kind leads, or no culprit is named")
        for o in found:
            if not o.right or (o.case.fault.kinds and not o.named):
                first = o.findings[0] if o.findings else None
                misses.add_row(
                    o.case.fault.name,
                    o.case.specimen.name,
                    str(o.case.seed),
                    {None: "", True: "yes", False: "no"}[o.hurts],
                    o.leading,
                    "" if first is None else ", ".join(first.where[:2]),
                    o.raised if first is None else first.evidence,
                )
        console.print(misses)


if __name__ == "__main__":
    main()
