"""The whole journey of a model as one record: what the demo's page tells."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.records.checkup import Checkup
from firstlight.records.late import Shown
from firstlight.records.plan import Plan, Receipt
from firstlight.records.race import Race


@dataclass(frozen=True, kw_only=True)
class Story(Shown):
    """Check, plan, apply, check again, race: any of them may be missing.

    Args:
        title: heading of the page.
        lead: one or two sentences that say what this is about.
        before: checkup of the model as it came.
        plan: what was prescribed.
        receipt: what was drawn.
        after: checkup of the model as it is now.
        race: whether it mattered.
        notes: how this was made: command, versions, data; one line each.
    """

    title: str
    lead: str = ""
    before: Checkup | None = None
    plan: Plan | None = None
    receipt: Receipt | None = None
    after: Checkup | None = None
    race: Race | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: Checkup | Plan | Receipt | Race) -> Story:
        """A single record as a story of one chapter."""
        if isinstance(record, Checkup):
            return cls(title=record.network.name, before=record)
        if isinstance(record, Plan):
            return cls(title=record.network.name, plan=record)
        if isinstance(record, Receipt):
            return cls(
                title=record.plan.network.name,
                before=record.before,
                plan=record.plan,
                receipt=record,
                after=record.after,
            )
        names = dict.fromkeys(start.name for start in record.starts)
        return cls(title=" against ".join(names), race=record)
