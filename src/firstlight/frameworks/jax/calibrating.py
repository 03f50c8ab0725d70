"""Calibration of JAX models: all corrections of a pass in one compiled function.

As the steps of the program run, the result of each weighted operation is rescaled and the rest goes
on with the corrected one. What holds in a pass (weights that are only measured, biases that take
means off) are arguments, so that no pass compiles again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError, said
from firstlight.frameworks.jax.balancing import balanced
from firstlight.frameworks.jax.compiling import key_of, once
from firstlight.frameworks.jax.ends import shapes_in
from firstlight.frameworks.jax.passing import arrays_in
from firstlight.frameworks.jax.program import Program, trace
from firstlight.frameworks.jax.squares import log_square
from firstlight.frameworks.jax.view import View
from firstlight.measuring.calibrating import Ledger, Swept
from firstlight.records.calibration import Calibration
from firstlight.records.network import Operation

Step = Callable[[Any, Any], Any]
Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]

_SEED = 0
"""Of the random numbers that a model draws: the same in each pass."""


@dataclass(frozen=True)
class _Use:
    """One operation that a weight with a target scales.

    Args:
        weight: its name.
        bias: the bias that may take the mean of each unit off; None for none.
        axis: of the units.
        follows: whether a use of another kind came before (a tied head): it is not calibrated, but
            sees the scale that the weight got there.
    """

    weight: str
    bias: str | None
    axis: int
    follows: bool


def calibrate(
    view: View,
    given: Sequence[Arguments],
    targets: Mapping[str, float],
    *,
    step: Step | None = None,
    centred: Collection[str] = (),
    backward: bool = False,
) -> Calibration:
    """Find the factors that bring each weight's results to their targets.

    Args:
        view: the model, with the arrays that are to be calibrated.
        given: for each batch, the positional arguments and the keywords.
        targets: second moment of the results of each weight.
        step: (model, batch) → loss, instead of calling the model; then each batch is the one
            positional argument.
        centred: biases that shall take the mean of each unit off.
        backward: trade the forward targets against the flow of δ, by the first batch; see
            `firstlight.measuring.balancing`.

    Raises:
        BadInputError: an unknown parameter.
        ModelRaisedError: the model raised.
    """
    unknown = [name for name in targets if name not in view.arrays]
    if unknown:
        raise BadInputError(f"targets: no parameter '{unknown[0]}' in the model")
    if step is not None:
        function = step
        view = replace(view, run=lambda model, batch, _: function(model, *batch))
    passes = _Passes(view, given, targets, centred)
    passes.ledger.settle(passes.sweep, passes.free_biases)
    if backward:
        passes.ledger.balance(passes.balanced(), passes.sweep, passes.free_biases)
    return passes.result()


class _Passes:
    """The programs of all batches, and what is known of their weights."""

    def __init__(
        self,
        view: View,
        given: Sequence[Arguments],
        targets: Mapping[str, float],
        centred: Collection[str],
    ) -> None:
        self._view, self._given = view, given
        self._targets = dict(targets)
        self._key = jax.random.key(_SEED)
        self._centred = set(centred)
        self._shifts: dict[str, tuple[str, list[Any]]] = {}
        self.ledger = Ledger(names=tuple(targets))
        self._programs = []
        for args, keywords in given:
            with _blaming(view.name, (args, keywords)):
                program = trace(view, args, keywords, self._key)
            uses = _uses(program, self._targets)
            whole = program.reading.wholes
            self.ledger.indirect |= {
                use.weight for index, use in uses.items() if whole.get(index) != use.weight
            }
            self._programs.append((program, uses, _pass_of(program, uses, self._targets)))

    def sweep(self) -> list[dict[str, Swept]]:
        """One pass over each batch."""
        ledger, self._shifts = self.ledger, {}
        factors = {
            name: float(ledger.factors[name]) if name in ledger.fixed else 1.0
            for name in ledger.names
        }
        held = {name: name in ledger.fixed for name in ledger.names}
        probed = {name: name in ledger.probed for name in ledger.names}
        found = []
        for (args, keywords), (program, uses, run) in zip(self._given, self._programs, strict=True):
            free = {u.bias: u.bias in self._centred for u in uses.values() if u.bias is not None}
            leaves = program.batch.leaves((tuple(args), dict(keywords)))
            with _blaming(self._view.name, (args, keywords)):
                numbers, shifts = jax.device_get(
                    run(dict(self._view.arrays), factors, held, probed, free, leaves, self._key)
                )
            found.append(_swept(uses, numbers, self.ledger))
            for bias, shift in shifts.items():
                owner = next(u.weight for u in uses.values() if u.bias == bias)
                if bias in self._centred:
                    self._shifts.setdefault(bias, (owner, []))[1].append(shift)
        return found

    def balanced(self) -> dict[str, float]:
        """Further factors from the gradients of the first batch, with what is found so far."""
        (args, keywords), (program, *_) = self._given[0], self._programs[0]
        arrays = _scaled(self._view.arrays, self.ledger.factors)
        leaves = program.batch.leaves((tuple(args), dict(keywords)))
        with _blaming(self._view.name, (args, keywords)):
            return balanced(program, arrays, leaves, self._key, self.ledger.single)

    def free_biases(self, name: str) -> None:
        """No one bias takes the means of several uses off: those of a held weight are drawn."""
        for bias in [b for b, (owner, _) in self._shifts.items() if owner == name]:
            self._centred.discard(bias)
            del self._shifts[bias]

    def result(self) -> Calibration:
        """What was found, as plain data."""
        ledger = self.ledger
        return Calibration(
            scalings=tuple(ledger.scaling(name) for name in ledger.names),
            shifts=tuple(
                (bias, tuple((np.mean(found, axis=0) * ledger.factors[owner]).tolist()))
                for bias, (owner, found) in self._shifts.items()
                if owner not in ledger.left
            ),
            forwards=ledger.forwards,
            batches=len(self._given),
        )


def _scaled(arrays: Mapping[str, Array], factors: Mapping[str, Any]) -> dict[str, Array]:
    """All arrays, some of them times a factor."""
    new = {n: (arrays[n] * factor).astype(arrays[n].dtype) for n, factor in factors.items()}
    return {**arrays, **new}


class _blaming:  # noqa: N801 - reads as a word of the language
    """Inside, what is raised is the model's fault."""

    def __init__(self, model: str, batch: Any) -> None:
        self._model, self._batch = model, batch

    def __enter__(self) -> None:
        """Nothing to do yet."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Say what was called, on what, and what it said."""
        if isinstance(error, Exception) and not isinstance(error, FirstlightError):
            raise ModelRaisedError(
                f"{self._model}: raised {type(error).__name__} on a batch of"
                f" {shapes_in(arrays_in(self._batch))}: {said(error, brief=True)}"
            ) from error


