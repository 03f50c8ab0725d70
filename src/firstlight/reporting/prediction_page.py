"""A prediction as a chapter of the page."""

from __future__ import annotations

from firstlight.records.prediction import Prediction
from firstlight.reporting import prediction as theory
from firstlight.reporting import wording
from firstlight.reporting.chapter import Chapter, Figure, Table, version_line
from firstlight.reporting.numbers import typeset
from firstlight.reporting.phase_chart import (
    ALIKE,
    BACKWARD,
    FORWARD,
    UNRELATED,
    correlation_chart,
    key_of_phases,
    phase_chart,
    travel_chart,
)


def theory_chapter(said: Prediction) -> Chapter:
    """The three pictures, then the figures, then what would help."""
    plain = " of the plain chain" if said.norm or said.skip is not None else ""
    parts: list[Table | Figure | str] = [
        Figure(
            heading=f"Phase diagram{plain}",
            chart=phase_chart(said),
            key=key_of_phases(said.phase),
            caption="χ₁ is the factor of ‖δ‖² a layer; the fainter, the nearer to one.",
        ),
        Figure(
            heading="Signal and gradient over depth",
            chart=travel_chart(said),
            key=(
                ("second moment", FORWARD, False),
                ("‖δ‖² over that of the last layer", BACKWARD, False),
            ),
        ),
        Figure(
            heading="Correlation of two inputs",
            chart=correlation_chart(said),
            key=(("from 0", UNRELATED, False), ("from 0.9", ALIKE, False)),
            caption="Where the two lines meet, the network no longer tells inputs apart.",
        ),
    ]
    for caption, pairs in (
        ("The activation, z ~ N(0, 1)", theory.activation_rows(said)),
        ("The start, and what it tends to", theory.start_rows(said)),
        (f"Over {wording.count(said.depth, 'layer')}", theory.depth_rows(said)),
    ):
        rows = tuple((what, typeset(value)) for what, value in pairs)
        parts.append(Table(caption=caption, heads=("figure", "value"), rows=rows, code=()))
    if said.limit is not None:
        parts += [
            theory.limit(said),
            Table(
                caption="What would help a plain chain of this depth",
                heads=theory.CHANGE_HEADS,
                rows=tuple(tuple(map(typeset, row)) for row in theory.change_rows(said)),
                numeric=(1, 2),
                code=(),
            ),
        ]
    if said.instead is not None:
        parts.append(f"The planner's start: {theory.instead(said)}")
    return Chapter(
        title=f"{said.activation} in theory",
        verdict=theory.verdict(said),
        healthy=theory.within(said),
        theory=tuple(parts),
        remarks=tuple(f"{remark}." for remark in said.remarks),
        made=(f"Rule: {said.trainable.rule}", said.trainable.source, version_line()),
    )
