"""Operands that no operation made: constants, masks, rows that are looked up."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firstlight.frameworks.torch.beside import MASKED_BELOW, has_values, hidden
from firstlight.frameworks.torch.told import Told, numbers
from firstlight.records.network import Options


def constants(call: Told) -> Options:
    """Moments of the operand that is no result, and how much of it is a mask.

    Mean, mean square, and mean square of the average over all axes but the last.
    """
    values = [*call.args[:2], call.keywords.get("other"), call.keywords.get("exponent")]
    given = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if given:
        value = float(given[0])
        first = isinstance(call.args[0], int | float) if call.args else False
        return (("constant", (value, value**2, value**2)), ("constant_first", (float(first),)))
    for place, (tensor, source) in enumerate(zip(call.operands, call.sources, strict=True)):
        if source < 0 and not isinstance(tensor, torch.nn.Parameter):
            name = "expression" if call.computed[place] else "constant"
            return (*_constant_tensor(tensor, name), ("constant_first", (float(place == 0),)))
    return ()


def _constant_tensor(tensor: Tensor, name: str) -> Options:
    masked = None if tensor.is_complex() else hidden(tensor)
    if masked is not None and bool(masked.any()):
        return (("inverse_visible", (_inverse_visible(~masked),)),)
    if not has_values(tensor):
        return ()
    values = (tensor.detach().abs() if tensor.is_complex() else tensor.detach()).float()
    mean, square = float(values.mean()), float((values**2).mean())
    centre = values.mean(dim=list(range(values.dim() - 1))) if values.dim() > 1 else values
    alike = float((centre**2).mean())
    return ((name, (mean, square, alike)),) if math.isfinite(square + alike) else ()


def _inverse_visible(visible: Tensor) -> float:
    """Mean over the rows of one over the number of keys that a row sees.

    To six digits: every framework comes to the same number, and so to the same weights.
    """
    counts = visible.sum(dim=-1).double()
    return float(f"{float((1 / counts.clamp(min=1)).mean()):.6g}") if counts.numel() else 1.0


def filled(call: Told) -> Options:
    """What a masked fill hides, or the share that it replaces and by what."""
    mask, value = call.get(1, "mask"), call.get(2, "value", 0.0)
    if not isinstance(mask, Tensor):
        return ()
    number = float(value) if not isinstance(value, Tensor) else float(value.detach())
    if number < MASKED_BELOW:
        full = mask.broadcast_to((*mask.shape[:-1], call.result.shape[-1]))
        return (("inverse_visible", (_inverse_visible(~full),)),)
    return (("filled", (float(mask.float().mean()), number)),)


def chosen(call: Told) -> Options:
    """What ``where(mask, scores, -inf)`` hides of the scores: a masked fill, spelled otherwise."""
    mask, scores, other = call.get(0, "condition"), call.get(1, "input"), call.get(2, "other")
    if not isinstance(mask, Tensor) or not isinstance(scores, Tensor) or scores.numel() == 1:
        return ()
    value = other.detach() if isinstance(other, Tensor) and other.numel() == 1 else other
    if isinstance(value, Tensor | float | int) and float(value) < MASKED_BELOW:
        full = mask.broadcast_to((*mask.shape[:-1], call.result.shape[-1]))
        return (("inverse_visible", (_inverse_visible(full),)),)
    return ()


def attention(call: Told) -> Options:
    """Dropout, scale and mask of an attention."""
    mask, causal = call.get(3, "attn_mask"), bool(call.get(5, "is_causal", False))
    scale = call.get(6, "scale")
    found: list[tuple[str, tuple[float, ...]]] = [
        ("dropout", numbers(call.get(4, "dropout_p", 0.0))),
        ("scale", (float(scale if scale is not None else call.operands[0].shape[-1] ** -0.5),)),
        ("causal", (float(causal),)),
    ]
    if isinstance(mask, Tensor) and not causal:
        seen = mask if mask.dtype == torch.bool else ~hidden(mask)
        full = seen.broadcast_to(
            torch.broadcast_shapes(
                seen.shape, (call.operands[0].shape[-2], call.operands[1].shape[-2])
            )
        )
        found.append(("inverse_visible", (_inverse_visible(full),)))
    return tuple(found)


def lookup(call: Told) -> Options:
    """How often two places look up the same row, and how often the padding row."""
    ids = next((t for t in call.operands if not t.is_floating_point()), None)
    if ids is None or ids.numel() == 0:
        return ()
    rows = ids.reshape(ids.shape[0], -1) if ids.dim() > 1 else ids.reshape(-1, 1)
    same_sample, anywhere = _collisions(rows), _collisions(rows.reshape(1, -1))
    pairs_inside = rows.shape[0] * rows.shape[1] * (rows.shape[1] - 1)
    pairs = rows.numel() * (rows.numel() - 1)
    across = pairs - pairs_inside
    samples = (anywhere * pairs - same_sample * pairs_inside) / across if across else 1.0
    near = float((rows[:, 1:] == rows[:, :-1]).float().mean()) if rows.shape[1] > 1 else 1.0
    padding = call.get(2, "padding_idx")
    padded = 0.0 if padding is None else float((ids == padding).float().mean())
    return (
        ("same", (near, same_sample if pairs_inside else 1.0, samples)),
        ("padded", (padded,)),
    )


def _collisions(rows: Tensor) -> float:
    """Share of the pairs of entries of a row that are equal, over all rows."""
    ordered = rows.sort(dim=1).values
    length = ordered.shape[1]
    if length < 2:
        return 0.0
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    counts = torch.bincount(starts.reshape(-1).cumsum(0) - 1).float()
    return float((counts * (counts - 1)).sum()) / (rows.shape[0] * length * (length - 1))
