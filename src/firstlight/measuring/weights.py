"""What is measured of the weights themselves, as arrays: parallel units, rank, copies.

Each in one or two passes over the values; nothing grows with the square of the number of units.
Torch's room measures the same on tensors, where they lie.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.records.checkup import ParameterReading
from firstlight.records.network import Parameter

Values = NDArray[Any]

_SAMPLED_ROWS = 64
_SAMPLED_BLOCKS = 4
"""All gates of a recurrent weight, all of q, k and v; of more experts or groups, some."""

_MOST_BLOCKS = 64
_FEWEST_UNITS = 8
_SAMPLED_COLUMNS = 16
_ROWS_AT_ONCE = 256
_FEWEST_COLUMNS = 4
"""Rows of fewer numbers may agree by chance, of 16 bits above all."""

_RELATIVE_RANK_TOLERANCE = 1e-5
_SAMPLE_SEED = 4
_FEW = 4
"""A vector with so few values was filled by somebody who chose them."""
_SAFE_SQUARES = (1e-24, 1e36)
"""Sums of squares that float32 holds with no part lost below its smallest number."""
_DRAWN = ("weight", "recurrent", "embedding")


def plain(values: Values) -> Values:
    """Values as numbers that can be summed: of 32 bits or more.

    >>> plain(np.ones(2, np.float16)).dtype
    dtype('float32')
    """
    wide = values.dtype in (np.float32, np.float64) or values.dtype.kind == "c"
    return values if wide else values.astype(np.float32)


def norm(values: Values) -> float:
    """‖x‖₂; one BLAS pass, again in float64 where squares leave the range of float32.

    >>> f"{norm(np.array([3e-30, 4e-30], np.float32)):.4g}"
    '5e-30'
    """
    flat = plain(values).reshape(-1)
    with np.errstate(all="ignore"):
        square = float(abs(np.vdot(flat, flat)))
        if _SAFE_SQUARES[0] < square < _SAFE_SQUARES[1]:
            return math.sqrt(square)
        wide = flat.astype(np.complex128 if flat.dtype.kind == "c" else np.float64)
        return float(np.linalg.norm(wide))


def _blocks(values: Values, parameter: Parameter) -> Values:
    """(stacked, units, incoming …): the matrices that a tensor holds; mostly a view."""
    layout = parameter.layout
    logical = values.reshape(layout.view).transpose(layout.order)
    stacked = len(layout.stacks)
    return logical.reshape(-1, *logical.shape[stacked:])


def _sampled_rows(block: Values) -> NDArray[np.float64]:
    """Some units' incoming weights, one row each."""
    # A mirrored start repeats rows, columns or both with the opposite sign, by design.
    logical = _without_mirror(_without_mirror(block).swapaxes(0, 1)).swapaxes(0, 1)
    chosen = np.random.default_rng(_SAMPLE_SEED).permutation(len(logical))[:_SAMPLED_ROWS]
    return logical[chosen].reshape(len(chosen), -1).astype(np.float64)


