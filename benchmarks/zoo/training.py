"""Short trainings of a start, healthy or spoiled, and the file that keeps what came of them.

A run trains one start for 200 steps of fresh batches, with SGD (momentum 0.9) and with Adam. Each
optimizer's rate is chosen from three after 40 steps, by the mean loss of the last 10, and the
chosen training goes on; a spoiled model and its healthy twin get the same grid, the same steps and
the same batches. The score is the mean loss of the last 20 steps: batches are never repeated, so
that it is a loss on unseen samples. A training that meets a loss which is no number, or that falls
no further after the search, gives way to the second best rate, and the better end counts; where
both end in no number, the start has diverged and has no score. Nothing is clipped.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from zoo import data
from zoo.faults import Case, Fault
from zoo.specimen import Specimen

RESULTS = Path(__file__).parents[1] / "results" / "harm.jsonl"

STEPS, SEARCH = 200, 40
SCORED, SEARCHED = 20, 10
"""So many steps at the end are the score, of all steps and of the search for a rate."""

TRIED = 2
"""Rates that may be taken to the end."""

FALL = 0.05
"""After the search a training must fall by this share of the loss at start, or end below half."""

RATES: dict[str, tuple[float, ...]] = {"sgd": (0.003, 0.02, 0.1), "adam": (3e-4, 2e-3, 1e-2)}

SAMPLES = 16
"""Of each batch; a quarter of the zoo's lets twice as many architectures be trained."""

FIRST = 1000
"""Data seed of the first step: no checkup ever sees these batches."""

Key = tuple[str, str, int, int]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One start, trained.

    Args:
        specimen: its name.
        fault: the operator's name; empty for the specimen as it is.
        seed: of the start.
        steps: how many there were.
        start: loss of the first step; None if it is no number.
        scores: by optimizer; None if it diverged.
        rates: by optimizer, the rate that was chosen.
        raised: what stopped the training, if it was an error.
    """

    specimen: str
    fault: str
    seed: int
    steps: int
    start: float | None
    scores: dict[str, float | None]
    rates: dict[str, float | None]
    raised: str = ""

    @property
    def key(self) -> Key:
        """What makes it unique."""
        return self.specimen, self.fault, self.seed, self.steps


def stored(specimen: Specimen) -> Specimen:
    """The specimen on the first samples of its batches, which are kept once they were made."""

    def cut(value: Any) -> Any:
        whole = isinstance(value, Tensor) and value.dim() and len(value) == data.SAMPLES
        return value[:SAMPLES] if whole else value

    batch = functools.cache(lambda seed: tree_map(cut, specimen.batch(seed)))
    check = functools.cache(lambda seed: tree_map(cut, specimen.check(seed)))
    return replace(specimen, batch=batch, check=check)


def step_cost(specimen: Specimen) -> float | None:
    """Milliseconds of one forward and backward pass; None if the specimen has no loss."""
    fed, model, times = stored(specimen), specimen.model(0).train(), []
    for _ in range(4):
        begin = time.perf_counter()
        loss = fed.loss(model, 0)
        if loss is None:
            return None
        loss.backward()
        times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


def trained(specimen: Specimen, fault: Fault | None, seed: int, steps: int = STEPS) -> Run | None:
    """One run; None if the fault does not apply. ``specimen`` is best `stored`."""
    plant, fed = _spoiled(specimen, fault, seed)
    if plant() is None:
        return None
    start: float | None = None
    scores: dict[str, float | None] = {}
    rates: dict[str, float | None] = {}
    raised = ""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in RATES:
                start, scores[name], rates[name] = _searched(plant, fed, name, seed, steps)
        except Exception as error:  # a model that cannot be trained is listed, not passed on
            raised = f"{type(error).__name__}: {error}".partition("\n")[0]
    return Run(
        specimen=specimen.name,
        fault="" if fault is None else fault.name,
        seed=seed,
        steps=steps,
        start=start,
        scores=scores,
        rates=rates,
        raised=raised,
    )


def _spoiled(
    specimen: Specimen, fault: Fault | None, seed: int
) -> tuple[Callable[[], nn.Module | None], Specimen]:
    """How the start is made, and what it is fed: faults of the data change that."""
    if fault is None:
        return lambda: specimen.model(seed), specimen
    case = Case(fault=fault, specimen=specimen, seed=seed)

    def plant() -> nn.Module | None:
        planted = case.plant()
        return None if planted is None else planted[0]

    fed = replace(
        specimen,
        batch=lambda n: fault.batch(specimen.batch(n)),
        check=lambda n: fault.check(specimen.check(n)),
    )
    return plant, fed


def _searched(
    plant: Callable[[], nn.Module | None], fed: Specimen, name: str, seed: int, steps: int
) -> tuple[float | None, float | None, float | None]:
    """Loss of the first step, score, and rate of the best rate that lasts to the end."""
    search = min(SEARCH, steps)
    tried = []
    start = math.nan
    for rate in RATES[name]:
        model = plant()
        assert model is not None
        optimizer = _optimizer(name, model.train(), rate)
        losses = _losses(model, optimizer, fed, range(search), seed)
        start = losses[0]
        if len(losses) == search:
            tried.append((statistics.fmean(losses[-SEARCHED:]), rate, model, optimizer, losses))
    ended: list[tuple[float, float]] = []
    for searched, rate, model, optimizer, losses in sorted(tried, key=lambda row: row[0])[:TRIED]:
        losses = losses + _losses(model, optimizer, fed, range(search, steps), seed)
        if len(losses) == steps:
            ended.append((statistics.fmean(losses[-SCORED:]), rate))
            if ended[-1][0] < max(start / 2, searched - FALL * abs(start)):
                break
    if not ended:
        return _short(start), None, None
    score, rate = min(ended)
    return _short(start), _short(score), rate


def _optimizer(name: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    trainable = [p for p in model.parameters() if p.requires_grad]
    if name == "sgd":
        return torch.optim.SGD(trainable, lr=rate, momentum=0.9, fused=True)
    return torch.optim.Adam(trainable, lr=rate, fused=True)


def _losses(
    model: nn.Module, optimizer: torch.optim.Optimizer, fed: Specimen, steps: range, seed: int
) -> list[float]:
    """The loss of each step, up to the first that is no number, which is only kept if alone."""
    torch.manual_seed(seed)  # dropout, the same for each rate
    losses: list[float] = []
    for step in steps:
        loss = fed.loss(model, FIRST + step)
        assert loss is not None
        if not math.isfinite(loss.item()):
            return losses or [math.nan]
        losses.append(loss.item())
        if loss.requires_grad:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return losses


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


# The file ----------------------------------------------------------------------------------------


def read(path: Path) -> list[Run]:
    """The runs in a file of JSON lines; a line that a kill cut short is passed over."""
    runs = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            runs.append(Run(**json.loads(line)))
        except json.JSONDecodeError:
            continue
    return runs


def write(path: Path, runs: Iterable[Run]) -> None:
    """Replace the file by these runs, in order of their names, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text("".join(map(_line, sorted(runs, key=lambda run: run.key))))
    new.replace(path)


def append(path: Path, run: Run) -> None:
    """Add one line, in one write."""
    with path.open("a") as file:
        file.write(_line(run))


def _line(run: Run) -> str:
    return (
        json.dumps({k: v for k, v in asdict(run).items() if v != ""} | {"fault": run.fault}) + "\n"
    )
