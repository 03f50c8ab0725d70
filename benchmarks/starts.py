"""What each start does to every architecture of the zoo, before any training.

    pip install --no-deps -r benchmarks/requirements-rivals.txt
    python benchmarks/starts.py [--only REGEX] [--start plan,own] [--seeds 1] [--list 40]

Starts: ``plan`` (`firstlight.initialize` with the batch and the keywords of the check, no tuning),
the model's own, anyinit, lsuv, He and Glorot on all matrices (`zoo.starts`). Signals are measured
by `zoo.measure` with torch alone; from Firstlight come the targets (what `firstlight.plan` says
that each weight's result should be), the check of the first column and the undecided loss.

started: neither raised, nor refused, nor took more than 60 s; what did not counts as a failure in
every other column. no error: `firstlight.check` finds none. forward: the second moment of every
weighted operation's result is within [1/4, 4] of its target: the plan's; 1 where it states none;
for the other starts whichever of both is nearer. Weights that are zero on purpose are left out.
δ: largest over smallest RMS of δ at the residual additions of a stage (at weighted operations
where there are none) is at most 100; ‖δ‖: the same with the norm per sample, which is blind to
shapes. loss: within 5 % of what an undecided model pays, over the models where that is known.
A model counts if all seeds do. Intervals are Wilson's, over models.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zoo import SPECIMENS, Specimen
from zoo.measure import Measured, measure
from zoo.scoring import wilson_share
from zoo.starts import RIVALS, limited, started

import firstlight as fl
from firstlight.frameworks.torch import batches

SECONDS = 60
FACTOR, RANGE, LOSS = 4.0, 100.0, 0.05


@dataclass(frozen=True, kw_only=True)
class Row:
    """One start of one model; ``failed`` says why there is nothing else."""

    specimen: str
    failed: str = ""
    errors: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    operations: int = 0
    delta: float = math.inf
    delta_norm: float = math.inf
    at: str = ""
    loss: float | None = None
    """Over the undecided one, less one."""
    has_loss: bool = True

    @property
    def verdicts(self) -> dict[str, bool | None]:
        """Each column's; None where it does not apply."""
        done = not self.failed
        fair = self.loss is not None and abs(self.loss) <= LOSS
        return {
            "started": done,
            "no error": done and not self.errors,
            "forward": done and not self.off,
            "δ": done and self.delta <= RANGE,
            "‖δ‖": done and self.delta_norm <= RANGE,
            "loss": (done and fair) if self.has_loss else None,
        }


def scalar(specimen: Specimen, model: nn.Module, seed: int) -> Tensor:
    """The loss; a fixed normal cotangent on the outputs where there is none."""
    loss = specimen.loss(model, seed)
    if loss is not None:
        return loss
    output = batches.call(model, specimen.batch(seed))
    generator = torch.Generator().manual_seed(seed)
    parts = [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.requires_grad]
    cotangents = [torch.randn(t.shape, generator=generator) for t in parts]
    return torch.stack([(t * c).mean() for t, c in zip(parts, cotangents, strict=True)]).sum()


def measured(specimen: Specimen, model: nn.Module, seed: int) -> Measured:
    """One pass in training mode, on fixed random numbers."""
    batch = specimen.batch(seed)
    fed = replace(specimen, batch=lambda _: batch)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        return measure(model.train(), batch, lambda m, _: scalar(fed, m, seed))


def off_target(
    moments: dict[str, float], targets: dict[str, float | None], either: bool
) -> tuple[str, ...]:
    """Operations beyond a factor 4 of their target; ``either``: 1 will do as well."""
    found = []
    for name, moment in moments.items():
        stated = targets.get(name)
        wanted = {1.0 if stated is None else stated} | ({1.0} if either else set())
        near = min((abs(math.log(max(moment, 1e-300) / w)) for w in wanted if w > 0), default=0.0)
        if not (math.isfinite(moment) and near <= math.log(FACTOR)):
            found.append(f"{name} {moment:.2g} (target {stated if stated else 1:.2g})")
    return tuple(found)


def targets_of(plan: Any) -> dict[str, float | None]:
    """Targets by every name that a weight has."""
    network = plan.network
    return {n: e.target for e in plan for n in (e.name, *network.parameter(e.name).ties)}


