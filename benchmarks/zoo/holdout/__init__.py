"""A holdout: architectures, faults and controls that came after the detectors, and from elsewhere.

The zoo's own score part was looked at while detectors were written; this part was not. Its author
had not read them, and fixed every expectation before the first run.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from zoo import SPECIMENS as ZOO
from zoo.faults import CONTROLS as OLD_CONTROLS
from zoo.faults import FAULTS as OLD_FAULTS
from zoo.faults import Case, cases
from zoo.holdout import dense, sequences, vision
from zoo.holdout.faults import CONTROLS, FAULTS
from zoo.specimen import Specimen

__all__ = ["CONTROLS", "FAULTS", "NO_FAULT", "RESULTS", "SPECIMENS", "ZOO_SAMPLE", "crossed"]

RESULTS = Path(__file__).parents[2] / "results" / "harm_holdout.jsonl"
"""What came of training some of these cases."""

SPECIMENS: tuple[Specimen, ...] = (*dense.SPECIMENS, *vision.SPECIMENS, *sequences.SPECIMENS)

_PLAIN = [s for s in ZOO if s.split == "score" and not s.needs]

ZOO_SAMPLE: tuple[Specimen, ...] = tuple(
    sorted(_PLAIN, key=lambda s: zlib.crc32(s.name.encode()))[:25]
)
"""Plain specimens of the zoo's score part, drawn by the hash of their names."""


NO_FAULT: dict[tuple[str, str], str] = {
    ("constant-0.05", "video-3d"): "the operator knows no Conv3d and reaches the head alone",
    ("relu-on-logits", "all-convolutional"): "its paper has that ReLU, before the pooling",
}
"""Operator and specimen: what is planted there is none, and why."""


def crossed(seeds: range) -> list[Case]:
    """Unseen architectures with all scored operators, unseen operators with the zoo's sample."""
    new = (*FAULTS, *CONTROLS)
    old = tuple(f for f in (*OLD_FAULTS, *OLD_CONTROLS) if f.split == "score")
    found = cases((*old, *new), SPECIMENS, seeds) + cases(new, ZOO_SAMPLE, seeds)
    return [case for case in found if (case.fault.name, case.specimen.name) not in NO_FAULT]
