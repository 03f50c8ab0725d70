"""Does a race find what is there, and nothing else? Real races whose truth is known.

Equal by construction: ``default`` builds its weights by ``torch.nn.init.kaiming_normal_`` with
torch's random numbers, ``he_normal`` draws the same law N(0, 2/fan_in) by Firstlight's. The two
differ in nothing but their streams. A race that tells them apart errs.

Planted: ``default`` is built with every weight multiplied by a factor besides. The factor is chosen
first, on other seeds, so that the mean scores are about one pooled standard deviation apart (of the
score over seeds, pooled over both starts). A race that misses it errs too. It is planted twice:
into torch's random numbers, where pairs share the order of the data and little else, and into the
very numbers that ``he_normal`` draws, as two techniques of Firstlight that differ by a scale share
them. Beside it stands what independent pairs allow a two-sided paired t test (noncentral t): 75 %
at one standard deviation and 16 seeds. So the races in separate streams have the 24 seeds that
90 % take.

Searched: equal again, but each start chooses its own rate among three, on two seeds of its own. By
noise the two may choose different rates, and then they differ.

    python benchmarks/race_truth.py [--races 200] [--seeds 16] [--workers 2]
"""

from __future__ import annotations

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import binomtest, nct
from scipy.stats import t as student
from torch import nn

import firstlight as fl
from firstlight.cli.race_data import digits
from firstlight.records.plan import Plan
from firstlight.records.race import Race

WIDTH, STEPS, BATCH, RATE = 16, 40, 32, 0.03
LEVEL, POWER = 0.05, 0.9
CALIBRATION = 2000
"""The split and the seeds on which the planted size is found; the races have others."""

app = App(help=__doc__)
console = Console(width=100)


def build(factor: float = 1.0, *, shared: bool = False) -> nn.Module:
    """Two hidden layers; He's law from torch's random numbers or Firstlight's, times a factor."""
    model = nn.Sequential(
        nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)
    )
    if shared:
        fl.apply(model, he_plan(), seed=torch.initial_seed())  # a race builds under each seed
    for module in model:
        if isinstance(module, nn.Linear) and not shared:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Linear):
            with torch.no_grad():
                module.weight.mul_(factor)
    return model


@cache
def he_plan() -> Plan:
    """He's law for such a model."""
    return fl.plan(build(), technique="he_normal")


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """All digits and their labels."""
    x, y, held_out_x, held_out_y = digits()
    return np.concatenate([x, held_out_x]), np.concatenate([y, held_out_y])


def shuffled(index: int) -> tuple[np.ndarray, ...]:
    """The digits split anew for each race, so that races are independent of each other."""
    x, y = images()
    order = np.random.default_rng(index).permutation(len(x))
    train, rest = order[360:], order[:360]
    return x[train], y[train], x[rest], y[rest]


def raced(
    index: int,
    seeds: int,
    factor: float = 1.0,
    rates: tuple[float, ...] = (RATE,),
    techniques: tuple[str, ...] = ("default", "he_normal"),
    shared: bool = False,
) -> Race:
    """One race; with a factor other than one the two starts differ in it besides their streams."""
    return fl.race(
        partial(build, factor, shared=shared),
        shuffled(index),
        techniques=techniques,
        # Seeds of its own, or all races would be one and the same to a good part.
        seeds=range(1000 * index, 1000 * index + seeds),
        steps=STEPS,
        batch_size=BATCH,
        learning_rates=rates,
        looks=0,
    )


def size(good: Race, factor: float, seeds: int) -> float:
    """The difference of a factor from no factor, in pooled standard deviations."""
    poor = raced(CALIBRATION, seeds, factor, techniques=("default",))
    a, b = ([run.score for run in race.starts[0].runs] for race in (good, poor))
    pooled = math.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
    return float((np.mean(a) - np.mean(b)) / pooled)


def calibrated(wanted: float = 1.0) -> tuple[float, float, float]:
    """The factor at which the difference has the wanted size, that size, and its error."""
    good = raced(CALIBRATION, 400, techniques=("he_normal",))
    low, high = 0.5, 1.0
    for _ in range(5):
        middle = (low + high) / 2
        low, high = (middle, high) if size(good, middle, 400) > wanted else (low, middle)
    factor, count = (low + high) / 2, 800
    found = size(raced(CALIBRATION, count, techniques=("he_normal",)), factor, count)
    return factor, found, math.sqrt(2 / count + found**2 / (4 * count))


def allowed(size: float, seeds: int) -> float:
    """The power of a two-sided paired t test on pairs of independent scores ``size`` SD apart.

    A difference of two independent scores has √2 standard deviations.
    """
    shift, edge = size * math.sqrt(seeds / 2), float(student.ppf(1 - LEVEL / 2, seeds - 1))
    law = nct(seeds - 1, shift)
    return float(law.sf(edge) + law.cdf(-edge))


def enough(size: float) -> int:
    """The fewest seeds at which that power is at least 90 %."""
    seeds = 2
    while allowed(size, seeds) < POWER:
        seeds += 1
    return seeds


class Kind(NamedTuple):
    """Races of one truth."""

    truth: str
    wanted: str
    seeds: int
    factor: float = 1.0
    rates: tuple[float, ...] = (RATE,)
    shared: bool = False


def told_apart(kind: Kind, index: int) -> tuple[bool, bool]:
    """Whether one race calls its starts different, and whether their rates are."""
    torch.set_num_threads(1)
    found = raced(index, kind.seeds, kind.factor, kind.rates, shared=kind.shared)
    a, b = found.starts
    return found.comparisons[0].different, a.learning_rate != b.learning_rate


@app.default
def main(
    *,
    races: Annotated[int, Parameter(help="Races of each kind.")] = 200,
    seeds: Annotated[int, Parameter(help="Scored runs of each start.")] = 16,
    workers: Annotated[int, Parameter(help="Processes.")] = 2,
    only: Annotated[str, Parameter(help="Only truths whose name holds this.")] = "",
) -> None:
    factor, planted, error = calibrated()
    many = enough(1.0)
    table = Table(title=f"{races} races of each kind, {STEPS} steps, level {LEVEL:.0%}")
    for head in ("truth", "seeds", "called different", "share, 95 % interval", "wanted"):
        table.add_column(head, justify="left" if head == "truth" else "right")
    apart = f"{planted:.2f} ± {error:.2f} pooled SD apart (× {factor:.3f})"
    theory = f"at least 80 % ({allowed(planted, many):.0%} possible)"
    kinds = [
        Kind("equal by construction", "at most 16 of 200", seeds),
        Kind(f"{apart}, separate streams", theory, many, factor),
        Kind(f"{apart}, one stream", "at least 80 %", seeds, factor, shared=True),
        Kind("equal, rates searched separately", "–", seeds, rates=(RATE / 3, RATE, 3 * RATE)),
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        for kind in kinds:
            if only not in kind.truth:
                continue
            work = executor.map(partial(told_apart, kind), range(races))
            seen = [*track(work, kind.truth, races, console=console, transient=True)]
            found, moved = (sum(column) for column in zip(*seen, strict=True))
            console.print(f"{kind.truth}: {found} of {races} called different")
            ends = binomtest(found, races).proportion_ci(method="wilson")
            truth = kind.truth + (f" (they differed in {moved})" if len(kind.rates) > 1 else "")
            table.add_row(
                truth,
                str(kind.seeds),
                f"{found} of {races}",
                f"{found / races:.1%} ({ends.low:.1%} to {ends.high:.1%})",
                kind.wanted,
            )
    console.print(table)


if __name__ == "__main__":
    app()