def _uses(program: Program, targets: Mapping[str, float]) -> dict[int, _Use]:
    """The operations that are calibrated, by index."""
    found: dict[int, _Use] = {}
    kinds: dict[str, str] = {}
    lengths = {p.name: p.layout.shape for p in program.parameters}
    for operation in program.operations:
        if operation.kind not in ("weighted", "embedding") or not operation.shape:
            continue
        name = _scale_of(program, operation, targets)
        if name is None:
            continue
        kind = kinds.setdefault(name, operation.kind)
        bias = program.reading.biases.get(operation.index)
        axis = operation.unit_axis if operation.unit_axis is not None else -1
        units = (operation.shape[axis],)
        centring = bias if bias is not None and lengths.get(bias) == units else None
        found[operation.index] = _Use(name, centring, axis, kind != operation.kind)
    return found


def _scale_of(program: Program, operation: Operation, targets: Mapping[str, float]) -> str | None:
    whole = program.reading.wholes.get(operation.index)
    if whole in targets:
        return whole
    return next((name for name in operation.parameters if name in targets), None)


def _pass_of(program: Program, uses: Mapping[int, _Use], targets: Mapping[str, float]) -> Any:
    """The compiled pass of a program; the same one for what computes the same."""
    wanted = {name: math.log(target) for name, target in targets.items()}
    results = sorted((index, value) for value, index in program.reading.results.items())
    key = key_of(
        "calibrating",
        program.flat,
        list(program.names),
        [(index, *vars(use).values()) for index, use in uses.items()],
        results,
        sorted(wanted.items()),
        program.operations,
    )
    return once(key, lambda: jax.jit(_Pass(program, uses, wanted)))


