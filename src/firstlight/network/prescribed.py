"""What each parameter will be: mean and mean square by its law, or as it was measured if kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from firstlight.laws.moments import moments
from firstlight.records.checkup import ParameterReading
from firstlight.records.law import DeltaOrthogonal, Identity, Linked, Mirrored, Orthogonal
from firstlight.records.plan import PlanEntry


@dataclass(frozen=True, kw_only=True)
class Prescribed:
    """One parameter's values under a plan.

    Args:
        mean: over all elements.
        square: mean square of the elements.
        isometry: whether all its rows are of one length.
        kept: whether the plan leaves it as it is.
        centred: whether only a kernel's centre is not zero.
        mirrored_in: whether it takes mirrored twins as what they are, a signal and its negative.
        mirrored_out: whether its results come in twins, each the other's negative.
        before: mean square that was measured before the plan; None if it was not.
        target: second moment to which its first result will be rescaled; None if it is not.
    """

    mean: float
    square: float
    isometry: bool = False
    kept: bool = False
    centred: bool = False
    mirrored_in: bool = False
    mirrored_out: bool = False
    before: float | None = None
    target: float | None = None


def prescribed(
    entries: Iterable[PlanEntry], readings: Iterable[ParameterReading]
) -> dict[str, Prescribed]:
    """What the parameters of a plan will be, by name.

    Args:
        entries: of the plan.
        readings: what was measured of the parameters before it.
    """
    measured = {reading.name: reading for reading in readings}
    found: dict[str, Prescribed] = {}
    for entry in entries:
        law, reading = entry.law, measured.get(entry.name)
        if law is None:
            if reading is not None and not reading.non_finite:
                rms = reading.value_rms
                mean = rms if reading.constant else 0.0  # of a constant the sign is not known
                found[entry.name] = Prescribed(
                    mean=mean, square=rms * rms, kept=True, before=rms * rms
                )
            continue
        of = moments(law, entry.layout)
        found[entry.name] = Prescribed(
            mean=of.mean,
            square=of.mean**2 + of.std**2,
            isometry=isinstance(law, DeltaOrthogonal | Mirrored | Linked | Identity | Orthogonal),
            centred=bool(entry.layout.kernel)
            and isinstance(law, DeltaOrthogonal | Mirrored | Linked | Identity),
            mirrored_in=isinstance(law, Mirrored | Linked) and law.inputs,
            mirrored_out=isinstance(law, Mirrored | Linked) and law.outputs,
            before=None if reading is None else reading.value_rms**2,
            target=entry.target if entry.calibrate else None,
        )
    return found
