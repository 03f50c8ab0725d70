"""What is measured of the weights themselves: parallel units, rank, copies.

Each in one or two passes over the values; nothing grows with the square of the number of units.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.frameworks.torch.beside import readable
from firstlight.records.checkup import ParameterReading
from firstlight.records.network import Parameter

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


_ORDINARY = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def plain_values(tensor: Tensor) -> Tensor:
    """A tensor's values as numbers that can be summed: dense, and of 32 bits or more."""
    values = tensor.detach()
    values = values.dequantize() if values.is_quantized else values
    values = values if values.layout == torch.strided else values.to_dense()
    wide = values.is_complex() or values.dtype in (torch.float32, torch.float64)
    return values if wide else values.float()


def _blocks(values: Tensor, parameter: Parameter) -> Tensor:
    """(stacked, units, incoming …): the matrices that a tensor holds; mostly a view."""
    layout = parameter.layout
    logical = values.reshape(layout.view).permute(layout.order)
    return logical.flatten(0, len(layout.stacks) - 1) if layout.stacks else logical[None]


def _sampled_rows(block: Tensor) -> Tensor:
    """Some units' incoming weights, one row each."""
    # A mirrored start repeats rows, columns or both with the opposite sign, by design.
    logical = _without_mirror(_without_mirror(block).transpose(0, 1)).transpose(0, 1)
    generator = torch.Generator().manual_seed(_SAMPLE_SEED)
    chosen = torch.randperm(len(logical), generator=generator)[:_SAMPLED_ROWS]
    return logical[chosen.to(logical.device)].flatten(1).to("cpu", torch.float64)


def _unit_cosine(rows: Tensor) -> float:
    """Mean cosine of two rows: (‖Σ ŵ‖² − n)/(n(n − 1))."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    total = (rows / norms.clamp_min(torch.finfo(rows.dtype).tiny)).sum(dim=0)
    return float((total @ total - len(rows)) / (len(rows) * (len(rows) - 1)))


def _without_mirror(rows: Tensor) -> Tensor:
    """The upper half of [[U], [−U]]; else all rows.

    Of an odd number, the last twin may be missing, or one row without a twin, or rows of zeros, may
    stand at the end, as in our own starts.
    """
    count = len(rows)
    if count > 1 and not rows[-1].any():
        filled = rows.flatten(1).any(dim=1).nonzero()
        count = int(filled[-1]) + 1 if len(filled) else 0
    for top in {-(-count // 2), count // 2} if count > 1 else ():
        below = rows[top : min(2 * top, count)]
        if torch.equal(below[0], -rows[0]) and torch.equal(below, -rows[: len(below)]):
            return rows[:top]
    return rows


def _rank_share(rows: Tensor) -> float | None:
    """Numerical rank over the number of rows (or columns), by the eigenvalues of the Gram."""
    # Columns that are zero in all rows (the rim of a delta kernel) give no rank.
    rows = rows[:, rows.any(dim=0)]
    rows = rows[: rows.shape[1]]
    if len(rows) < _FEWEST_UNITS:
        return None
    eigenvalues = torch.linalg.eigvalsh(rows @ rows.T)
    largest = float(eigenvalues[-1])
    if largest <= 0:
        return None
    # Eigenvalues of the Gram are squares of singular values.
    return float((eigenvalues > largest * _RELATIVE_RANK_TOLERANCE**2).double().mean())


def _geometry(blocks: Tensor) -> dict[str, float | None]:
    """The largest mean cosine and the smallest rank among the stacked matrices."""
    stacked = len(blocks)
    some = range(0, stacked, -(-stacked // _SAMPLED_BLOCKS))
    samples = [rows for i in some if _has_units(rows := _sampled_rows(blocks[i]))]
    ranks = [share for rows in samples if (share := _rank_share(rows)) is not None]
    return {
        "unit_cosine": max((_unit_cosine(rows) for rows in samples), default=None),
        "rank_share": min(ranks, default=None),
    }


def _has_units(rows: Tensor) -> bool:
    return len(rows) >= _FEWEST_UNITS and rows.shape[1] > 1


def _constant_blocks(blocks: Tensor) -> int:
    """How many of the stacked matrices hold one value; their first row settles most of them."""
    if not 1 < len(blocks) <= _MOST_BLOCKS:
        return 0
    firsts = [block[(0,) * block.dim()] for block in blocks]
    return sum(
        bool((block[0] == first).all()) and bool((block == first).all())
        for block, first in zip(blocks, firsts, strict=True)
    )


def _repeated_rows(rows: Tensor) -> float | None:
    """Share of the units whose incoming weights are, number by number, those of another unit.

    A few columns are compared for all rows; only rows that agree there are read whole. Zeros are
    set aside: they are an intention more often than a copy.
    """
    incoming = rows.shape[1:]
    if len(rows) < 2 or prod(incoming) < _FEWEST_COLUMNS:
        return None
    generator = torch.Generator().manual_seed(_SAMPLE_SEED)
    chosen = torch.randperm(prod(incoming), generator=generator)[:_SAMPLED_COLUMNS]
    places: tuple[Any, ...] = torch.unravel_index(chosen.to(rows.device), incoming)
    glance = rows[:, *places].to("cpu", torch.float64).numpy() + 0.0  # no -0.0
    factors = np.random.default_rng(_SAMPLE_SEED).integers(1, 2**63, glance.shape[1], np.uint64)
    keys = (glance.view(np.uint64) * (factors | np.uint64(1))).sum(axis=1)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[inverse] > 1)
    whole: Counter[int] = Counter()
    for start in range(0, len(suspects), _ROWS_AT_ONCE):
        some = suspects[start : start + _ROWS_AT_ONCE]
        read = rows[torch.from_numpy(some).to(rows.device)].flatten(1).to("cpu").numpy() + 0.0
        whole.update(hash(row.tobytes()) for row in read[read.any(axis=1)])
    return sum(n for n in whole.values() if n > 1) / len(rows)


def _key(tensor: Tensor) -> tuple[object, ...]:
    """What equal tensors share: shape, type and the first values."""
    first = tensor.detach().reshape(-1)[:8].tolist()
    return (tuple(tensor.shape), tensor.dtype, *first)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Which tensors have the very same values as an earlier one.

    Args:
        tensors: trainable weights by name; constant ones and vectors are passed over.

    Returns:
        For each copy, the first tensor that it equals.
    """
    seen: dict[tuple[object, ...], list[str]] = {}
    found: dict[str, str] = {}
    for name, tensor in tensors.items():
        ordinary = tensor.dtype in _ORDINARY and tensor.layout == torch.strided
        if tensor.dim() < 2 or tensor.numel() < 2 or not ordinary:
            continue
        key = _key(tensor)
        earlier = next((n for n in seen.get(key, []) if torch.equal(tensors[n], tensor)), None)
        if earlier is None:
            seen.setdefault(key, []).append(name)
        elif not bool((tensor == tensor.reshape(-1)[0]).all()):
            found[name] = earlier
    return found


