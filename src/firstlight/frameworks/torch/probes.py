"""What is measured at one operation: sums of its result going forward and of δ coming back.

Few passes over each tensor: per-sample sums of squares, per-unit extremes and random projections.
The full tensors are not kept.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.measuring.details import detail, thinning
from firstlight.measuring.readings import MEASURED, PROJECTED, PROJECTIONS, Sums, reading
from firstlight.records.checkup import Reading
from firstlight.records.network import Operation

_PROJECTION_SEED = 1

__all__ = ["MEASURED", "Probe"]


def _host(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _sums(taken: dict[str, Any]) -> Sums:
    """What was taken, on the host."""
    projections = taken.get("projections")
    return Sums(
        norms=_host(taken["norms"]),
        elements=taken["elements"],
        mean=float(taken["mean"]) if "mean" in taken else None,
        centre=float(taken["centre"]) if "centre" in taken else None,
        projections=None if projections is None else _host(projections),
        saturated=float(taken["saturated"]) if "saturated" in taken else None,
        non_finite=taken.get("non_finite", 0),
    )


def _real(tensor: Tensor) -> Tensor:
    """Statistics are taken in float32: 16-bit sums overflow, and some devices have no float64."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor).flatten(-2)
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _norms(rows: Tensor) -> Tensor:
    """Euclidean norm of each row; scaled first where squares of finite values overflow."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    if not bool(torch.isfinite(norms).all()):
        largest = rows.abs().amax(dim=1).clamp(min=1.0)
        norms = torch.linalg.vector_norm(rows / largest[:, None], dim=1) * largest
    return norms


class Probe:
    """The measurements of one operation, filled going forward and coming back.

    Args:
        operation: what is measured.
        samples: the batch size; statistics are per sample where axis 0 has that length.
        saturated: the values of a bounded activation beyond which it is flat, or None.
    """

    def __init__(
        self,
        operation: Operation,
        samples: int,
        saturated: tuple[float, float] | None,
        *,
        twins: bool = True,
    ) -> None:
        self.operation = operation
        self._projected = twins and operation.kind in PROJECTED
        self._samples = samples
        self._saturated = saturated
        self._forward: dict[str, Any] = {}
        self._backward: dict[str, Any] = {}
        self._thin: tuple[Tensor, int] | None = None

    @property
    def is_close(self) -> bool:
        """Whether this operation is looked at closely."""
        return self._thin is not None

    def look_away(self) -> None:
        """Forget the close look: there are too many."""
        self._thin = None

    def look_closely(self, result: Tensor) -> None:
        """Keep a few of the result's numbers; a copy, since results may be written over."""
        values = _real(result)
        if values.dim() < 2 or not values.numel():
            return
        axis = self.operation.unit_axis
        axis = axis if axis is not None and 0 < axis < values.dim() else values.dim() - 1
        few = values[thinning(values.shape, axis)].movedim(axis, 1)
        self._thin = few.to("cpu", torch.float64, copy=True), values.shape[axis]

    def _per_sample(self, tensor: Tensor) -> Tensor:
        """(samples, elements); all in one row where axis 0 is not the batch (time-major, flat)."""
        batched = tensor.dim() > 0 and tensor.shape[0] == self._samples
        return tensor.reshape(self._samples if batched else 1, -1)

    def _projections(self, tensor: Tensor) -> Tensor | None:
        """(units, p): each unit's values over samples and positions on a few random directions."""
        axis = self.operation.unit_axis
        if axis is None or axis >= tensor.dim() or tensor.shape[axis] < 2:
            return None
        units = tensor.shape[axis]
        generator = torch.Generator(device="cpu").manual_seed(_PROJECTION_SEED)
        before, after = prod(tensor.shape[:axis]), prod(tensor.shape[axis + 1 :])
        directions = torch.randn(before, after, PROJECTIONS, generator=generator).to(tensor)
        if after == 1:
            return tensor.reshape(before, units).T @ directions[:, 0]
        # In the tensor's own order: no copy of it is made.
        return (tensor.reshape(before, units, after) @ directions).sum(dim=0)

    def forward(self, result: Tensor) -> None:
        """Measure the result of the operation."""
        values = _real(result)
        flat = self._per_sample(values)
        norms = _norms(flat)
        centre = flat.mean(dim=0)
        self._forward = {
            "norms": norms,
            "elements": flat.shape[1],
            "mean": centre.mean(),
            "centre": _norms(centre[None])[0],
        }
        if not bool(torch.isfinite(norms.sum())):
            self._forward["non_finite"] = int((~torch.isfinite(values)).sum())
        if self._projected:
            self._forward["projections"] = self._projections(values)
        if self._saturated is not None:
            low, high = self._saturated
            self._forward["saturated"] = ((values < low) | (values > high)).float().mean()

    def backward(self, gradient: Tensor | None) -> None:
        """Measure δ, the gradient with respect to the result; none comes through some functions."""
        if gradient is None:
            return
        values = _real(gradient)
        flat = self._per_sample(values)
        norms = _norms(flat)
        self._backward = {"norms": norms, "elements": flat.shape[1]}
        if not bool(torch.isfinite(norms.sum())):
            self._backward["non_finite"] = int((~torch.isfinite(values)).sum())
        if self._projected:
            self._backward["projections"] = self._projections(values)

    @property
    def delta_is_zero(self) -> bool:
        """Whether a gradient came back and was exactly zero."""
        return bool(self._backward) and not bool(self._backward["norms"].any())

    @property
    def delta_passed(self) -> bool:
        """Whether a gradient came back that was not zero."""
        return bool(self._backward) and not self.delta_is_zero

    def reading(self) -> Reading:
        """The measurements as a record."""
        delta = _sums(self._backward) if self._backward else None
        found = reading(self.operation, self._samples, _sums(self._forward), delta)
        if self._thin is None:
            return found
        few, units = self._thin
        sample = few.reshape(*few.shape[:2], -1).numpy()
        per_sample = len(self._forward["norms"]) > 1
        return replace(found, detail=detail(sample, per_sample=per_sample, of_units=units))
