"""Trainings of many starts, kept as they come, so that a sweep can be cut short and taken up."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from zoo.faults import Fault
from zoo.harm import starts
from zoo.specimen import Specimen
from zoo.training import append, read, step_cost, stored, trained, write


def in_turn(costs: dict[Specimen, float]) -> list[Specimen]:
    """Cheap models first, but each family gets the same time: a partial sweep has all of them."""
    waiting: dict[str, list[Specimen]] = defaultdict(list)
    for specimen in sorted(costs, key=costs.__getitem__, reverse=True):
        waiting[specimen.family].append(specimen)
    spent = dict.fromkeys(waiting, 0.0)
    order = []
    while any(waiting.values()):
        family = min((f for f in waiting if waiting[f]), key=spent.__getitem__)
        order.append(waiting[family].pop())
        spent[family] += costs[order[-1]]
    return order


def affordable(
    specimens: Iterable[Specimen], slowest: float, console: Console
) -> dict[Specimen, float]:
    """Those that can be trained, with the milliseconds of a step; the others are listed."""
    costs: dict[Specimen, float] = {}
    for specimen in specimens:
        try:
            cost = None if specimen.missing else step_cost(specimen)
        except Exception as error:  # listed, not passed on
            console.print(f"{specimen.name} is not trained: {type(error).__name__}: {error}")
            continue
        if cost is None:
            console.print(f"{specimen.name} is not trained: {specimen.missing or 'it has no loss'}")
        elif cost > slowest:
            console.print(f"{specimen.name} is not trained: {cost:.0f} ms a step, over {slowest:g}")
        else:
            costs[specimen] = cost
    return costs


def sweep(
    path: Path,
    specimens: Iterable[Specimen],
    faults: tuple[Fault, ...],
    steps: int,
    slowest: float,
    console: Console,
) -> None:
    """Train what the file does not have yet; each run is kept as soon as it is done.

    In two rounds: in the first, every architecture gets every other operator, by turns, so that a
    partial sweep has many architectures and all operators.
    """
    runs = read(path)
    write(path, runs)
    done = {run.key for run in runs}
    order = in_turn(affordable(specimens, slowest, console))
    for part in (0, 1):
        for number, specimen in enumerate(order, 1):
            begin, fed, count = time.monotonic(), stored(specimen), 0
            for fault, seed in starts(fed, faults[(number + part) % 2 :: 2]):
                name = "" if fault is None else fault.name
                if (specimen.name, name, seed, steps) in done:
                    continue
                run = trained(fed, fault, seed, steps)
                if run is not None:
                    append(path, run)
                    done.add(run.key)
                    count += 1
            seconds = time.monotonic() - begin
            console.print(
                f"round {part + 1}, {number} of {len(order)}: {specimen.name}, {count} runs,"
                f" {seconds:.0f} s"
            )
    write(path, read(path))
