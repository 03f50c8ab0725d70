"""Findings on the weights themselves: parallel units, copied layers, missing rank, wild values."""

from __future__ import annotations

import math
from collections.abc import Iterator

from firstlight.records.checkup import Finding, ParameterReading
from firstlight.verdicts import limits
from firstlight.verdicts.cures import initialize
from firstlight.verdicts.view import View, named


def _random_cosine(view: View, reading: ParameterReading) -> float:
    """How far from zero the mean cosine of random rows strays: six standard errors."""
    layout = view.observation.network.parameter(reading.name).layout
    _, rows, columns = layout.matrix
    return 6 * math.sqrt(2 / columns) / rows


def parallel(view: View) -> Iterator[Finding]:
    """parallel-units: incoming weights of all units point the same way, as all-positive ones do."""
    rows = [
        reading
        for reading in view.observation.parameters
        if reading.unit_cosine is not None
        and not reading.constant
        and reading.unit_cosine - _random_cosine(view, reading) > limits.PARALLEL_WARNING
    ]
    if not rows:
        return
    worst = max(rows, key=lambda reading: reading.unit_cosine or 0.0)
    cosine = worst.unit_cosine or 0.0
    aligned = cosine > limits.PARALLEL_ERROR
    limit = limits.PARALLEL_ERROR if aligned else limits.PARALLEL_WARNING
    yield Finding(
        kind="parallel-units",
        severity="error" if limit == limits.PARALLEL_ERROR else "warning",
        where=tuple(reading.name for reading in rows),
        evidence=(
            f"the incoming weights of two units of `{worst.name}` have a mean cosine of"
            f" {cosine:.2g} (limit {limit:g}; 0 for centred random weights)"
            + (f"; so in {len(rows)} weights" if len(rows) > 1 else "")
        ),
        cause="the weights have a mean far from zero (all-positive random numbers do): all units"
        " compute nearly the same",
        cure=initialize(why="centred weights"),
    )


def equal_rows(view: View) -> Iterator[Finding]:
    """symmetric-units, of embeddings: one vector for many tokens."""
    network = view.observation.network
    rows = [
        reading
        for reading in view.observation.parameters
        if network.parameter(reading.name).kind == "embedding"
        and not reading.constant
        and (reading.repeated_rows or 0.0) > limits.EQUAL_ROWS
    ]
    if not rows:
        return
    yield Finding(
        kind="symmetric-units",
        severity="error",
        where=tuple(reading.name for reading in rows),
        evidence=f"{rows[0].repeated_rows:.0%} of the rows of `{rows[0].name}` equal another one"
        f" (limit {limits.EQUAL_ROWS:.0%})",
        cause="one vector stands for many tokens: the network cannot tell them apart",
        cure=initialize(network, [reading.name for reading in rows]),
    )


def cloned(view: View) -> Iterator[Finding]:
    """cloned-layers: different weights that hold the very same numbers."""
    copies = [
        reading
        for reading in view.observation.parameters
        if reading.equals is not None and reading.gradient_rms is not None
    ]  # what no gradient reaches is a teacher or target network, and a copy on purpose
    if not copies:
        return
    first = copies[0]
    yield Finding(
        kind="cloned-layers",
        severity="warning",  # gradients differ from layer to layer, and 200 steps show no harm
        where=tuple(reading.name for reading in copies),
        evidence=f"{len(copies)} weights repeat another one, number by number:"
        f" `{first.name}` equals `{first.equals}`",
        cause=f"layers made by {view.habit.copies}, or equal seeds",
        cure=initialize(why="every weight is drawn by its own name"),
    )


def rank_deficient(view: View) -> Iterator[Finding]:
    """rank-deficient: rows that repeat or combine others, though the weight has room for more."""
    rows = [
        reading
        for reading in view.observation.parameters
        if reading.rank_share is not None
        and not reading.constant
        and reading.rank_share < limits.RANK_WARNING
        and reading.name not in view.twinned
    ]
    if not rows:
        return
    worst = min(rows, key=lambda reading: reading.rank_share or 0.0)
    share = worst.rank_share or 0.0
    yield Finding(
        kind="rank-deficient",
        severity="error" if share < limits.RANK_ERROR else "warning",
        where=tuple(reading.name for reading in rows),
        evidence=(
            f"a sample of the rows of `{worst.name}` has {share:.0%} of the rank that it could have"
            + (f"; so in {named([r.name for r in rows])}" if len(rows) > 1 else "")
        ),
        cause="rows are repeated or combined from a few: shards drawn with one seed, an outer"
        " product, or tiled blocks",
        cure=initialize(),
    )


def wild(view: View) -> Iterator[Finding]:
    """non-finite, of values that no law gives: memory that was never filled."""
    rows = [
        reading
        for reading in view.observation.parameters
        if not reading.non_finite and (reading.largest or 0.0) > limits.LARGEST_VALUE
    ]
    if not rows:
        return
    yield Finding(
        kind="non-finite",
        severity="error",
        where=tuple(reading.name for reading in rows),
        evidence=f"`{rows[0].name}` holds values up to {rows[0].largest:.1e}"
        f" (limit {limits.LARGEST_VALUE:g})",
        cause=f"memory that was never filled ({view.habit.unfilled}) or a broken load",
        cure=initialize(),
    )
