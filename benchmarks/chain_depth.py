"""From which depth does a mirrored ReLU chain beat He? The calibration of `DEEP_CHAIN`.

    python benchmarks/chain_depth.py [--seeds 5] [--steps 100] [depth ...]

Plain ReLU networks of width 64 on the digits: He's start against rule 4's, forced at every depth.
"""

from __future__ import annotations

import argparse

from chains import RATES, chain, digits
from rich.console import Console
from rich.table import Table

import firstlight as fl
from firstlight.planning import context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("depths", nargs="*", type=int, default=[2, 3, 5, 8, 12, 20])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    context.DEEP_CHAIN = 1
    table = Table("layers", "He", "mirrored", "difference (95 % interval), points")
    for depth in options.depths:
        race = fl.race(
            lambda depth=depth: chain("relu", depth, width=64),
            digits(),
            techniques=("plan", "he_normal"),
            seeds=options.seeds,
            steps=options.steps,
            learning_rates=RATES,
            search_seeds=1,
        )
        he, plan = race["he_normal"], race["plan"]
        found = race.comparisons[0]
        low, high = (f"{100 * end:+.1f}" for end in found.interval)
        difference = f"{100 * found.difference:+.1f} ({low} to {high})"
        table.add_row(str(depth), f"{he.mean:.1%}", f"{plan.mean:.1%}", difference)
    Console().print(table)


if __name__ == "__main__":
    main()
