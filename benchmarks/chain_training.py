"""Plain chains on the digits: accuracy after some steps from Firstlight's start and every peer's.

Called by `chain_shapes.py --train`. The same steps, batches, clipping and grid of learning rates
for every start; the best rate is chosen on a seed of its own. lsuv and anyinit run as their own
packages do (`pip install --no-deps lsuv anyinit`); what one of them raises is counted as refused.
Every result is kept in results/chain_training.jsonl as it ends; what is there is not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from chains import RATES, digits
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import firstlight as fl

RESULTS = Path(__file__).parent / "results" / "chain_training.jsonl"
TECHNIQUES = ("plan", "default", "he_normal", "glorot_normal", "orthogonal")


def _lsuv(model: nn.Module, batch: Tensor) -> None:
    import_module("lsuv").lsuv_with_singlebatch(model, batch, verbose=False)


def _anyinit(model: nn.Module, batch: Tensor) -> None:
    import_module("anyinit").initialize(model, input_spec=batch)


PEERS: dict[str, Callable[[nn.Module, Tensor], None]] = {"lsuv": _lsuv, "anyinit": _anyinit}

STARTS = (*TECHNIQUES, *PEERS)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one start reached at one network, or why it did not run (scores empty)."""

    kind: str
    shape: str
    depth: int
    activation: str
    start: str
    steps: int
    seeds: int
    scores: tuple[float, ...] = ()
    refused: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it this cell and no other."""
        return (
            self.kind, self.shape, self.depth, self.activation, self.start, self.steps, self.seeds
        )  # fmt: skip

    @property
    def mean(self) -> float:
        """Mean held-out accuracy; 0 where it did not run."""
        return sum(self.scores) / len(self.scores) if self.scores else 0.0

    def __str__(self) -> str:
        if self.refused:
            return self.refused
        return f"{self.mean:.1%} ({min(self.scores):.0%}–{max(self.scores):.0%})"


def kept() -> dict[tuple[object, ...], Cell]:
    """The cells of the file; a later line replaces an earlier one."""
    if not RESULTS.exists():
        return {}
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    cells = [Cell(**{**line, "scores": tuple(line["scores"])}) for line in lines]
    return {cell.key: cell for cell in cells}


def _scored(cell: Cell, build: Callable[[], nn.Module], data: tuple[Tensor, ...]) -> Cell:
    """The cell with the accuracies of its start, or why there are none."""

    def built() -> nn.Module:
        model = build()
        if cell.start in PEERS:
            with contextlib.redirect_stdout(io.StringIO()):
                PEERS[cell.start](model, data[0][:64])
        return model

    try:
        race = fl.race(
            built,
            data,
            techniques=("default" if cell.start in PEERS else cell.start,),
            seeds=cell.seeds,
            steps=cell.steps,
            learning_rates=RATES,
            search_seeds=1,
        )
    except Exception as error:  # a peer's refusal is a result
        return replace(cell, refused=f"refused ({type(error).__name__})")
    return replace(cell, scores=tuple(run.score for run in race.starts[0].runs))


def _summary(rows: list[list[Cell]]) -> str:
    """In how many networks the plan is the best, or within a point of the best."""
    leads = [
        row[0].mean - max(cell.mean for cell in row[1:]) for row in rows if len(row) == len(STARTS)
    ]
    best = sum(lead >= 0 for lead in leads)
    near = sum(-0.01 <= lead < 0 for lead in leads)
    return (
        f"{len(leads)} networks: the plan is best in {best}, within a point of the best in {near};"
        f" lead over the best peer {min(leads):+.1%} to {max(leads):+.1%}"
    )


def train(
    options: argparse.Namespace,
    build: Callable[[str, str, int], nn.Module],
    shapes: list[str],
) -> None:
    """Print a row for each shape and activation.

    Args:
        options: activations, depths, seeds, steps, conv, show, again.
        build: from shape, activation and depth to a model.
        shapes: which.
    """
    data = digits()
    if options.conv:
        images = tuple(x.reshape(-1, 1, 8, 8) if x.dim() == 2 else x for x in data)
        data = (images[0], images[1], images[2], images[3])
    console = Console(stderr=True)
    cells = [(d, s, a) for d in options.depths for s in shapes for a in options.activations]
    done, rows = kept(), []
    for depth, shape, activation in track(cells, console=console, transient=True):
        row = []
        for start in STARTS:
            cell = Cell(
                kind="convolutional" if options.conv else "dense",
                shape=shape,
                depth=depth,
                activation=activation,
                start=start,
                steps=options.steps,
                seeds=options.seeds,
            )
            if cell.key in done and not (options.again and start in options.again):
                row.append(done[cell.key])
            elif start in PEERS and find_spec(start) is None:
                row.append(replace(cell, refused="not installed"))
            elif not options.show:
                row.append(_scored(cell, partial(build, shape, activation, depth), data))
                with RESULTS.open("a") as file:
                    file.write(json.dumps(asdict(row[-1])) + "\n")
        if len(row) == len(STARTS):
            rows.append(row)
    table = Table("shape", "activation", title=f"digits, {options.steps} steps")
    for start in STARTS:
        table.add_column(start, justify="right")
    for row in rows:
        cell = row[0]
        table.add_row(f"{cell.shape}, {cell.depth} layers", cell.activation, *map(str, row))
    Console(width=170).print(table)
    if rows:
        print(_summary(rows))