@dataclass(frozen=True, eq=False)
class _Pass:
    """One pass: arrays and what holds in it → numbers of each use, and shifts of biases."""

    program: Program
    uses: Mapping[int, _Use]
    targets: Mapping[str, float]

    def __call__(
        self,
        arrays: Mapping[str, Array],
        factors: Mapping[str, Array],
        held: Mapping[str, Array],
        probed: Mapping[str, Array],
        free: Mapping[str, Array],
        leaves: Sequence[Array],
        key: Array,
    ) -> tuple[dict[int, Array], dict[str, Array]]:
        """Run it."""
        lent = _scaled(arrays, factors)
        for bias, taken in free.items():
            lent[bias] = jnp.where(taken, 0, lent[bias]).astype(lent[bias].dtype)
        products: dict[int, Array] = {}
        numbers: dict[int, Array] = {}
        shifts: dict[str, Array] = {}
        scales: dict[str, Array] = {}

        def product(index: int, value: Array) -> Array:
            products[index] = value
            return value

        def result(index: int, value: Array) -> Array:
            use = self.uses.get(index)
            if use is None or not value.size:
                return value
            whole = value.astype(jnp.promote_types(value.dtype, jnp.float32))
            linear = products.pop(index, value).astype(whole.dtype)
            offset = whole - linear
            fixed = held[use.weight]
            if use.follows:
                scale = jnp.where(fixed, 1.0, scales.get(use.weight, jnp.ones(())))
                return (linear * scale + offset).astype(value.dtype)
            wanted = self.targets[use.weight]
            factor, fine, valid = _factor(linear, offset, wanted)
            corrected = linear * jnp.where(fine, jnp.exp(factor), 1) + offset
            if use.bias is not None:
                axis = use.axis % whole.ndim
                others = tuple(a for a in range(whole.ndim) if a != axis)
                means = linear.mean(axis=others, keepdims=True)
                alone, alone_fine, _ = _factor(linear - means, jnp.zeros_like(linear), wanted)
                taken = free[use.bias] & ~fixed
                scaled = (linear - means) * jnp.where(alone_fine, jnp.exp(alone), 1)
                scaled = jnp.where(alone_fine, scaled, linear)
                corrected = jnp.where(taken, scaled, corrected)
                factor = jnp.where(taken, alone, factor)
                fine = jnp.where(taken, alone_fine, fine)
                valid = jnp.where(taken, alone_fine, valid)
                shifts.setdefault(use.bias, -means.reshape(-1))
            square, some = log_square(whole)
            error = square - wanted
            probe = jnp.where(probed[use.weight] & some, jnp.exp(-error / 2), 1)
            scales.setdefault(use.weight, jnp.where(fine, jnp.exp(factor), 1))
            numbers[index] = jnp.stack(
                [factor, fine, valid, jnp.where(fixed, error, 0.0), some],
            ).astype(jnp.float32)
            return jnp.where(fixed, whole * probe, corrected).astype(value.dtype)

        args, keywords = self.program.batch.filled(list(leaves))
        self.program.run(lent, args, keywords, key, result, product)
        return numbers, shifts


def _factor(linear: Array, offset: Array, wanted: float) -> tuple[Array, Array, Array]:
    """Logarithm of the f > 0 with mean (f·u + b)² at its target, if there is one; is u usable.

    The positive root of A·f² + 2·B·f + C = target, with u measured in units of its largest value.
    """
    size = jnp.max(jnp.abs(linear))
    valid = (size > 0) & jnp.isfinite(size)
    size = jnp.where(valid, size, 1)
    unit = linear / size
    square = jnp.mean(jnp.square(jnp.abs(unit)))
    mixed = jnp.mean(jnp.real(unit * jnp.conj(offset)))
    rest = math.exp(wanted) - jnp.mean(jnp.square(jnp.abs(offset)))
    discriminant = mixed**2 + square * rest
    root = (jnp.sqrt(jnp.maximum(discriminant, 0)) - mixed) / jnp.where(square > 0, square, 1)
    fine = valid & (discriminant > 0) & (root > 0) & jnp.isfinite(root)
    factor = jnp.log(jnp.where(fine, root, 1)) - jnp.log(size)
    return jnp.where(fine, factor, 0.0), fine, valid


def _swept(
    uses: Mapping[int, _Use], numbers: Mapping[int, Any], ledger: Ledger
) -> dict[str, Swept]:
    """What a pass found, by weight."""
    rows: dict[str, list[Any]] = {}
    for index in sorted(numbers):
        rows.setdefault(uses[index].weight, []).append(numbers[index])
    found = {}
    for name, each in rows.items():
        if name in ledger.fixed:
            found[name] = Swept(
                errors=[float(row[3]) for row in each if row[4]],
                empty=sum(not row[4] for row in each),
            )
        else:
            fine = [float(row[0]) for row in each if row[1]]
            found[name] = Swept(
                factors=fine,
                errors=[0.0] * len(fine),
                empty=sum(not row[2] for row in each),
                unreachable=sum(bool(row[2]) and not row[1] for row in each),
            )
    return found
