"""Networks that are hard to start: a no-norm ResNet, a post-norm transformer, a plain deep CNN.

    pip install --no-deps -r benchmarks/requirements-rivals.txt
    python benchmarks/hard_networks.py [--network REGEX] [--start plan,he] [--again] [--quick]

1. ResNet of 52 layers without a norm, on 5,000 MNIST images (SGD, momentum 0.9);
2. transformer of 18 post-norm layers without warm-up, on scikit-learn's digits read as eight rows
   (Adam);
3. plain CNN of 50 convolutions, on MNIST (SGD, momentum 0.9).

All starts get the same six learning rates on a seed of its own, and are then scored at their best
one on five further seeds: held-out accuracy after 100 steps (150 for the transformer) of batches of
32, gradient norm clipped at 1 for everybody. Two trainings of one seed see the same batches. A
start may look at 64 training samples. A training that diverges, or a start that raises, scores
chance and is counted. Mean ± t interval over seeds; the last column is the best start less this
one, paired by seed: a start is level with the best if that interval holds zero.

Trainings are kept in results/hard_networks.jsonl as they come, and a second run takes up where the
first was cut short; about half an hour on one core. ``--again`` forgets those of the chosen starts
and networks first. ``--quick`` trains three steps at two rates on two seeds, and keeps nothing.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from zoo.deep import NETWORKS, Network
from zoo.deep_starts import STARTS
from zoo.kept import Kept
from zoo.trials import Trial, trained

from firstlight.racing.search import SEARCH_SEED
from firstlight.racing.statistics import mean_interval

RESULTS = Path(__file__).parent / "results" / "hard_networks.jsonl"

Run = Callable[[Network, str, int, float], Trial]


def raced(network: Network, start: str, seeds: int, run: Run) -> tuple[list[Trial], list[Trial]]:
    """The search over all rates, and the scored trials at the best; ties go to the smaller."""
    searched = [run(network, start, SEARCH_SEED, rate) for rate in network.rates]
    best = max(searched, key=lambda trial: (trial.accuracy, -trial.rate))
    return searched, [run(network, start, seed, best.rate) for seed in range(seeds)]


def table_of(network: Network, scored: dict[str, list[Trial]]) -> Table:
    """One line per start, best mean first."""
    table = Table(
        "start",
        "held-out accuracy",
        "rate",
        "diverged",
        "best less this, points",
        title=f"{network.name}: {network.steps} steps",
    )
    order = sorted(scored, key=lambda start: -fmean(t.accuracy for t in scored[start]))
    for start in order:
        trials = scored[start]
        mean, (low, high) = mean_interval([t.accuracy for t in trials])
        rate = trials[0].rate
        at_edge = "*" if rate in (min(network.rates), max(network.rates)) else ""
        lost, (less, more) = lag(scored[order[0]], trials)
        failed = sum(bool(t.failed) for t in trials)
        table.add_row(
            start,
            f"{mean:.1%} ± {(high - low) / 2:.1%}",
            f"{rate:g}{at_edge}",
            f"{sum(t.diverged for t in trials)}" + (f", {failed} failed" if failed else ""),
            ""
            if start == order[0]
            else f"{100 * lost:+.1f} ({100 * less:+.1f} to {100 * more:+.1f})",
        )
    return table


def lag(best: list[Trial], other: list[Trial]) -> tuple[float, tuple[float, float]]:
    """Mean and interval of the paired difference."""
    return mean_interval([a.accuracy - b.accuracy for a, b in zip(best, other, strict=True)])


def verdict(network: Network, scored: dict[str, list[Trial]], start: str = "plan") -> str:
    """Whether a start is best, within the interval of the best, or worse."""
    means = {name: fmean(t.accuracy for t in trials) for name, trials in scored.items()}
    best = max(means, key=means.__getitem__)
    if start not in scored:
        return f"{network.name}: {best} is best; {start} was not raced"
    if means[start] == means[best]:
        return f"{network.name}: {start} is best"
    mean, (low, high) = lag(scored[best], scored[start])
    word = "is within the interval of the best" if low <= 0 else "is worse than the best"
    behind = f"{100 * mean:.1f} points behind, {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{network.name}: {start} {word} ({best}; {behind})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="", help="networks that match this expression")
    parser.add_argument("--start", default="", help="train these alone, with commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="forget the chosen ones first")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--file", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    console = Console(width=120)
    wanted = [s for s in options.start.split(",") if s]
    if unknown := [s for s in wanted if s not in STARTS]:
        parser.error(f"--start: {', '.join(unknown)}; known are {', '.join(STARTS)}")
    chosen = [n for n in NETWORKS if re.search(options.network, n.name)]
    if options.quick:
        chosen = [quick(network) for network in chosen]
    kept = Kept(Trial, None if options.quick else options.file)
    if options.again:
        names = {network.name for network in chosen}
        for key, trial in list(kept.records.items()):
            if trial.network in names and (not wanted or trial.start in wanted):
                del kept.records[key]
    kept.tidy()

    lines = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("")

        def run(network: Network, start: str, seed: int, rate: float) -> Trial:
            progress.update(task, description=f"{network.name}, {start}, {seed}, {rate:g}")
            found = kept.records.get((network.name, start, seed, rate, network.steps))
            return found or kept.add(trained(network, start, seed, rate, network.steps))

        for network in chosen:
            seeds = 2 if options.quick else options.seeds
            scored = {}
            for start in network.starts:
                complete = known(network, start, seeds, kept.records)
                if not wanted or start in wanted or complete:
                    scored[start] = raced(network, start, seeds, run)[1]
            if scored:
                console.print(table_of(network, scored))
                lines.append(verdict(network, scored))
            if left := [start for start in network.starts if start not in scored]:
                lines.append(f"{network.name}: not raced yet: {', '.join(left)}")
    for line in lines:
        console.print(line, highlight=False)
    kept.tidy()
    everything = kept.records.values()
    for text in dict.fromkeys(
        f"{t.network}, {t.start}: {t.failed}" for t in everything if t.failed
    ):
        console.print(text, highlight=False, soft_wrap=True)
    console.print("* the best rate is at the end of the grid")


def known(network: Network, start: str, seeds: int, kept: dict[Hashable, Trial]) -> bool:
    """Whether all trials of a start are in the file."""
    try:
        raced(network, start, seeds, lambda n, s, seed, rate: kept[n.name, s, seed, rate, n.steps])
    except KeyError:
        return False
    return True


def quick(network: Network) -> Network:
    """The same for a moment."""
    return replace(network, steps=3, rates=network.rates[2:4])


if __name__ == "__main__":
    main()
