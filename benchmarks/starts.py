"""What each start does to every architecture of the zoo, before any training.

    pip install --no-deps -r benchmarks/requirements-rivals.txt
    python benchmarks/starts.py [--only REGEX] [--start plan,own] [--again] [--seeds 1] [--list all]

Starts: ``plan`` (`firstlight.initialize` with the batch and the keywords of the check, no tuning),
the model's own, anyinit, lsuv, He and Glorot on all matrices (`zoo.starts`). Signals are measured
by `zoo.measure` with torch alone; from Firstlight come the targets (what `firstlight.plan` says
that each weight's result should be), the check of the first column and the undecided loss.

started: neither raised, nor refused, nor took more than 60 s of the processor; what did not start
counts as a failure in every other column. no error: `firstlight.check` finds none. forward: the
second moment of every weighted operation's result is within [1/4, 4] of its target: the plan's; 1
where it states none; for the other starts whichever of both is nearer. Weights that are zero on
purpose are left out. δ: largest over smallest RMS of δ at the residual additions of a stage (at
hidden weights where there are none) is at most 100; ‖δ‖: the same with the norm per sample,
which is blind to shapes. loss: not more than 5 % above what an undecided model pays, nor below what
one pays that knows the class shares or the target's mean, over the models where that is known.
A model counts if all seeds do. Intervals are Wilson's, over models.

What was measured is kept in results/starts.jsonl as it comes, and a second run takes up where the
first was cut short; ``--start plan --again`` measures Firstlight's row anew and leaves the others.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zoo import SPECIMENS, Specimen
from zoo.kept import Kept
from zoo.measure import Measured, measure
from zoo.scoring import wilson_share
from zoo.starts import RIVALS, limited, started

import firstlight as fl
from firstlight.frameworks.torch import batches
from firstlight.planning.targets import TIED_LOGITS_STD

RESULTS = Path(__file__).parent / "results" / "starts.jsonl"
SECONDS = 60
FACTOR, RANGE, LOSS = 4.0, 100.0, 0.05
LONG = 150
"""Refusals that name all that they could not place are cut here."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One start of one model; ``failed`` says why there is nothing else.

    Args:
        moments: second moment by weight.
        targets: the plan's, by weight; only in the plan's own row.
        delta: largest over smallest RMS δ; ``delta_norm`` with ‖δ‖ per sample.
        at: where those are.
        loss: over the undecided one, less one; over that of the class shares if it is below; 0 in
            between. ``judged`` whether they are known.
    """

    specimen: str
    start: str
    seed: int
    failed: str = ""
    errors: tuple[str, ...] = ()
    moments: dict[str, float] = field(default_factory=dict)
    targets: dict[str, float | None] = field(default_factory=dict)
    delta: float = math.inf
    delta_norm: float = math.inf
    at: str = ""
    loss: float | None = None
    judged: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it unique."""
        return self.specimen, self.start, self.seed

    def off(self, targets: dict[str, float | None]) -> tuple[str, ...]:
        """Operations beyond a factor 4 of the plan's targets, or of 1; see the head of the file."""
        found = []
        for name, moment in self.moments.items():
            stated = targets.get(name)
            wanted = {1.0 if stated is None else stated} | (
                {1.0} if self.start != "plan" else set()
            )
            away = min(
                abs(math.log(max(moment, 1e-300) / w)) if w > 0 else math.inf for w in wanted
            )
            if not (math.isfinite(moment) and away <= math.log(FACTOR)):
                found.append(f"{name} {moment:.2g} (target {1 if stated is None else stated:.2g})")
        return tuple(found)

    def verdicts(self, targets: dict[str, float | None]) -> dict[str, bool | None]:
        """Each column's; None where it does not apply."""
        done = not self.failed
        fair = self.loss is not None and abs(self.loss) <= LOSS
        return {
            "started": done,
            "no error": done and not self.errors,
            "forward": done and not self.off(targets),
            "δ": done and self.delta <= RANGE,
            "‖δ‖": done and self.delta_norm <= RANGE,
            "loss": (done and fair) if self.judged else None,
        }


COLUMNS = ("started", "no error", "forward", "δ", "‖δ‖", "loss")


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


def targets_of(plan: Any) -> dict[str, float | None]:
    """Targets by every name that a weight has; those of tied tables as of what they multiply."""
    network = plan.network
    weighted = {
        name for op in network.operations if op.kind == "weighted" for name in op.parameters
    }
    found: dict[str, float | None] = {}
    for entry in plan:
        parameter = network.parameter(entry.name)
        names = (entry.name, *parameter.ties)
        target = entry.target
        if target is not None and parameter.kind == "embedding" and weighted.intersection(names):
            target = TIED_LOGITS_STD**2
        found |= dict.fromkeys(names, target)
    return found


