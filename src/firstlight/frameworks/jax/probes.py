"""What is measured at one operation, inside the compiled pass: sums going forward and coming back.

Going forward the sums are further results of the pass. Coming back they are the gradient of a dummy
argument: `tapped` is an identity whose derivative rule hands the cotangent on, and returns the sums
of it where the gradient of the dummy would stand. The full arrays are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from firstlight.measuring.details import detail, every, thinning
from firstlight.measuring.readings import MEASURED, PROJECTED, PROJECTIONS, Sums, reading
from firstlight.records.checkup import Reading
from firstlight.records.network import Operation
from firstlight.theory.activations import activation

_PROJECTION_SEED = 1
_LEAST_SQUARE = 1e-30
"""Sums of squares below this may have lost parts below the least number of float32."""

Statistics = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What to take of one operation's result.

    Args:
        operation: the operation.
        shape: of its result.
        dtype: of its result.
        samples: the batch size; sums are per sample where axis 0 has that length.
        saturated: the values of a bounded activation beyond which it is flat, or None.
        careful: divide by the largest value before squaring, and count what is not finite.
        close: also take a few of its numbers, for a close look.
    """

    operation: Operation
    shape: tuple[int, ...]
    dtype: Any
    samples: int
    saturated: tuple[float, float] | None = None
    projected: bool = True
    careful: bool = False
    close: bool = False

    @property
    def rows(self) -> int:
        """Samples that are told apart."""
        return self.samples if self.shape and self.shape[0] == self.samples else 1

    @property
    def unit_axis(self) -> int | None:
        """The axis of units to compare, if there are several."""
        axis = self.operation.unit_axis
        real = not jnp.issubdtype(self.dtype, jnp.complexfloating)
        compared = real and self.projected and self.operation.kind in PROJECTED
        if not compared or axis is None or axis >= len(self.shape) or self.shape[axis] < 2:
            return None
        return axis

    @property
    def close_axis(self) -> int:
        """The axis of units of a close look: the last one where the operation names none."""
        axis = self.operation.unit_axis
        return axis if axis is not None and 0 < axis < len(self.shape) else len(self.shape) - 1

    @property
    def places(self) -> int:
        """Samples × positions of one unit, of which a random direction has one number each."""
        axis = self.unit_axis
        return 0 if axis is None else prod(self.shape) // self.shape[axis]

    def blank(self) -> dict[str, Array]:
        """The dummy whose gradient will be the sums of δ."""
        real = _real_type(self.dtype)
        sums = {"norms": jnp.zeros(self.rows, real), "came": jnp.zeros((), real)}
        if self.unit_axis is not None:
            sums["projections"] = jnp.zeros((self.shape[self.unit_axis], PROJECTIONS), real)
        if self.careful:
            sums["non_finite"] = jnp.zeros((), real)
        return sums


def probe_of(
    operation: Operation, value: Any, samples: int, *, projected: bool, careful: bool
) -> Probe | None:
    """How to measure an operation's result; None for what is not measured."""
    inexact = jnp.issubdtype(value.dtype, jnp.inexact)
    if operation.kind not in MEASURED or not inexact or not value.size:
        return None
    ref = operation.activation
    return Probe(
        operation=operation,
        shape=tuple(value.shape),
        dtype=value.dtype,
        samples=samples,
        saturated=None if ref is None else activation(ref).saturated,
        projected=projected,
        careful=careful,
    )


def closely(found: Mapping[int, Probe]) -> dict[int, Probe]:
    """The probes, of which an even choice of the weighted operations is looked at closely."""
    close = [i for i, p in found.items() if p.operation.kind == "weighted" and _is_plain(p)]
    chosen = set(close[:: every(len(close))])
    return {i: replace(p, close=True) if i in chosen else p for i, p in found.items()}


def _is_plain(probe: Probe) -> bool:
    return len(probe.shape) > 1 and not jnp.issubdtype(probe.dtype, jnp.complexfloating)


def directions(places: int) -> NDArray[np.float32]:
    """Random directions, one number for each place of a unit; the first rows serve fewer places."""
    generator = np.random.default_rng(_PROJECTION_SEED)
    return generator.standard_normal((places, PROJECTIONS), np.float32)


def _real_type(dtype: Any) -> Any:
    """Sums are taken in float32, or float64 of what has it: 16-bit sums overflow."""
    wide = jnp.dtype(dtype) in (jnp.dtype(jnp.float64), jnp.dtype(jnp.complex128))
    return jnp.float64 if wide else jnp.float32


def _real(value: Array) -> Array:
    if jnp.iscomplexobj(value):
        value = jnp.stack([value.real, value.imag], -1)
        value = value.reshape(*value.shape[:-2], -1)
    return value.astype(_real_type(value.dtype))


def _sum_of_squares(rows: Array) -> Array:
    return jnp.sum(rows * rows, axis=1)


def norms(rows: Array, *, careful: bool) -> Array:
    """Euclidean norm of each row; ``careful``: scaled first where squares leave the range."""
    if not careful:
        return jnp.sqrt(_sum_of_squares(rows))
    largest = jnp.max(jnp.abs(rows), axis=1)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return jnp.sqrt(_sum_of_squares(rows / scale[:, None])) * scale


