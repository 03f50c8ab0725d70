"""What an exhibit is made of: measure, judge, show, and the case in which nothing is to be seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from firstlight.records.exhibit import Grid, Measurement, Picture, Verdict

Measured = TypeVar("Measured")

HOLDS: Verdict = "holds"
CONDITIONAL: Verdict = "holds under these conditions"
FAILS: Verdict = "does not hold"


class Pace(StrEnum):
    """How much time an exhibit may take.

    >>> Pace.QUICK.pick(20, 200), Pace.FULL.pick(20, 200)
    (20, 200)
    """

    QUICK = "quick"
    FULL = "full"

    def pick(self, quick: int, full: int) -> int:
        """The number of steps, seeds or layers at this pace."""
        return quick if self is Pace.QUICK else full


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What measurements say of a claim.

    Args:
        verdict: `HOLDS`, `CONDITIONAL` or `FAILS`.
        conditions: one sentence with the numbers that decided.
        measurements: what it rests on.
    """

    verdict: Verdict
    conditions: str
    measurements: Sequence[Measurement]


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[Measured]):
    """One exhibit as its module states it; title and claim are the module's docstring.

    Args:
        measure: runs the experiment: (pace, seed, **case) → measured numbers.
        judge: a pure function of what was measured; nothing else decides the verdict.
        absent: keywords for ``measure`` under which the phenomenon is absent; ``judge`` must then
            come to another verdict, which a test holds every exhibit to.
        show: pictures and tables from what was measured.
        sources: papers and texts that teach the claim.
        lesson: three sentences.
    """

    measure: Callable[..., Measured]
    judge: Callable[[Measured], Judgement]
    absent: Mapping[str, Any]
    show: Callable[[Measured], Sequence[Picture | Grid]]
    lesson: str
    sources: Sequence[str] = field(default=())


def at_most(name: str, value: float, limit: float, unit: str = "") -> Measurement:
    """A measurement that the claim needs to be at most ``limit`` (NaN is not)."""
    told = f"at most {_told(limit, unit)}"
    return _decided(name, value, unit, told, value <= limit)


def at_least(name: str, value: float, limit: float, unit: str = "") -> Measurement:
    """A measurement that the claim needs to be at least ``limit`` (NaN is not)."""
    told = f"at least {_told(limit, unit)}"
    return _decided(name, value, unit, told, value >= limit)


def between(name: str, value: float, low: float, high: float, unit: str = "") -> Measurement:
    """A measurement that the claim needs to lie between two numbers.

    >>> between("kept", 0.9, 0.5, 2.0).met, between("kept", float("nan"), 0.5, 2.0).met
    (True, False)
    """
    told = f"{_told(low, unit)} to {_told(high, unit)}"
    return _decided(name, value, unit, told, low <= value <= high)


def interval_between(
    name: str, mean: float, ends: tuple[float, float], low: float, high: float, unit: str = ""
) -> Measurement:
    """A mean whose whole interval the claim needs to lie between two numbers.

    >>> interval_between("kept", 0.97, (0.94, 1.0), 0.95, 1.05).met
    False
    """
    told = f"interval within {_told(low, unit)} to {_told(high, unit)}"
    found = _decided(name, mean, unit, told, low <= min(ends) and max(ends) <= high)
    return replace(found, interval=(float(min(ends)), float(max(ends))))


def equal(name: str, value: float, wanted: float, unit: str = "") -> Measurement:
    """A measurement that the claim needs to be exactly ``wanted``."""
    told = f"exactly {_told(wanted, unit)}"
    return _decided(name, value, unit, told, value == wanted)


def noted(name: str, value: float, unit: str = "") -> Measurement:
    """A measurement that is told but decides nothing."""
    return Measurement(name=name, value=float(value), unit=unit)


def all_met(measurements: Sequence[Measurement]) -> bool:
    """Whether every measurement that had to be something was so."""
    return all(m.met for m in measurements if m.met is not None)


def _decided(name: str, value: float, unit: str, told: str, met: bool) -> Measurement:
    """Counts and NumPy's scalars become plain numbers, which a record can write."""
    return Measurement(name=name, value=float(value), unit=unit, expected=told, met=bool(met))


def _told(value: float, unit: str) -> str:
    shown = 100 * value if unit == "%" else value
    words = f"{shown:.4g}" if abs(shown) < 1e4 else f"{shown:g}"  # a limit may be a computed one
    return f"{words} {unit}".strip()
