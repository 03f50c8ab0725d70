"""How long each exhibit takes: python benchmarks/exhibit_times.py [--quick] [--full] [NAME ...].

Both paces if neither is asked for; one after the other, in one process of one thread. The limits:
every exhibit at full pace under 60 seconds, all of them at quick pace under ten minutes.
"""

from __future__ import annotations

import sys
import time

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import firstlight as fl

LONGEST_FULL, TOTAL_QUICK = 60.0, 600.0
_SHORT = {"holds": "yes", "holds under these conditions": "in part", "does not hold": "no"}


def main() -> None:
    torch.set_num_threads(1)
    asked = [word for word in sys.argv[1:] if word in ("--quick", "--full")]
    paces = [word[2:] for word in asked] or ["quick", "full"]
    names = [word for word in sys.argv[1:] if word not in asked] or list(fl.exhibit_names())
    heads = [f"{pace}: {what}" for pace in paces for what in ("verdict", "wall", "CPU")]
    console, table = Console(), Table(title="seconds")
    for head in ("exhibit", *heads):
        table.add_column(head, no_wrap=head == "exhibit")
    changed: list[str] = []
    spent = {pace: [(0.0, 0.0)] for pace in paces}
    for name in track(names, console=console, transient=True):
        row, verdicts = [name], set()
        for pace in paces:
            began = time.process_time()
            shown = fl.exhibit(name, quick=pace == "quick")
            spent[pace].append((shown.seconds, time.process_time() - began))
            verdicts.add(shown.verdict)
            row += [_SHORT[shown.verdict], *(f"{seconds:.1f}" for seconds in spent[pace][-1])]
        table.add_row(*row)
        changed += [name] * (len(verdicts) > 1)
    for what, fold in (("longest", max), ("total", sum)):
        ends = [[fold(part) for part in zip(*spent[pace], strict=True)] for pace in paces]
        table.add_section()
        cells = [cell for wall, cpu in ends for cell in ("", f"{wall:.1f}", f"{cpu:.1f}")]
        table.add_row(f"{what} of {len(names)}", *cells)
    console.print(table)
    console.print(f"verdicts that differ between the paces: {', '.join(changed) or 'none'}")
    console.print(f"limits: {LONGEST_FULL:.0f} s each at full, {TOTAL_QUICK:.0f} s in all at quick")


if __name__ == "__main__":
    main()