def _projections(probe: Probe, value: Array, random: Array) -> Array:
    """(units, p): each unit's values over samples and positions on a few random directions."""
    axis = probe.unit_axis
    assert axis is not None
    shape = value.shape
    before, units, after = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    some = random[: before * after].astype(value.dtype)
    exact = partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    if after == 1:
        return exact("bp,bu->pu", some, value.reshape(before, units)).T
    some = some.reshape(before, after, PROJECTIONS)
    return exact("bua,bap->up", value.reshape(before, units, after), some)


def _common(probe: Probe, value: Array, random: Array) -> dict[str, Array]:
    rows = value.reshape(probe.rows, -1)
    sums = {"norms": norms(rows, careful=probe.careful)}
    if probe.unit_axis is not None:
        sums["projections"] = _projections(probe, value, random)
    if probe.careful:
        sums["non_finite"] = jnp.sum(~jnp.isfinite(value)).astype(value.dtype)
    return sums


def forward(probe: Probe, result: Array, random: Array) -> dict[str, Array]:
    """The sums of a result."""
    value = _real(lax.stop_gradient(result))
    rows = value.reshape(probe.rows, -1)
    sums = _common(probe, value, random)
    # As a product: XLA's reductions over the leading axis are a hundred times slower on a CPU.
    each = jnp.full((1, probe.rows), 1 / probe.rows, value.dtype)
    centre = jnp.matmul(each, rows, precision=lax.Precision.HIGHEST)
    sums["mean"] = jnp.mean(centre)
    sums["centre"] = norms(centre, careful=probe.careful)[0]
    if probe.saturated is not None:
        low, high = probe.saturated
        sums["saturated"] = jnp.mean(((value < low) | (value > high)).astype(value.dtype))
    if probe.close:
        sums["few"] = value[thinning(probe.shape, probe.close_axis)]
    return sums


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def tapped(probe: Probe, value: Array, dummy: Statistics, random: Array) -> Array:
    """``value``; the gradient of ``dummy`` is the sums of the cotangent that comes back."""
    del probe, dummy, random
    return value


def _tapped_forward(
    probe: Probe, value: Array, dummy: Statistics, random: Array
) -> tuple[Array, Array]:
    del probe, dummy
    return value, random


def _tapped_backward(probe: Probe, random: Array, cotangent: Array) -> tuple[Any, ...]:
    delta = _real(cotangent)
    sums = _common(probe, delta, random)
    sums["came"] = jnp.ones((), delta.dtype)
    return cotangent, sums, None


tapped.defvjp(_tapped_forward, _tapped_backward)


@jax.custom_vjp
def flagged(value: Array, dummy: Array) -> Array:
    """``value``; the gradient of ``dummy`` is 1 if a cotangent came back at all, else 0."""
    del dummy
    return value


flagged.defvjp(
    lambda value, dummy: (value, dummy),
    lambda dummy, cotangent: (cotangent, jnp.ones_like(dummy)),
)


def _host(value: Any) -> NDArray[np.float64]:
    return np.asarray(value).astype(np.float64)


def sums_of(probe: Probe, taken: Statistics) -> Sums:
    """What was taken, on the host."""
    projections = taken.get("projections")
    complex_parts = 2 if jnp.issubdtype(probe.dtype, jnp.complexfloating) else 1
    return Sums(
        norms=_host(taken["norms"]),
        elements=complex_parts * prod(probe.shape) // probe.rows,
        mean=float(taken["mean"]) if "mean" in taken else None,
        centre=float(taken["centre"]) if "centre" in taken else None,
        projections=None if projections is None else _host(projections),
        saturated=float(taken["saturated"]) if "saturated" in taken else None,
        non_finite=int(taken.get("non_finite", 0)),
    )


def strained(taken: Statistics) -> bool:
    """Whether squares left the range of float32, so that they must be taken with care."""
    lengths = _host(taken["norms"])
    with np.errstate(all="ignore"):
        squares = lengths**2
        if not np.isfinite(squares).all() or ((squares > 0) & (squares < _LEAST_SQUARE)).any():
            return True
    if lengths.all():
        return False
    # Zero, or too small to square: sums without squares tell.
    rest = [taken[key] for key in ("projections", "mean", "centre") if key in taken]
    return not lengths.any() and any(bool(np.any(np.asarray(each))) for each in rest)


def came(taken: Statistics) -> bool:
    """Whether a gradient came back."""
    return bool(taken["came"])


def reading_of(probe: Probe, value: Statistics, delta: Statistics | None) -> Reading:
    """The reading of one operation."""
    back = sums_of(probe, delta) if delta is not None and came(delta) else None
    found = reading(probe.operation, probe.samples, sums_of(probe, value), back)
    if "few" not in value:
        return found
    few = np.moveaxis(_host(value["few"]), probe.close_axis, 1)
    sample = few.reshape(*few.shape[:2], -1)
    units = probe.shape[probe.close_axis]
    return replace(found, detail=detail(sample, per_sample=probe.rows > 1, of_units=units))