def row(specimen: Specimen, start: str, seed: int) -> Row:
    """Start a fresh model, measure and check it."""
    model, batch, options = specimen.model(seed), specimen.batch(seed), specimen.check(seed)
    targets: dict[str, float | None] = {}
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
        judged = undecided(specimen, seed)
        return Row(specimen=specimen.name, start=start, seed=seed, failed=why, judged=judged)
    pays = checkup.observation.undecided_loss
    return Row(
        specimen=specimen.name,
        start=start,
        seed=seed,
        errors=tuple(f.kind for f in checkup.findings if f.severity == "error"),
        moments={name: float(f"{value:.4g}") for name, value in seen.moments.items()},
        targets={name: targets[name] for name in seen.moments if name in targets},
        delta=float(f"{seen.delta_range:.4g}"),
        delta_norm=float(f"{seen.delta_norm_range:.4g}"),
        at="additions" if seen.at_additions else "weighted operations",
        loss=float(f"{beyond(seen.loss, pays, checkup.observation.prior_loss):.4g}")
        if pays
        else None,
        judged=bool(pays),
    )


def beyond(loss: float, uninformed: float, prior: float | None) -> float:
    """How far a loss is above equal logits, or below the class shares, as a share of that."""
    lower = uninformed if prior is None else min(prior, uninformed)
    if lower <= loss <= uninformed:
        return 0.0
    return loss / (uninformed if loss > uninformed else lower) - 1


def undecided(specimen: Specimen, seed: int) -> bool:
    """Whether it is known what an undecided model pays."""
    try:
        return bool(specimen.checkup(specimen.model(seed), seed).observation.undecided_loss)
    except Exception:  # what cannot be checked at all counts against the start
        return True


Targets = dict[tuple[str, int], dict[str, float | None]]


def cells(rows: list[Row], targets: Targets) -> list[str]:
    """Shares of models with intervals, all seeds of a model together."""
    shares = {}
    for column in COLUMNS:
        models: dict[str, bool] = {}
        for one in rows:
            said = one.verdicts(targets.get((one.specimen, one.seed), {}))[column]
            if said is not None:
                models[one.specimen] = models.get(one.specimen, True) and said
        shares[column] = wilson_share(sum(models.values()), len(models))
    operations = sum(len(r.moments) for r in rows)
    on = operations - sum(len(r.off(targets.get((r.specimen, r.seed), {}))) for r in rows)
    within = f"{on / operations:.1%} of {operations}" if operations else "–"
    first, second, *others = (shares[column] for column in COLUMNS)
    return [first, second, within, *others]


def complaints(one: Row, targets: Targets) -> str:
    """All that one row fails by, in a line."""
    if one.failed:
        return one.failed if len(one.failed) < LONG else f"{one.failed[:LONG]} …"
    said = [", ".join(dict.fromkeys(one.errors))] if one.errors else []
    if off := one.off(targets.get((one.specimen, one.seed), {})):
        said.append(f"forward, {len(off)} of {len(one.moments)}: {'; '.join(off[:2])}")
    if one.delta > RANGE or one.delta_norm > RANGE:
        said.append(f"δ {one.delta:.3g}, ‖δ‖ {one.delta_norm:.3g} at {one.at}")
    if one.loss is not None and not abs(one.loss) <= LOSS:
        said.append(f"loss {one.loss:+.1%} of undecided")
    return " | ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="specimens that match this expression")
    parser.add_argument("--start", default="", help="measure these alone, with commas")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="forget what is chosen first")
    parser.add_argument("--list", default="plan", help="start whose failures are listed, or all")
    parser.add_argument("--file", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=170)
    known = ("plan", *RIVALS)
    starts = [s for s in options.start.split(",") if s] or list(known)
    if unknown := [s for s in starts if s not in known]:
        parser.error(f"--start: {', '.join(unknown)}; known are {', '.join(known)}")
    chosen = [s for s in SPECIMENS if re.search(options.only, s.name) and not s.missing]
    kept = Kept(Row, options.file)
    if options.again:
        names = {specimen.name for specimen in chosen}
        for key, one in list(kept.records.items()):
            if one.specimen in names and one.start in starts:
                del kept.records[key]
    kept.tidy()
    for start in starts:
        for specimen in track(chosen, f"{start} ", console=console, transient=True):
            for seed in range(options.seeds):
                if (specimen.name, start, seed) not in kept.records:
                    kept.add(row(specimen, start, seed))
    kept.tidy()
    show(kept, {s.name for s in chosen}, options.seeds, options.list, console)


def show(kept: Kept[Row], names: set[str], seeds: int, listed: str, console: Console) -> None:
    """The table of all that is known of these models, and the failures by name."""
    rows: dict[str, list[Row]] = {start: [] for start in ("plan", *RIVALS)}
    for one in kept.records.values():
        if one.specimen in names and one.seed < seeds:
            rows[one.start].append(one)
    targets = {(one.specimen, one.seed): one.targets for one in rows["plan"]}
    headings = ("no error", "operations within [¼, 4]", "models, every one", "δ within 100")
    table = Table("start", "started", *headings, "‖δ‖ within 100", "loss within 5 %")
    table.title = f"{len(names)} architectures, {seeds} seed(s); 95 % intervals over models"
    rows = {start: own for start, own in rows.items() if own}
    for start, own in rows.items():
        table.add_row(start, *cells(own, targets))
    console.print(table)
    for start, own in rows.items():
        failures = [(one, text) for one in own if (text := complaints(one, targets))]
        refused = sum(bool(one.failed) for one in own)
        console.print(f"\n{start}: {len(failures)} of {len(own)} fail, {refused} did not start")
        for one, text in failures:
            if listed in ("all", start) or one.failed:
                console.print(f"  {one.specimen}: {text}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
