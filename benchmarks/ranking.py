"""Whether theory ranks starts as measurement does, and what a measured start costs.

    python benchmarks/ranking.py [--only REGEX] [--draws 1]

`firstlight.plan(model, batch, compare="usual")` on models of the zoo, from plain chains to a
transformer: the plan, He's, Glorot's and LeCun's normal starts and the orthogonal one, each by its
forecast and by one draw that is looked at forward and backward (with more draws: by the mean
unevenness). Starts are written with their unevenness, ln of the ratio of largest to smallest second
moment along the depth plus ln of that of ‖δ‖²; they stand in the measured order, the most even
first. same order: the pairs of starts that theory puts in the measured order, of those that lie
further apart than the margin from which a plan speaks (`firstlight.planning.choice.MARGIN`), by
theory or by measurement; nearer ones are called even. best: how much more uneven than the most even
start is, measured, what theory puts first. cost: processor time of one measured start over that of
one `firstlight.check`. A start that does not fit one of the weights is left out.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import specimen
from zoo.scoring import share

import firstlight as fl
from firstlight.planning.choice import MARGIN, OWN
from firstlight.records.plan import Plan

MODELS = (
    "mlp-relu-20-he",
    "mlp-tanh-30-orthogonal",
    "mlp-gelu-10",
    "mlp-softplus-3",
    "mlp-batchnorm-10",
    "mlp-residual-prenorm",
    "vgg-11",
    "resnet-pre",
    "resnet-fixup",
    "gpt",
    "torch-encoder-post",
    "mlp-mixer",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model: unevenness by start, foreseen and measured, and what one trial costs."""

    name: str
    theory: dict[str, float]
    measured: dict[str, float]
    own: float
    cost: float
    remarks: tuple[str, ...]

    @property
    def pairs(self) -> tuple[int, int]:
        """Pairs of starts in the same order, and pairs that are told apart at all."""
        same = told = 0
        for one, other in combinations(self.theory, 2):
            gaps = [by[one] - by[other] for by in (self.theory, self.measured)]
            if max(map(abs, gaps)) > MARGIN:
                told += 1
                same += gaps[0] * gaps[1] > 0
        return same, told

    @property
    def loss(self) -> float:
        """Measured unevenness of theory's first choice over that of the best."""
        first = min(self.theory, key=lambda name: self.theory[name])
        return self.measured[first] - min(self.measured.values())


def _plan(model: Any, batch: Any, options: dict[str, Any], **more: Any) -> tuple[Plan, float]:
    begun = time.process_time()
    made = fl.plan(model, batch, **options, **more)
    return made, time.process_time() - begun


def row(name: str, draws: int) -> Row:
    """Rank the starts of one model both ways."""
    chosen = specimen(name)
    model, batch, options = chosen.model(0), chosen.batch(0), chosen.check(0)
    foreseen, _ = _plan(model, batch, options)  # also warms up
    foreseen, planning = _plan(model, batch, options)
    fl.check(model, batch, **options)
    begun = time.process_time()
    fl.check(model, batch, **options)
    checking = time.process_time() - begun
    seen: dict[str, list[float]] = {}
    remarks: list[str] = []
    cost = []
    for seed in range(draws):
        made, spent = _plan(model, batch, options, compare="usual", seed=seed)
        places = [place for place in made.ranking if place.how == "measured"]
        better = [remark for remark in made.remarks if "more even" in remark]
        remarks += better
        if not better:  # else further draws were made
            cost.append((spent - planning) / len(places) / checking)
        for place in places:
            seen.setdefault(place.technique, []).append(place.unevenness)
    theory = {place.technique: place.unevenness for place in foreseen.ranking}
    measured = {start: float(np.mean(values)) for start, values in seen.items()}
    own = measured.pop(OWN)
    return Row(
        name=name,
        theory=theory,
        measured={start: measured[start] for start in theory},
        own=own,
        cost=float(np.mean(cost)) if cost else float("nan"),
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _listed(row: Row, by: dict[str, float]) -> str:
    order = sorted(row.measured, key=lambda name: row.measured[name])
    return "\n".join("lost" if by[name] > 60 else f"{by[name]:.1f}" for name in order)


def table(rows: Sequence[Row]) -> Table:
    """One row for each model, starts in the measured order."""
    shown = Table(title="unevenness of starts", show_lines=True)
    for head in ("model", "start", "theory", "measured", "same order", "best", "own start", "cost"):
        shown.add_column(head, justify="left" if head in ("model", "start") else "right")
    for each in rows:
        order = sorted(each.measured, key=lambda name: each.measured[name])
        same, told = each.pairs
        shown.add_row(
            each.name,
            "\n".join(order),
            _listed(each, each.theory),
            _listed(each, each.measured),
            f"{same} of {told}",
            f"{each.loss:+.2f}",
            "lost" if each.own > 60 else f"{each.own:.1f}",
            f"{each.cost:.2f} checks",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names that match this expression")
    parser.add_argument("--draws", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=120)
    names = [name for name in MODELS if re.search(options.only, name)]
    rows = [
        row(name, max(1, options.draws))
        for name in track(names, "ranking", console=console, transient=True)
    ]
    console.print(table(rows))
    same, told = (sum(each.pairs[i] for each in rows) for i in (0, 1))
    near = sum(each.loss <= MARGIN for each in rows)
    console.print(f"pairs in the same order: {share(same, told)} of {told}")
    console.print(
        f"theory's first choice is the most even one measured, or within {MARGIN:g} of it:"
        f" {near} of {len(rows)} models"
    )
    for each in rows:
        for remark in each.remarks:
            console.print(f"{each.name}: {remark}", highlight=False)


if __name__ == "__main__":
    main()
