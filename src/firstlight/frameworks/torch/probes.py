"""What is measured at one operation: sums of its result going forward and of δ coming back.

Few passes over each tensor: per-sample sums of squares, per-unit extremes and random projections.
The full tensors are not kept.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.measuring.estimates import mean_over_samples
from firstlight.measuring.twins import Twins, find_twins
from firstlight.records.checkup import Reading
from firstlight.records.network import Operation

_PROJECTIONS = 3
_PROJECTION_SEED = 1
_RESOLUTION = 1e-6
"""Relative error of a difference of two float32 sums of squares."""

MEASURED = frozenset({"weighted", "activation", "add", "embedding", "composite"})
"""Kinds of operation that get a probe."""


def _host(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy()


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
        self._projected = twins and operation.kind in ("weighted", "activation")
        self._samples = samples
        self._saturated = saturated
        self._forward: dict[str, Any] = {}
        self._backward: dict[str, Any] = {}

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
        directions = torch.randn(before, after, _PROJECTIONS, generator=generator).to(tensor)
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

    def _twins(self, values: NDArray[np.float64], gradients: NDArray[np.float64]) -> Twins:
        if self.operation.kind != "activation":
            return find_twins(values, gradients, up_to_sign=False)
        # Dead units give equal zeros, however different their weights are: they do not count here.
        alive = np.flatnonzero(values.any(axis=1))
        if len(alive) < 2:
            return Twins(units=0, example=None)
        twins = find_twins(values[alive], gradients[alive], up_to_sign=True)
        if twins.example is None:
            return twins
        first, second = (int(alive[i]) for i in twins.example)
        return Twins(units=twins.units, example=(first, second))

    def _spread(self, squares: NDArray[np.float64]) -> float:
        """Mean squared deviation from the batch mean; 0 below the resolution of float32 sums."""
        mean_square = float(squares.mean())
        spread = mean_square - float(self._forward["centre"]) ** 2
        resolved = spread > _RESOLUTION * mean_square
        return spread / self._forward["elements"] if resolved else 0.0

    @property
    def delta_is_zero(self) -> bool:
        """Whether a gradient came back and was exactly zero."""
        return bool(self._backward) and not bool(self._backward["norms"].any())

    @property
    def delta_passed(self) -> bool:
        """Whether a gradient came back that was not zero."""
        return bool(self._backward) and not self.delta_is_zero

    def reading(self) -> Reading:
        """The measurements as a record; squares in float64, where small norms do not underflow."""
        forward, backward = self._forward, self._backward
        more: dict[str, Any] = {}
        if backward:
            deltas = _host(backward["norms"]) ** 2
            in_a_row = self._samples // len(deltas)
            more["delta_square_per_sample"] = mean_over_samples(deltas / max(1, in_a_row))
            more["delta_mean_square"] = mean_over_samples(deltas / backward["elements"])
            more["non_finite_delta"] = backward.get("non_finite", 0)
        if forward.get("projections") is not None and backward.get("projections") is not None:
            twins = self._twins(_host(forward["projections"]), _host(backward["projections"]))
            more["twin_units"], more["twin_example"] = twins.units, twins.example
        squares = _host(forward["norms"]) ** 2
        if len(squares) > 1:
            more["sample_spread"] = self._spread(squares)
        if self.operation.kind == "activation" and forward.get("projections") is not None:
            # A unit that is zero on every sample has exactly zero projections; no other has.
            dead = (forward["projections"] == 0).all(dim=1)
            more["dead_fraction"] = float(dead.float().mean())
        if "saturated" in forward:
            more["saturated_fraction"] = float(forward["saturated"])
        return Reading(
            operation=self.operation.index,
            name=self.operation.name,
            mean=float(forward["mean"]),
            second_moment=mean_over_samples(squares / forward["elements"]),
            non_finite=forward.get("non_finite", 0),
            **more,
        )