def row(specimen: Specimen, start: str, seed: int, targets: dict[str, float | None]) -> Row:
    """Start a fresh model, measure and check it."""
    model, batch, options = specimen.model(seed), specimen.batch(seed), specimen.check(seed)
    try:
        if start == "plan":
            with limited(SECONDS):
                receipt = fl.initialize(model, batch, seed=seed, **options)
            checkup, targets = receipt.after, targets_of(receipt.plan)
        else:
            started(RIVALS[start], model, batch, seed, SECONDS)
            checkup = specimen.checkup(model, seed)
        seen = measured(specimen, model, seed)
    except Exception as error:  # counted as a failure, by name
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Row(specimen=specimen.name, failed=why, has_loss=undecided(specimen, seed))
    undecided_loss = checkup.observation.undecided_loss
    return Row(
        specimen=specimen.name,
        errors=tuple(f.kind for f in checkup.findings if f.severity == "error"),
        off=off_target(seen.moments, targets, start != "plan"),
        operations=len(seen.moments),
        delta=seen.delta_range,
        delta_norm=seen.delta_norm_range,
        at="additions" if seen.at_additions else "weighted operations",
        loss=seen.loss / undecided_loss - 1 if undecided_loss else None,
        has_loss=bool(undecided_loss),
    )


def undecided(specimen: Specimen, seed: int) -> bool:
    """Whether it is known what an undecided model pays."""
    try:
        return bool(specimen.checkup(specimen.model(seed), seed).observation.undecided_loss)
    except Exception:  # what cannot be checked at all counts against the start
        return True


def planned(specimen: Specimen, seed: int) -> dict[str, float | None]:
    """The plan's targets; none where it refuses."""
    try:
        with limited(SECONDS):
            plan = fl.plan(specimen.model(seed), specimen.batch(seed), **specimen.check(seed))
    except Exception:  # the plan's own row says so
        return {}
    return targets_of(plan)


def cells(rows: list[Row]) -> list[str]:
    """Shares of models with intervals, all seeds of a model together."""
    shares = {}
    for column in Row(specimen="").verdicts:
        models: dict[str, bool] = {}
        for one in rows:
            verdict = one.verdicts[column]
            if verdict is not None:
                models[one.specimen] = models.get(one.specimen, True) and verdict
        shares[column] = wilson_share(sum(models.values()), len(models))
    operations = sum(r.operations for r in rows)
    on = operations - sum(len(r.off) for r in rows)
    within = f"{on / operations:.1%} of {operations}" if operations else "–"
    return [
        shares["started"],
        shares["no error"],
        within,
        *(shares[c] for c in ("forward", "δ", "‖δ‖", "loss")),
    ]


def complaints(one: Row) -> str:
    """All that one row fails by, in a line."""
    if one.failed:
        return one.failed
    said = [", ".join(dict.fromkeys(one.errors))] if one.errors else []
    if one.off:
        said.append(f"forward, {len(one.off)} of {one.operations}: {'; '.join(one.off[:2])}")
    if one.delta > RANGE or one.delta_norm > RANGE:
        said.append(f"δ {one.delta:.3g}, ‖δ‖ {one.delta_norm:.3g} at {one.at}")
    if one.loss is not None and abs(one.loss) > LOSS:
        said.append(f"loss {one.loss:+.1%} of undecided")
    return " | ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="specimens that match this expression")
    parser.add_argument("--start", default="", help="starts, with commas; all if left out")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--list", default="plan", help="starts whose failures are listed, or all")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=170)
    known = ("plan", *RIVALS)
    starts = [s for s in options.start.split(",") if s] or list(known)
    if unknown := [s for s in starts if s not in known]:
        parser.error(f"--start: {', '.join(unknown)}; known are {', '.join(known)}")
    chosen = [s for s in SPECIMENS if re.search(options.only, s.name) and not s.missing]
    rows: dict[str, list[Row]] = {start: [] for start in starts}
    for specimen in track(chosen, "starting", console=console, transient=True):
        for seed in range(options.seeds):
            targets = planned(specimen, seed) if starts != ["plan"] else {}
            for start in starts:
                rows[start].append(row(specimen, start, seed, targets))

    table = Table(
        "start",
        "started",
        "no error",
        "operations within [¼, 4]",
        "models, every one",
        "δ within 100",
        "‖δ‖ within 100",
        "loss within 5 %",
        title=f"{len(chosen)} architectures, {options.seeds} seed(s): 95 % intervals over models",
    )
    for start, own in rows.items():
        table.add_row(start, *cells(own))
    console.print(table)
    for start, own in rows.items():
        failures = [(one, text) for one in own if (text := complaints(one))]
        if options.list not in ("all", start):
            refused = [one for one in own if one.failed]
            console.print(f"{start}: {len(failures)} fail in some column, {len(refused)} refused")
            continue
        console.print(f"\n{start}: {len(failures)} of {len(own)} fail in some column")
        for one, text in failures:
            console.print(f"  {one.specimen}: {text}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
