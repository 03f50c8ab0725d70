"""What one operation passes on, looked at closely, in numbers that stay small at any width."""

from __future__ import annotations

from dataclasses import dataclass

BINS = 32
"""Bins of a distribution: a quarter of an RMS wide, from −4 to 4 RMS."""

COSINE_BINS = 20
"""Bins of the cosines, from −1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """An even sample of an operation's result: some samples, units and positions of it.

    All but the root mean square is without scale, so that layers can be compared by shape.

    Args:
        rows: how many samples were looked at; rows of the result where its first axis is not the
            batch (tokens, say).
        per_sample: whether the rows are samples.
        units: how many units were looked at.
        of_units: how many there are.
        rms: root mean square of the values looked at; None if one is not finite, and then nothing
            of what follows is there.
        histogram: share of the values in each of `BINS` bins from −4 to 4 RMS; the outer ones hold
            what lies beyond.
        unit_means: mean of each unit over rows and positions, in RMS.
        unit_stds: its standard deviation, in RMS.
        cosines: share of the pairs of rows in each of `COSINE_BINS` bins from −1 to 1; empty for
            fewer than two rows that are not zero.
        mean_cosine: mean over those pairs; None likewise.
        singular_values: up to 16 largest of the matrix of rows, its squares adding up to one over
            all of them; empty if it is zero.
    """

    rows: int
    per_sample: bool
    units: int
    of_units: int
    rms: float | None = None
    histogram: tuple[float, ...] = ()
    unit_means: tuple[float, ...] = ()
    unit_stds: tuple[float, ...] = ()
    cosines: tuple[float, ...] = ()
    mean_cosine: float | None = None
    singular_values: tuple[float, ...] = ()

    @property
    def constant_units(self) -> int:
        """How many of the units give one value on everything that was looked at."""
        return sum(std == 0 for std in self.unit_stds)

    @property
    def effective_rank(self) -> float | None:
        """1/Σσ⁴, where the squares of the singular values σ add up to one: 1 if all rows are alike.

        What lies beyond the singular values that are kept counts as spread evenly.
        """
        if not self.singular_values:
            return None
        fourth = sum(value**4 for value in self.singular_values)
        left = max(0.0, 1.0 - sum(value**2 for value in self.singular_values))
        beyond = self.rows - len(self.singular_values)
        return 1.0 / (fourth + (left**2 / beyond if beyond > 0 else 0.0))
