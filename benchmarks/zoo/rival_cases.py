"""The same cases put to Firstlight and to its rivals, each beside its healthy twin."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import firstlight as fl
from zoo.faults import Case, Fault
from zoo.rival_rules import Alarm, Severity, complaints, named, news
from zoo.rival_runs import RIVALS, Given
from zoo.specimen import Specimen


@dataclass(frozen=True)
class Heard:
    """What a tool said of one model.

    Args:
        alarms: its complaints and information.
        seconds: how long it took.
        leading: the kind of the first finding (Firstlight's only).
        raised: the error that came instead, if one did.
    """

    alarms: frozenset[Alarm] = frozenset()
    seconds: float = 0.0
    leading: str = ""
    raised: str = ""


@dataclass(frozen=True)
class Row:
    """A case, with what each tool said of it and of its healthy twin."""

    case: Case
    sick: dict[str, Heard]
    healthy: dict[str, Heard]
    ours: Heard
    ours_healthy: Heard


def takes(specimen: Specimen) -> bool:
    """Whether every rival can be given this specimen."""
    if specimen.missing:
        return False
    batch, options = specimen.batch(0), specimen.check(0)
    if isinstance(batch, Tensor):
        return set(options) == {"target"} and not options["target"].is_floating_point()
    return isinstance(batch, dict) and not options


def heard(run: Callable[[], tuple[Iterable[Alarm], str]]) -> Heard:
    """One run, timed, with the global generator put back."""
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            alarms, leading = run()
            found = frozenset(alarms)
        except Exception as error:  # counted, not passed on
            seconds = time.perf_counter() - start
            return Heard(seconds=seconds, raised=f"{type(error).__name__}: {error}"[:200])
    return Heard(found, time.perf_counter() - start, leading)


def ask_rival(rival: str, case: Case, model: nn.Module) -> Heard:
    """What a rival says of a case's model, which it may spoil."""

    def fresh(step: int) -> tuple[object, dict[str, object]]:
        return Case(fault=case.fault, specimen=case.specimen, seed=case.seed + step).fed()

    given = Given(model, *case.fed(), fresh, case.seed)
    return heard(lambda: (RIVALS[rival](given), ""))


def ask_firstlight(case: Case, model: nn.Module) -> Heard:
    """The same of `firstlight.check`; by kind alone, wherever it is."""
    severities: dict[str, Severity] = {"error": "fail", "warning": "warning", "note": "info"}

    def run() -> tuple[Iterable[Alarm], str]:
        batch, options = case.fed()
        found = fl.check(model, batch, **options).findings
        alarms = [Alarm(f.kind, (), severities[f.severity]) for f in found]
        return alarms, found[0].kind if found else ""

    return heard(run)


@dataclass
class Bench:
    """Runs cases, and remembers the healthy twins."""

    rivals: tuple[str, ...]
    twins: dict[tuple[str, int], tuple[dict[str, Heard], Heard]] = field(default_factory=dict)

    def _all(self, case: Case) -> tuple[dict[str, Heard], Heard] | None:
        models = [planted for _ in (*self.rivals, "firstlight") if (planted := case.plant())]
        if not models:
            return None
        said = {r: ask_rival(r, case, m) for r, (m, _) in zip(self.rivals, models, strict=False)}
        return said, ask_firstlight(case, models[-1][0])

    def twin(self, specimen: Specimen, seed: int) -> tuple[dict[str, Heard], Heard]:
        """What is said of the healthy specimen."""
        if (specimen.name, seed) not in self.twins:
            case = Case(fault=HEALTH, specimen=specimen, seed=seed)
            said = self._all(case)
            assert said is not None
            self.twins[specimen.name, seed] = said
        return self.twins[specimen.name, seed]

    def row(self, case: Case) -> Row | None:
        """A case with its twin; None where the fault does not apply."""
        said = self._all(case)
        if said is None:
            return None
        healthy, ours_healthy = self.twin(case.specimen, case.seed)
        return Row(case, said[0], healthy, said[1], ours_healthy)


HEALTH = Fault(name="healthy", kinds=(), apply=lambda _model, _seed: (), split="score")


def speaks(sick: Heard, healthy: Heard) -> bool:
    """Whether there is a complaint that the twin does not get."""
    return bool(news(complaints(sick.alarms), complaints(healthy.alarms)))


def names(rival: str, row: Row) -> bool:
    """Whether something new could mean an expected kind."""
    fresh = news(row.sick[rival].alarms, row.healthy[rival].alarms)
    return named(rival, fresh, row.case.fault.kinds)
