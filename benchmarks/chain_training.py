"""Plain chains on the digits: accuracy after some steps from Firstlight's start and every peer's.

Called by `chain_shapes.py --train`. The same steps, batches, clipping and grid of learning rates
for every start; the best rate is chosen on a seed of its own. lsuv and anyinit run as their own
packages do (`pip install --no-deps lsuv anyinit`); what one of them raises is counted as refused.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

from chains import RATES, digits
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import firstlight as fl

TECHNIQUES = ("plan", "default", "he_normal", "glorot_normal", "orthogonal")


def _lsuv(model: nn.Module, batch: Tensor) -> None:
    import_module("lsuv").lsuv_with_singlebatch(model, batch, verbose=False)


def _anyinit(model: nn.Module, batch: Tensor) -> None:
    import_module("anyinit").initialize(model, input_spec=batch)


PEERS: dict[str, Callable[[nn.Module, Tensor], None]] = {"lsuv": _lsuv, "anyinit": _anyinit}


def _scored(build: Callable[[], nn.Module], data: tuple[Tensor, ...], start: str, options) -> str:
    """Mean accuracy and range of one start, or why there is none."""

    def built() -> nn.Module:
        model = build()
        if start in PEERS:
            with contextlib.redirect_stdout(io.StringIO()):
                PEERS[start](model, data[0][:64])
        return model

    if start in PEERS and find_spec(start) is None:
        return "not installed"
    try:
        race = fl.race(
            built,
            data,
            techniques=("default" if start in PEERS else start,),
            seeds=options.seeds,
            steps=options.steps,
            learning_rates=RATES,
            search_seeds=1,
        )
    except Exception as error:  # a peer's refusal is a result
        return f"refused ({type(error).__name__})"
    scores = [run.score for run in race.starts[0].runs]
    return f"{race.starts[0].mean:.1%} ({min(scores):.0%}–{max(scores):.0%})"


def train(
    options: argparse.Namespace,
    build: Callable[[str, str, int], nn.Module],
    shapes: list[str],
) -> None:
    """Print a row for each shape and activation.

    Args:
        options: activations, depths, seeds, steps, conv.
        build: from shape, activation and depth to a model.
        shapes: which.
    """
    data = digits()
    if options.conv:
        images = tuple(x.reshape(-1, 1, 8, 8) if x.dim() == 2 else x for x in data)
        data = (images[0], images[1], images[2], images[3])
    table = Table("shape", "activation", title=f"digits, {options.steps} steps")
    starts = (*TECHNIQUES, *PEERS)
    for start in starts:
        table.add_column(start, justify="right")
    cells = [(d, s, a) for d in options.depths for s in shapes for a in options.activations]
    for depth, shape, activation in track(cells, console=Console(stderr=True), transient=True):
        scores = [
            _scored(partial(build, shape, activation, depth), data, start, options)
            for start in starts
        ]
        table.add_row(f"{shape}, {depth} layers", activation, *scores)
    Console(width=170).print(table)
