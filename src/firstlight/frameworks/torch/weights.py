"""What is measured of the weights themselves: parallel units, rank, copies.

Each in one or two passes over the values; nothing grows with the square of the number of units.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence

import torch
from torch import Tensor

from firstlight.records.checkup import ParameterReading
from firstlight.records.network import Parameter

_SAMPLED_ROWS = 64
_FEWEST_UNITS = 8
_RELATIVE_RANK_TOLERANCE = 1e-5
_SAMPLE_SEED = 4


def _sampled_rows(tensor: Tensor, parameter: Parameter) -> Tensor:
    """Some units' incoming weights, one row each, of the first stacked matrix."""
    layout = parameter.layout
    logical = tensor.detach().reshape(layout.view).permute(layout.order)
    for _ in layout.stacks:
        logical = logical[0]
    # A mirrored start repeats rows, columns or both with the opposite sign, by design.
    logical = _without_mirror(_without_mirror(logical).transpose(0, 1)).transpose(0, 1)
    generator = torch.Generator().manual_seed(_SAMPLE_SEED)
    chosen = torch.randperm(len(logical), generator=generator)[:_SAMPLED_ROWS]
    return logical[chosen.to(logical.device)].flatten(1).to("cpu", torch.float64)


def _unit_cosine(rows: Tensor) -> float:
    """Mean cosine of two rows: (‖Σ ŵ‖² − n)/(n(n − 1))."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    total = (rows / norms.clamp_min(torch.finfo(rows.dtype).tiny)).sum(dim=0)
    return float((total @ total - len(rows)) / (len(rows) * (len(rows) - 1)))


def _without_mirror(rows: Tensor) -> Tensor:
    """The upper half of [[U], [−U]]; else all rows."""
    top = -(-len(rows) // 2)
    if len(rows) < 2 or not torch.equal(rows[top], -rows[0]):
        return rows
    return rows[:top] if torch.equal(rows[top:], -rows[: len(rows) - top]) else rows


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
        if tensor.dim() < 2 or tensor.numel() < 2 or tensor.is_complex():
            continue
        key = _key(tensor)
        earlier = next((n for n in seen.get(key, []) if torch.equal(tensors[n], tensor)), None)
        if earlier is None:
            seen.setdefault(key, []).append(name)
        elif not bool((tensor == tensor.reshape(-1)[0]).all()):
            found[name] = earlier
    return found


def _extremes(flat: Tensor) -> tuple[float, float]:
    """Least and largest value (of the modulus for complex numbers)."""
    if not flat.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(flat.abs() if flat.is_complex() else flat)
    return float(low), float(high)


def _reading(
    parameter: Parameter,
    tensor: Tensor,
    gradient: Tensor | None,
    *,
    woken: bool,
    equals: str | None,
) -> ParameterReading:
    values = tensor.detach()
    plain = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    flat = plain.reshape(-1)
    size = max(1, flat.numel())
    norm = float(torch.linalg.vector_norm(plain))
    # A finite norm spares looking at every value.
    non_finite = 0 if math.isfinite(norm) else int((~torch.isfinite(plain)).sum())
    low, high = _extremes(flat)
    constant = flat.numel() > 1 and low == high
    geometry: dict[str, float | None] = {}
    if parameter.kind in ("weight", "recurrent") and not (
        constant or non_finite or plain.is_complex()
    ):
        rows = _sampled_rows(plain, parameter)
        if len(rows) >= _FEWEST_UNITS and rows.shape[1] > 1:
            geometry = {"unit_cosine": _unit_cosine(rows), "rank_share": _rank_share(rows)}
    return ParameterReading(
        name=parameter.name,
        value_rms=norm / math.sqrt(size),
        gradient_rms=(
            None
            if gradient is None
            else float(torch.linalg.vector_norm(gradient.detach().float())) / math.sqrt(size)
        ),
        constant=constant,
        non_finite=non_finite,
        zero_gradient_at_start_only=woken,
        largest=max(abs(low), abs(high)),
        equals=equals,
        **geometry,
    )


def parameter_readings(
    tensors: Mapping[str, Tensor],
    parameters: Sequence[Parameter],
    gradients: Mapping[str, Tensor | None],
    woken: Container[str],
) -> tuple[ParameterReading, ...]:
    """What is measured of each parameter: its values, its gradient, its geometry.

    Args:
        tensors: by canonical name.
        parameters: their descriptions.
        gradients: None where the loss does not depend on a parameter, absent for frozen ones.
        woken: names whose zero gradient is gone after one small step.

    Returns:
        A record for each, in the order of ``parameters``.
    """
    # Other parameters (positions, state matrices) may be the same in every layer by design.
    drawn = [p.name for p in parameters if p.kind in ("weight", "recurrent", "embedding")]
    copies = _copies({n: tensors[n] for n in drawn if tensors[n].requires_grad})
    return tuple(
        _reading(
            parameter,
            tensors[parameter.name],
            gradients.get(parameter.name),
            woken=parameter.name in woken,
            equals=copies.get(parameter.name),
        )
        for parameter in parameters
    )
