"""A holdout: architectures, faults and controls that came after the detectors, and from elsewhere.

The zoo's own score part was looked at while detectors were written; this part was not. Its author
had not read them, and fixed every expectation before the first run.
"""

from __future__ import annotations

import zlib

from zoo import SPECIMENS as ZOO
from zoo.faults import CONTROLS as OLD_CONTROLS
from zoo.faults import FAULTS as OLD_FAULTS
from zoo.faults import Case, cases
from zoo.holdout import dense, sequences, vision
from zoo.holdout.faults import CONTROLS, FAULTS
from zoo.specimen import Specimen

__all__ = ["CONTROLS", "FAULTS", "SPECIMENS", "ZOO_SAMPLE", "crossed"]

SPECIMENS: tuple[Specimen, ...] = (*dense.SPECIMENS, *vision.SPECIMENS, *sequences.SPECIMENS)

_PLAIN = [s for s in ZOO if s.split == "score" and not s.needs]

ZOO_SAMPLE: tuple[Specimen, ...] = tuple(
    sorted(_PLAIN, key=lambda s: zlib.crc32(s.name.encode()))[:25]
)
"""Plain specimens of the zoo's score part, drawn by the hash of their names."""


def crossed(seeds: range) -> list[Case]:
    """Unseen architectures with all scored operators, unseen operators with the zoo's sample."""
    new = (*FAULTS, *CONTROLS)
    old = tuple(f for f in (*OLD_FAULTS, *OLD_CONTROLS) if f.split == "score")
    return cases((*old, *new), SPECIMENS, seeds) + cases(new, ZOO_SAMPLE, seeds)