def _norm(tensor: Tensor) -> float:
    """‖x‖₂; one BLAS pass, again in float64 where squares leave the range of float32."""
    flat = tensor.detach().reshape(-1)
    flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
    square = float(torch.vdot(flat, flat).abs())
    if _SAFE_SQUARES[0] < square < _SAFE_SQUARES[1]:
        return math.sqrt(square)
    on_host = flat.to("cpu", torch.complex128 if flat.is_complex() else torch.float64)
    return float(torch.linalg.vector_norm(on_host))


def _extremes(flat: Tensor) -> tuple[float, float]:
    """Least and largest value (of the modulus for complex numbers)."""
    if not flat.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(flat.abs() if flat.is_complex() else flat)
    return float(low), float(high)


def _distinct(flat: Tensor) -> int | None:
    """How many values a vector holds if they are few; a glance at its first ones settles most."""
    if len(torch.unique(flat[:16])) > _FEW:
        return None
    number = len(torch.unique(flat))
    return number if number <= _FEW else None


def _reading(
    parameter: Parameter,
    tensor: Tensor,
    gradient: Tensor | None,
    *,
    woken: bool,
    equals: str | None,
    lean: bool,
) -> ParameterReading:
    plain = plain_values(tensor)
    flat = plain.reshape(-1)
    size = max(1, flat.numel())
    norm = _norm(plain)
    # A finite norm spares looking at every value.
    non_finite = 0 if math.isfinite(norm) else int((~torch.isfinite(plain)).sum())
    low, high = _extremes(flat)
    constant = flat.numel() > 1 and low == high
    more: dict[str, Any] = {}
    plainly = tensor.dtype in _ORDINARY and tensor.layout == torch.strided
    if low == high and flat.numel() and plainly:
        more["value"] = low
    drawn = parameter.kind in ("weight", "recurrent", "embedding")
    if drawn and not (lean or constant or non_finite or plain.is_complex()):
        blocks = _blocks(plain, parameter)
        more["repeated_rows"] = _repeated_rows(blocks.flatten(0, 1))
        if parameter.kind != "embedding":
            more |= _geometry(blocks) | {"constant_blocks": _constant_blocks(blocks)}
    if parameter.kind == "bias" and not (non_finite or plain.is_complex()):
        more["distinct_values"] = _distinct(flat)
    return ParameterReading(
        name=parameter.name,
        value_rms=norm / math.sqrt(size),
        gradient_rms=(None if gradient is None else _norm(gradient) / math.sqrt(size)),
        constant=constant,
        non_finite=non_finite,
        zero_gradient_at_start_only=woken,
        largest=max(abs(low), abs(high)),
        equals=equals,
        **more,
    )


def parameter_readings(
    tensors: Mapping[str, Tensor],
    parameters: Sequence[Parameter],
    gradients: Mapping[str, Tensor | None],
    woken: Container[str],
    *,
    lean: bool = False,
) -> tuple[ParameterReading, ...]:
    """What is measured of each parameter: its values, its gradient, its geometry.

    Args:
        tensors: by canonical name.
        parameters: their descriptions.
        gradients: None where the loss does not depend on a parameter, absent for frozen ones.
        woken: names whose zero gradient is gone after one small step.
        lean: leave out what compares units or tensors with each other.

    Returns:
        A record for each that has values, in the order of ``parameters``.
    """
    tensors = {name: value for name, t in tensors.items() if (value := readable(t)) is not None}
    parameters = [p for p in parameters if p.name in tensors]
    # Other parameters (positions, state matrices) may be the same in every layer by design.
    drawn = [p.name for p in parameters if p.kind in ("weight", "recurrent", "embedding")]
    compared = [] if lean else [name for name in drawn if tensors[name].requires_grad]
    copies = _copies({name: tensors[name] for name in compared})
    return tuple(
        _reading(
            parameter,
            tensors[parameter.name],
            gradients.get(parameter.name),
            woken=parameter.name in woken,
            equals=copies.get(parameter.name),
            lean=lean,
        )
        for parameter in parameters
    )
