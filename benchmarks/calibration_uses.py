"""Weights that are used several times, brought to `lsuv`'s own aim: every use beside `lsuv`'s.

    python benchmarks/calibration_uses.py [--rounds 5]

One weight cannot meet one target at each of its uses if they get different signals: a state that
starts from zeros grows, a stream gathers. So the least spread is set by the model and the start,
not by who measures, and a comparison needs the same aim from the same kind of start. Here both draw
orthonormal matrices and aim at one, Firstlight at the second moment in the geometric mean over the
uses, `lsuv` at the std of whatever use came last, within 0.1. *uses*: smallest and largest second
moment (`lsuv`: variance, since that is what it sets) of all uses but those of a state of zeros,
only of weights that `lsuv` scales (not attention's input projections). *mean*: geometric. *time*:
processor time over that of one forward pass; *whole* counts drawing, *measuring* does not.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from calibration import (
    Attention,
    Shared,
    Unrolled,
    lsuv,
    results,
    run_forward,
    seconds,
    targeted,
    targets_of,
)
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import firstlight as fl
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.records.law import Orthogonal
from firstlight.records.plan import Plan
from firstlight.verbs.apply import drawn


def alike(model: nn.Module, batch: Tensor) -> Plan:
    """Orthonormal matrices for every weight of a product, each with the target one."""
    plan = targeted(model, batch, every=True, states=True)
    entries = (replace(e, target=1.0, law=Orthogonal(gain=1.0)) if e.calibrate else e for e in plan)
    return replace(plan, entries=tuple(entries))


def moments(
    model: nn.Module, batch: Tensor, plan: Plan, moment: Callable[[Tensor], Tensor]
) -> tuple[str, str]:
    """Range and geometric mean of a moment over all uses of the weights that `lsuv` scales."""
    seen = results(model, batch)
    names = [n for n in targets_of(plan) if n.endswith(".weight")]
    found = [v for n in names for r in seen.get(n, []) if (v := float(moment(r)))]
    mean = math.exp(sum(map(math.log, found)) / len(found))
    return f"{min(found):.4g}–{max(found):.4g}", f"{mean:.4g}"


def row(
    table: Table, name: str, build: Callable[[], nn.Module], batch: Tensor, rounds: int
) -> None:
    """One model, from both."""
    torch.manual_seed(0)
    model, rival = build(), build()
    plan = alike(model, batch)
    arrays = [(e.name, drawn(e, 0, "")) for e in plan if e.action == "draw"]
    spent: list[float] = []

    def measure() -> Any:
        fresh = [(n, values.copy()) for n, values in arrays]
        begin = time.process_time()
        found = TorchAdapter().calibrate(model, [batch], targets_of(plan), arrays=fresh)
        spent.append(time.process_time() - begin)
        return found

    forward, _, whole = seconds(
        partial(run_forward, model, batch),
        measure,
        lambda: fl.calibrate(model, plan, batch, seed=0),
        rounds=rounds,
    )
    fl.calibrate(model, plan, batch, seed=0).apply(model, seed=0)
    theirs = seconds(lambda: lsuv(rival, batch), rounds=1)[0]
    table.add_row(
        name,
        f"{1000 * forward:.0f}",
        str(measure().forwards),
        f"{min(spent) / forward:.2f}",
        f"{whole / forward:.2f}",
        *moments(model, batch, plan, lambda r: r.square().mean()),
        f"{theirs / forward:.1f}",
        *moments(rival, batch, plan, lambda r: r.var()),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    heads = ("model", "forward ms", "forwards", "measuring", "whole", "uses", "mean")
    table = Table(title="one aim, one kind of start: every use of every weight")
    for head in (*heads, "lsuv: time", "its uses", "its mean"):
        table.add_column(head, justify="left" if head == "model" else "right")
    tokens = torch.randn(32, 32, 128)
    row(table, "unrolled ReLU cell, 32 steps", Unrolled, torch.randn(128, 32, 64), options.rounds)
    row(table, "one layer twelve times", Shared, tokens, options.rounds)
    row(table, "six layers, each used once", Attention, tokens, options.rounds)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
