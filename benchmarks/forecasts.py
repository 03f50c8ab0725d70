"""How well a plan predicts what it will do: second moments, operation by operation.

    python benchmarks/forecasts.py [--part zoo] [--draws 16] [--only REGEX] [--worst 20]

Each specimen of `zoo` is planned once, then calibrated and drawn several times, as `initialize`
does; the batch stays the same, and the steps of a loop written out count as one operation. The
measured second moment of an operation is the mean over the draws. At width 48 one draw of a weight
moves its result by some twenty per cent, which says nothing about the forecast: the standard error
of the mean, from the spread over the draws, is printed, and an operation whose error is above
RESOLVED of its mean is heavy-tailed: a tenth cannot be told there. It is left out of the share,
whether theory was right or not, and counted. What theory does not reach counts as wrong.
Models that no rule can plan are skipped and counted.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite, log

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import SPECIMENS, Specimen, holdout
from zoo.scoring import share

import firstlight as fl
from firstlight.errors import NoRuleError
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.planning.forecasting import agrees
from firstlight.planning.planner import make_plan
from firstlight.records.checkup import Observation
from firstlight.records.network import Operation

RESOLVED = 0.025
"""Relative standard error of the mean over draws up to which a tenth can be told: four of them."""

LOOP = 8
"""Calls of one name beyond which they are steps of a loop, and count once."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operation of one specimen: what was expected, and what the draws gave."""

    specimen: Specimen
    operation: Operation
    expected: float | None
    measured: float
    error: float
    delta_ratio: float | None
    """Expected over measured ‖δ‖²; None where there is none."""

    @property
    def heavy(self) -> bool:
        """Whether the draws differ too much to tell a tenth."""
        return self.error > RESOLVED * self.measured

    @property
    def right(self) -> bool:
        """Whether theory is within a tenth."""
        return agrees(self.expected, self.measured)


def _deltas(observation: Observation) -> dict[int, float]:
    """‖δ‖² of each reading, relative to the last one that has any."""
    found = {
        reading.operation: reading.delta_square_per_sample.value
        for reading in observation.readings
        if reading.delta_square_per_sample is not None
    }
    last = next((v for v in reversed(found.values()) if v > 0), None)
    return {} if last is None else {k: v / last for k, v in found.items()}


def cases(specimen: Specimen, draws: int) -> list[Case]:
    """Every measured operation of a specimen.

    Raises:
        NoRuleError: it cannot be planned.
    """
    adapter, model, batch = TorchAdapter(), specimen.model(0), specimen.batch(0)
    options = specimen.check(0)
    plan = make_plan(adapter.observe(model, batch, lean=True, **options))
    expected = {f.operation: f for f in plan.forecast}
    squares: dict[int, list[float]] = {}
    deltas: dict[int, list[float]] = {}
    for seed in range(draws):
        settled = fl.calibrate(model, plan, batch, seed=seed, step=options.get("step"))
        settled.apply(model, seed=seed)
        after = adapter.observe(model, batch, **options)
        for reading in after.readings:
            if reading.second_moment is not None and isfinite(reading.second_moment.value):
                squares.setdefault(reading.operation, []).append(reading.second_moment.value)
        for index, value in _deltas(after).items():
            deltas.setdefault(index, []).append(value)
    found = []
    for index, values in squares.items():
        forecast = expected.get(index)
        theory = forecast is not None and forecast.how == "theory"
        square = forecast.second_moment if forecast is not None and theory else None
        back = forecast.delta_square_per_sample if forecast is not None else None
        seen = float(np.mean(deltas[index])) if index in deltas else 0.0
        found.append(
            Case(
                specimen=specimen,
                operation=plan.network.operations[index],
                expected=square,
                measured=float(np.mean(values)),
                error=float(np.std(values, ddof=1) / len(values) ** 0.5),
                delta_ratio=back / seen if back and seen > 0 else None,
            )
        )
    return _loops_once(found)


def _loops_once(cases: list[Case]) -> list[Case]:
    """The steps of a loop as one case, by their means."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.operation.name.partition("#")[0], []).append(case)
    found: list[Case] = []
    for group in groups.values():
        if len(group) <= LOOP:
            found += group
            continue
        known = [case.expected for case in group if case.expected is not None]
        found.append(
            replace(
                group[0],
                expected=float(np.mean(known)) if len(known) == len(group) else None,
                measured=float(np.mean([case.measured for case in group])),
                error=float(np.mean([case.error for case in group])),
                delta_ratio=None,
            )
        )
    return found


def summary(title: str, rows: list[Case], key: Callable[[Case], str]) -> Table:
    """Shares by some key, and over all."""
    table = Table(
        title,
        "operations",
        "heavy-tailed",
        "theory silent",
        "within 10 %",
        "‖δ‖² within a factor 2",
    )
    groups = [(name, [c for c in rows if key(c) == name]) for name in dict.fromkeys(map(key, rows))]
    for name, group in [*groups, ("all", rows)]:
        told = [c for c in group if not c.heavy]
        ratios = [c.delta_ratio for c in group if c.delta_ratio]
        near = sum(abs(log(ratio)) < log(2) for ratio in ratios)
        if name == "all":
            table.add_section()
        table.add_row(
            name,
            str(len(group)),
            str(len(group) - len(told)),
            str(sum(c.expected is None for c in told)),
            share(sum(c.right for c in told), len(told)) if told else "–",
            f"{near / len(ratios):.1%}" if ratios else "–",
        )
    return table


def worst_table(rows: list[Case], number: int) -> Table:
    """The first operation of each model that is wrong, worst first: what follows inherits it."""
    first: dict[str, Case] = {}
    for case in rows:
        if not case.heavy and not case.right:
            first.setdefault(case.specimen.name, case)

    def off(case: Case) -> float:
        if not case.expected or case.measured <= 0:
            return float("inf")
        return abs(log(case.expected / case.measured))

    table = Table("model", "operation", "kind", "expected", "measured", title="worst, by model")
    for case in sorted(first.values(), key=off, reverse=True)[:number]:
        table.add_row(
            case.specimen.name,
            case.operation.name,
            f"{case.operation.kind} {case.operation.function}",
            "–" if case.expected is None else f"{case.expected:.4g}",
            f"{case.measured:.4g} ± {case.error:.2g}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("zoo", "holdout"), default="zoo")
    parser.add_argument("--draws", type=int, default=16, help="at least 2")
    parser.add_argument("--only", default="", help="names that match this expression")
    parser.add_argument("--worst", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=140)
    table = SPECIMENS if options.part == "zoo" else holdout.SPECIMENS
    chosen = [s for s in table if re.search(options.only, s.name) and not s.missing]
    rows: list[Case] = []
    refused: list[str] = []
    for specimen in track(chosen, "drawing", console=console, transient=True):
        try:
            rows += cases(specimen, max(2, options.draws))
        except NoRuleError:
            refused.append(specimen.name)
    console.print(summary("kind", rows, lambda case: case.operation.kind))
    console.print(summary("family", rows, lambda case: case.specimen.family))
    console.print(worst_table(rows, options.worst))
    names = f": {', '.join(refused)}" if refused else ""
    console.print(f"{len(chosen) - len(refused)} models; {len(refused)} without a plan{names}")


if __name__ == "__main__":
    main()
