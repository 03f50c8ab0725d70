"""Width transfer beside mup: rates, trainings, and the verdict of the coordinate check.

    python benchmarks/coordinate_check.py [--widths 64 128 256 512 1024] [--seeds 3] [--keep FILE]

Needs mup beside Firstlight (pip install --no-deps --target FOLDER mup, FOLDER on PYTHONPATH);
without it the first two tables are left out. What one whole run said is kept in
results/coordinate_check.jsonl.

1. The rate of every parameter, by `MuAdam` and `MuSGD` on mup's own models and by a plan on the
   same networks with a plain `nn.Linear` at the end. mup divides the readout's input by m, we its
   start and rate; so mup's rate of it counts × 1/m (Adam) and × 1/m² (SGD). Of a tied weight both
   divide the input.
2. Both trained from the same function: the largest difference of the losses, over the drop of the
   loss, in float64. Equal but for the nine digits of a plan's rates, if start, multipliers and
   rates say the same. Beside it the same for one rate for all, which must not be small.
3. The coordinate check of right and wrong scalings over the widths: what was expected, what was
   said, the exponents of the change of the output and of the worst operation. Beside it the largest
   exponent of what mup's own check plots of the same trainings, mean |z| after as many steps: it
   must stand on the same side of ¼.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from beside_mup import (
    BASE,
    mup_model,
    mup_optimizer,
    networks,
    plotted,
    rates,
    training_difference,
)
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transfer_networks import MLP

import firstlight as fl
from firstlight.verdicts.coordinates import LIMIT

HAS_MUP = importlib.util.find_spec("mup") is not None


@dataclass(frozen=True)
class Case:
    """One scaling, and what the check ought to say of it."""

    name: str
    build: Callable[[int], nn.Module]
    data: tuple[Tensor, Tensor]
    right: bool
    options: dict[str, Any] = field(default_factory=dict)
    mup: bool | None = None
    """Whether mup's own check trains it with MuAdam or with Adam; None if it is not asked."""


def half_right(width: int) -> nn.Module:
    """The MLP with the right start of its readout, for one rate for all: half of μP."""
    model = MLP(width)
    with torch.no_grad():
        model.fc_3.weight *= (BASE / width) ** 0.5
    return model


def cases() -> list[Case]:
    """Right and wrong ones."""
    made = networks()
    images = made["MLP"][1]
    sgd, base = {"optimizer": "sgd"}, {"base": BASE}
    found = [
        Case("MLP, one rate, SGD", MLP, images, False, sgd),
        Case("MLP, readout's start right, one rate", half_right, images, False, mup=False),
    ]
    for name, (network, data) in made.items():
        found += [
            Case(f"{name}, one rate, Adam", network, data, False, mup=False),
            Case(f"{name}, plan with base, Adam", network, data, True, base),
            Case(f"{name}, plan with base, SGD", network, data, True, base | sgd),
        ]
        if HAS_MUP:
            theirs = partial(mup_model, network)
            own = {"optimizer": lambda model: mup_optimizer("adam", model, 1e-3)}
            found.append(Case(f"mup's {name}, MuAdam", theirs, data, True, own, mup=True))
    return found


def beside_mup(console: Console, width: int) -> list[dict[str, Any]]:
    """Tables 1 and 2."""
    table = Table(
        "network", "optimizer", "parameters", "rates that differ", "losses apart", "at one rate"
    )
    rows = []
    for name, (network, data) in networks().items():
        for kind, lr in {"adam": 3e-3, "sgd": 0.1}.items():
            found = rates(kind, network, width, data[0])
            wrong = [n for n, theirs, ours in found if abs(ours / theirs - 1) > 1e-6]
            apart, other = (
                training_difference(kind, network, width, data, lr, one_rate=one)
                for one in (False, True)
            )
            said = ", ".join(wrong) or "none"
            table.add_row(name, kind, str(len(found)), said, f"{apart:.1e}", f"{other:.1e}")
            rows.append(
                {
                    "network": name,
                    "optimizer": kind,
                    "width": width,
                    "rates": {n: [float(f"{v:.6g}") for v in pair] for n, *pair in found},
                    "differ": wrong,
                    "losses_apart": float(f"{apart:.2e}"),
                    "at_one_rate": float(f"{other:.2e}"),
                }
            )
    console.print(table)
    return rows


def judged(case: Case, widths: list[int], seeds: int) -> dict[str, Any]:
    """What both checks say of one scaling."""
    x, y = case.data
    begun = time.perf_counter()
    check = fl.coordinate_check(case.build, x, target=y, widths=widths, seeds=seeds, **case.options)
    seconds = time.perf_counter() - begun
    moved = [op for op in check.operations if op.change_slope is not None]
    worst = max(moved, key=lambda op: abs(op.change_slope.value))
    output = next(op for op in check.operations if op.is_output)
    theirs = None
    if HAS_MUP and case.mup is not None:
        sizes = plotted(
            case.build, case.data, mup=case.mup, widths=widths, seeds=seeds, steps=check.steps
        )
        theirs = max(sizes.items(), key=lambda item: item[1])
    return {
        "scaling": case.name,
        "widths": widths,
        "seeds": seeds,
        "right": case.right,
        "healthy": check.healthy,
        "findings": [[f.kind, f.severity, list(f.where)] for f in check.findings],
        "output": str(output.change_slope),
        "worst": [worst.name, str(worst.change_slope)],
        "mup_plots": None if theirs is None else [theirs[0], round(theirs[1], 2)],
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the names of the cases")
    parser.add_argument("--keep", type=Path, help="where to write what was measured, as JSON lines")
    arguments = parser.parse_args()
    console = Console(width=150)
    torch.set_num_threads(1)
    kept: list[dict[str, Any]] = []
    if HAS_MUP:
        kept += beside_mup(console, 3 * BASE)
    else:
        console.print("mup is not installed: its rates and trainings are left out")
    table = Table("scaling", "ought to be", "said", "output's change", "worst", "mup plots", "s")
    wrong = asked = agree = 0
    for case in cases():
        if arguments.only not in case.name:
            continue
        row = judged(case, arguments.widths, arguments.seeds)
        kept.append(row)
        said = ", ".join(dict.fromkeys(kind for kind, *_ in row["findings"]))
        said = f"right ({said})" if row["healthy"] and said else said or "right"
        wrong += row["healthy"] != case.right
        plots = row["mup_plots"]
        if plots is not None:
            asked, agree = asked + 1, agree + ((plots[1] < LIMIT) == row["healthy"])
        table.add_row(
            case.name,
            "right" if case.right else "wrong",
            said,
            row["output"],
            " ".join(row["worst"]),
            "" if plots is None else f"{plots[0]} {plots[1]:+.2f}",
            str(row["seconds"]),
        )
        console.print(f"{case.name}: {said}; mup plots {plots}", highlight=False)
    console.print(table)
    console.print(f"{wrong} of {len(table.rows)} verdicts are not what they ought to be")
    console.print(f"mup's plot stands on the same side of {LIMIT:g} in {agree} of {asked}")
    if arguments.keep is not None:
        arguments.keep.write_text("".join(json.dumps(row) + "\n" for row in kept))


if __name__ == "__main__":
    main()