def _without_mirror(rows: Values) -> Values:
    """The upper half of [[U], [−U]]; else all rows.

    Of an odd number, the last twin may be missing, or one row without a twin, or rows of zeros, may
    stand at the end, as in our own starts.
    """
    count = len(rows)
    if count > 1 and not rows[-1].any():
        filled = np.flatnonzero(rows.any(axis=tuple(range(1, rows.ndim))))
        count = int(filled[-1]) + 1 if len(filled) else 0
    for top in {-(-count // 2), count // 2} if count > 1 else ():
        below = rows[top : min(2 * top, count)]
        if np.array_equal(below[0], -rows[0]) and np.array_equal(below, -rows[: len(below)]):
            return rows[:top]
    return rows


def _unit_cosine(rows: NDArray[np.float64]) -> float:
    """Mean cosine of two rows: (‖Σ ŵ‖² − n)/(n(n − 1))."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    total = (rows / np.maximum(norms, np.finfo(np.float64).tiny)).sum(axis=0)
    return float((total @ total - len(rows)) / (len(rows) * (len(rows) - 1)))


def _rank_share(rows: NDArray[np.float64]) -> float | None:
    """Numerical rank over the number of rows (or columns), by the eigenvalues of the Gram."""
    # Columns that are zero in all rows (the rim of a delta kernel) give no rank.
    rows = rows[:, rows.any(axis=0)]
    rows = rows[: rows.shape[1]]
    if len(rows) < _FEWEST_UNITS:
        return None
    eigenvalues = np.linalg.eigvalsh(rows @ rows.T)
    largest = float(eigenvalues[-1])
    if largest <= 0:
        return None
    # Eigenvalues of the Gram are squares of singular values.
    return float((eigenvalues > largest * _RELATIVE_RANK_TOLERANCE**2).mean())


def _has_units(rows: Values) -> bool:
    return len(rows) >= _FEWEST_UNITS and rows.shape[1] > 1


def _geometry(blocks: Values) -> dict[str, float | None]:
    """The largest mean cosine and the smallest rank among the stacked matrices."""
    some = range(0, len(blocks), -(-len(blocks) // _SAMPLED_BLOCKS))
    samples = [rows for i in some if _has_units(rows := _sampled_rows(blocks[i]))]
    ranks = [share for rows in samples if (share := _rank_share(rows)) is not None]
    return {
        "unit_cosine": max((_unit_cosine(rows) for rows in samples), default=None),
        "rank_share": min(ranks, default=None),
    }


def _constant_blocks(blocks: Values) -> int:
    """How many of the stacked matrices hold one value; their first row settles most of them."""
    if not 1 < len(blocks) <= _MOST_BLOCKS:
        return 0
    firsts = [block[(0,) * block.ndim] for block in blocks]
    return sum(
        bool((block[0] == first).all()) and bool((block == first).all())
        for block, first in zip(blocks, firsts, strict=True)
    )


def _repeated_rows(rows: Values) -> float | None:
    """Share of the units whose incoming weights are, number by number, those of another unit.

    A few columns are compared for all rows; only rows that agree there are read whole. Zeros are
    set aside: they are an intention more often than a copy.
    """
    incoming = rows.shape[1:]
    if len(rows) < 2 or prod(incoming) < _FEWEST_COLUMNS:
        return None
    generator = np.random.default_rng(_SAMPLE_SEED)
    chosen = generator.permutation(prod(incoming))[:_SAMPLED_COLUMNS]
    places: tuple[Any, ...] = np.unravel_index(chosen, incoming)
    glance = rows[(slice(None), *places)].astype(np.float64, order="C") + 0.0  # no -0.0
    factors = generator.integers(1, 2**63, glance.shape[1], np.uint64) | np.uint64(1)
    keys = (glance.view(np.uint64) * factors).sum(axis=1)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[inverse] > 1)
    whole: Counter[int] = Counter()
    for start in range(0, len(suspects), _ROWS_AT_ONCE):
        some = suspects[start : start + _ROWS_AT_ONCE]
        read = rows[some].reshape(len(some), -1) + np.array(0, rows.dtype)
        whole.update(hash(row.tobytes()) for row in read[read.any(axis=1)])
    return sum(n for n in whole.values() if n > 1) / len(rows)


def _distinct(flat: Values) -> int | None:
    """How many values a vector holds if they are few; a glance at its first ones settles most."""
    if len(np.unique(flat[:16])) > _FEW:
        return None
    number = len(np.unique(flat))
    return number if number <= _FEW else None


def _copies(arrays: Mapping[str, Values]) -> dict[str, str]:
    """Which arrays have the very same values as an earlier one.

    Args:
        arrays: trainable weights by name; constant ones and vectors are passed over.

    Returns:
        For each copy, the first array that it equals.
    """
    seen: dict[tuple[object, ...], list[str]] = {}
    found: dict[str, str] = {}
    for name, array in arrays.items():
        if array.ndim < 2 or array.size < 2:
            continue
        key = (array.shape, array.dtype, *array.flat[:8].tolist())
        earlier = next((n for n in seen.get(key, []) if np.array_equal(arrays[n], array)), None)
        if earlier is None:
            seen.setdefault(key, []).append(name)
        elif not bool((array == array.flat[0]).all()):
            found[name] = earlier
    return found


def _reading(
    parameter: Parameter,
    array: Values,
    gradient_norm: float | None,
    *,
    woken: bool,
    equals: str | None,
    lean: bool,
) -> ParameterReading:
    values = plain(array)
    flat = values.reshape(-1)
    size = max(1, flat.size)
    length = norm(values)
    # A finite norm spares looking at every value.
    non_finite = 0 if math.isfinite(length) else int((~np.isfinite(values)).sum())
    modulus = abs(flat) if values.dtype.kind == "c" else flat
    low, high = (float(modulus.min()), float(modulus.max())) if flat.size else (0.0, 0.0)
    constant = flat.size > 1 and low == high
    more: dict[str, Any] = {}
    if low == high and flat.size and values.dtype.kind == "f":
        more["value"] = low
    judged = not non_finite and values.dtype.kind != "c"
    if parameter.kind in _DRAWN and judged and not (lean or constant):
        blocks = _blocks(values, parameter)
        more["repeated_rows"] = _repeated_rows(blocks.reshape(-1, *blocks.shape[2:]))
        if parameter.kind != "embedding":
            more |= _geometry(blocks) | {"constant_blocks": _constant_blocks(blocks)}
    if parameter.kind == "bias" and judged:
        more["distinct_values"] = _distinct(flat)
    return ParameterReading(
        name=parameter.name,
        value_rms=length / math.sqrt(size),
        gradient_rms=None if gradient_norm is None else gradient_norm / math.sqrt(size),
        constant=constant,
        non_finite=non_finite,
        zero_gradient_at_start_only=woken,
        largest=max(abs(low), abs(high)),
        equals=equals,
        **more,
    )


def parameter_readings(
    arrays: Mapping[str, Values],
    parameters: Sequence[Parameter],
    gradient_norms: Mapping[str, float | None],
    woken: Container[str] = (),
    *,
    lean: bool = False,
) -> tuple[ParameterReading, ...]:
    """What is measured of each parameter: its values, its gradient, its geometry.

    Args:
        arrays: by canonical name.
        parameters: their descriptions.
        gradient_norms: ‖∇‖₂; None where the loss does not depend on a parameter, absent for frozen
            ones.
        woken: names whose zero gradient is gone after a few small steps.
        lean: leave out what compares units or arrays with each other.

    Returns:
        A record for each, in the order of ``parameters``.
    """
    # Other parameters (positions, state matrices) may be the same in every layer by design.
    drawn = [p.name for p in parameters if p.kind in _DRAWN and p.trainable and not lean]
    copies = _copies({name: arrays[name] for name in drawn})
    return tuple(
        _reading(
            parameter,
            arrays[parameter.name],
            gradient_norms.get(parameter.name),
            woken=parameter.name in woken,
            equals=copies.get(parameter.name),
            lean=lean,
        )
        for parameter in parameters
    )
