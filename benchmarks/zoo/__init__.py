"""A zoo of real architectures with sensible starts, and the faults that are planted in them.

`SPECIMENS` are models on which a checkup must stay silent; `SICK` are published ones on which it
must not; `faults.FAULTS` spoil a specimen in known ways. Benchmarks and tests use the same zoo.
"""

from __future__ import annotations

from zoo import attention, configured, convolutional, dense, graphs, recurrent
from zoo.specimen import Specimen, Split

__all__ = ["SICK", "SPECIMENS", "Specimen", "Split", "specimen"]

SPECIMENS: tuple[Specimen, ...] = (
    *dense.SPECIMENS,
    *convolutional.SPECIMENS,
    *attention.SPECIMENS,
    *recurrent.SPECIMENS,
    *graphs.SPECIMENS,
    *configured.SPECIMENS,
)

SICK = configured.SICK


def specimen(name: str) -> Specimen:
    """The specimen of this name, sick ones too."""
    return next(s for s in (*SPECIMENS, *SICK) if s.name == name)
