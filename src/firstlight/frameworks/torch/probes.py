"""What is measured at one operation: sums of its result going forward and of δ coming back.

Few passes over each tensor: per-sample sums of squares, per-unit extremes and random projections.
The full tensors are not kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.measuring.estimates import mean_over_samples
from firstlight.measuring.twins import find_twins
from firstlight.records.checkup import Reading
from firstlight.records.network import Operation

_PROJECTIONS = 3
_PROJECTION_SEED = 1
MEASURED = frozenset({"weighted", "activation", "add", "embedding", "norm", "composite"})
"""Kinds of operation that get a probe."""


def _host(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _real(tensor: Tensor) -> Tensor:
    """Statistics are taken in float32: 16-bit sums overflow, and some devices have no float64."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor).flatten(-2)
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class Probe:
    """The measurements of one operation, filled going forward and coming back.

    Args:
        operation: what is measured.
        samples: the batch size; statistics are per sample where axis 0 has that length.
        saturated: the values of a bounded activation beyond which it is flat, or None.
    """

    def __init__(
        self, operation: Operation, samples: int, saturated: tuple[float, float] | None
    ) -> None:
        self.operation = operation
        self._samples = samples
        self._saturated = saturated
        self._forward: dict[str, Any] = {}
        self._backward: dict[str, Any] = {}

    def _per_sample(self, tensor: Tensor) -> Tensor:
        batched = tensor.dim() > 0 and tensor.shape[0] == self._samples
        return tensor.reshape(self._samples if batched else 1, -1)

    def _projections(self, tensor: Tensor) -> Tensor | None:
        axis = self.operation.unit_axis
        if axis is None or axis >= tensor.dim() or tensor.shape[axis] < 2:
            return None
        rows = tensor.movedim(axis, 0).flatten(1)
        generator = torch.Generator(device="cpu").manual_seed(_PROJECTION_SEED)
        directions = torch.randn(rows.shape[1], _PROJECTIONS, generator=generator)
        return rows @ directions.to(rows)

    def forward(self, result: Tensor) -> None:
        """Measure the result of the operation."""
        values = _real(result)
        flat = self._per_sample(values)
        norms = torch.linalg.vector_norm(flat, dim=1)
        self._forward = {"norms": norms, "elements": flat.shape[1], "mean": values.mean()}
        if flat.shape[0] > 1:
            # The norm of the deviations, not their squares: small signals must not underflow.
            deviation = torch.linalg.vector_norm(flat - flat.mean(dim=0))
            self._forward["deviation"] = deviation
        if not bool(torch.isfinite(norms.sum())):
            self._forward["non_finite"] = int((~torch.isfinite(values)).sum())
        if self.operation.kind in ("weighted", "activation"):
            self._forward["projections"] = self._projections(values)
        axis = self.operation.unit_axis
        if self.operation.kind == "activation":
            if axis is not None and values.dim() > 1:
                others = [d for d in range(values.dim()) if d != axis]
                self._forward["dead"] = values.abs().amax(dim=others) == 0
            if self._saturated is not None:
                low, high = self._saturated
                self._forward["saturated"] = ((values < low) | (values > high)).float().mean()

    def backward(self, gradient: Tensor) -> None:
        """Measure δ, the gradient with respect to the result."""
        values = _real(gradient)
        flat = self._per_sample(values)
        norms = torch.linalg.vector_norm(flat, dim=1)
        self._backward = {"norms": norms, "elements": flat.shape[1]}
        if not bool(torch.isfinite(norms.sum())):
            self._backward["non_finite"] = int((~torch.isfinite(values)).sum())
        if self.operation.kind in ("weighted", "activation"):
            self._backward["projections"] = self._projections(values)

    @property
    def delta_is_zero(self) -> bool:
        """Whether a gradient came back and was exactly zero."""
        return bool(self._backward) and not bool(self._backward["norms"].any())

    def reading(self) -> Reading:
        """The measurements as a record; squares in float64, where small norms do not underflow."""
        forward, backward = self._forward, self._backward
        more: dict[str, Any] = {}
        if backward:
            squares = _host(backward["norms"]) ** 2
            more["delta_square_per_sample"] = mean_over_samples(squares)
            more["delta_mean_square"] = mean_over_samples(squares / backward["elements"])
            more["non_finite_delta"] = backward.get("non_finite", 0)
        values, gradients = forward.get("projections"), backward.get("projections")
        if values is not None and gradients is not None:
            odd_twins = self.operation.kind == "activation"
            twins = find_twins(_host(values), _host(gradients), up_to_sign=odd_twins)
            more["twin_units"], more["twin_example"] = twins.units, twins.example
        if "deviation" in forward:
            size = forward["elements"] * len(forward["norms"])
            more["sample_spread"] = float(forward["deviation"]) ** 2 / size
        if "dead" in forward:
            more["dead_fraction"] = float(forward["dead"].float().mean())
        if "saturated" in forward:
            more["saturated_fraction"] = float(forward["saturated"])
        return Reading(
            operation=self.operation.index,
            name=self.operation.name,
            mean=float(forward["mean"]),
            second_moment=mean_over_samples(_host(forward["norms"]) ** 2 / forward["elements"]),
            non_finite=forward.get("non_finite", 0),
            **more,
        )
