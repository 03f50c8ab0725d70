"""How long each exhibit takes: python benchmarks/exhibit_times.py [--full] [NAME ...]."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import track
from rich.table import Table

import firstlight as fl


def main() -> None:
    full = "--full" in sys.argv
    names = [name for name in sys.argv[1:] if name != "--full"] or list(fl.exhibit_names())
    console, table = Console(), Table("exhibit", "verdict", "seconds", title=f"{full=}")
    began, longest = time.perf_counter(), 0.0
    for name in track(names, console=console, transient=True):
        shown = fl.exhibit(name, quick=not full)
        longest = max(longest, shown.seconds)
        table.add_row(name, shown.verdict, f"{shown.seconds:.1f}")
    table.add_section()
    total = time.perf_counter() - began
    table.add_row(f"{len(names)} exhibits", f"longest {longest:.1f}", f"{total:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
