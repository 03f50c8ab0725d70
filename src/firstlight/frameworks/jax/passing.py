"""The instrumented pass: forward and backward over a program in one compiled function.

Weights, batch, target and random directions are its arguments, so that a second look at the same
program compiles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from firstlight.frameworks.jax.compiling import key_of, once
from firstlight.frameworks.jax.losses import Kind
from firstlight.frameworks.jax.probes import (
    Probe,
    closely,
    directions,
    flagged,
    forward,
    probe_of,
    tapped,
)
from firstlight.frameworks.jax.program import Program
from firstlight.records.network import Operation

_COTANGENT_SEED = 2

Arrays = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What a program makes, without its numbers.

    Args:
        results: of each operation.
        output: what the program returns.
        makers: of each array in it, the operation that made it, if one did.
    """

    results: Mapping[int, jax.ShapeDtypeStruct]
    output: Any
    makers: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A known loss that may be in proportion to the one that is differentiated.

    Args:
        kind: which.
        head: the operation that it is computed from; None for the first of the outputs.
        leaf: the place of its target in the batch; None for the target that was given.
    """

    kind: Kind
    head: int | None = None
    leaf: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Where the backward pass starts.

    Args:
        leaves: the places of the outputs it starts from, among the arrays of the output.
        compute: (output, target's arrays) → loss; None where the output is the loss, or there is
            none.
        is_loss: whether the output itself is the loss.
        known: losses to compute as well.
        key: what tells ``compute`` from others.
    """

    leaves: tuple[int, ...]
    compute: Callable[[Array, Sequence[Array]], Array] | None = None
    is_loss: bool = False
    known: tuple[Known, ...] = ()
    key: Any = ()

    @property
    def names(self) -> tuple[Any, ...]:
        """What tells it from others."""
        known = tuple((k.kind.function, k.kind.counts, k.head, k.leaf) for k in self.known)
        return (self.leaves, self.is_loss, known, self.key)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came out of a pass.

    Args:
        value: sums of each measured result.
        delta: sums of its gradient; empty without a backward pass.
        raw: sum of squares and number of the entries that are not zero, of raw inputs.
        gradients: of each parameter that a gradient came to.
        loss: what was differentiated, if it is a loss.
        paid: by each of the known losses.
        spreads: standard deviation of what each of them is computed from; last, of the first of
            the outputs.
    """

    value: Mapping[int, Mapping[str, Any]]
    delta: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    raw: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    gradients: Mapping[str, Array] = field(default_factory=dict)
    loss: float | None = None
    paid: tuple[float, ...] = ()
    spreads: tuple[float | None, ...] = (None,)


def arrays_in(value: Any) -> list[Any]:
    """The arrays, or shapes of arrays, in a nested value."""
    kinds = (Array, jax.ShapeDtypeStruct)
    return [leaf for leaf in jax.tree.leaves(value) if isinstance(leaf, kinds)]


def shapes_of(program: Program, arrays: Arrays, leaves: Sequence[Array], key: Array) -> Shapes:
    """The shapes of a program's results; nothing is computed."""
    results: dict[int, jax.ShapeDtypeStruct] = {}
    makers: list[int | None] = []

    def run(arrays: Arrays, leaves: Sequence[Array], key: Array) -> Any:
        made: dict[int, int] = {}
        kept = []

        def tap(index: int, value: Any) -> Any:
            results[index] = jax.ShapeDtypeStruct(value.shape, value.dtype)
            made[id(value)] = index
            kept.append(value)  # an identity is one only as long as the object lives
            return value

        args, keywords = program.batch.filled(list(leaves))
        output = program.run(arrays, args, keywords, key, tap)
        makers.extend(made.get(id(leaf)) for leaf in arrays_in(output))
        return output

    output = jax.eval_shape(run, dict(arrays), list(leaves), key)
    return Shapes(results=results, output=output, makers=tuple(makers))


def raw_readers(operations: Sequence[Operation]) -> frozenset[int]:
    """The operations with weights that read the batch as its code prepared it."""
    from_batch: set[int] = set()
    found = set()
    for operation in operations:
        if operation.kind in ("weighted", "composite"):
            if operation.inputs and operation.inputs[0] in from_batch:
                found.add(operation.index)
        elif operation.kind not in ("norm", "embedding") and from_batch.issuperset(
            operation.inputs
        ):
            from_batch.add(operation.index)
    return frozenset(found)


class Pass:
    """A program with its probes, to be run on weights and batches.

    Args:
        program: what runs.
        shapes: of its results.
        ends: where backward starts.
        samples: the batch size.
        trainable: the parameters whose gradient is wanted.
        lean: forward only, and no comparison of units.
    """

    def __init__(
        self,
        program: Program,
        shapes: Shapes,
        ends: Ends,
        *,
        samples: int,
        trainable: Sequence[str],
        lean: bool = False,
    ) -> None:
        self._program, self._shapes, self._ends = program, shapes, ends
        self._samples, self._trainable, self._lean = samples, tuple(trainable), lean
        self._raw = raw_readers(program.operations)
        parts = (program.flat, program.names, program.operations, ends.names)
        self._key = key_of(*parts, samples, self._trainable, lean)
        places = [p.places for p in self.probes(careful=False).values()]
        # A few lengths for all batches, so that a longer one does not compile anew for this.
        self._random = directions(2 ** math.ceil(math.log2(max([2, *places]))))

    def probes(self, *, careful: bool) -> dict[int, Probe]:
        """How each operation is measured."""
        found = {}
        for operation in self._program.operations:
            shape = self._shapes.results.get(operation.index)
            if shape is not None:
                probe = probe_of(
                    operation, shape, self._samples, projected=not self._lean, careful=careful
                )
                if probe is not None:
                    found[operation.index] = probe
        return found if self._lean else closely(found)

    def run(
        self,
        arrays: Arrays,
        leaves: Sequence[Array],
        key: Array,
        target: Sequence[Array] = (),
        *,
        careful: bool = False,
        start: int | None = None,
    ) -> Taken:
        """Run it once.

        Args:
            arrays: the parameters.
            leaves: the arrays of the batch.
            key: of random numbers.
            target: the arrays of the target.
            careful: scale before squaring, and count what is not finite.
            start: the operation from whose result backward starts, instead of the loss.
        """
        known = None if self._key is None else (self._key, careful, start)
        function = once(known, lambda: self._compiled(careful=careful, start=start))
        found = function(dict(arrays), list(leaves), key, list(target), self._random)
        found = jax.device_get({k: v for k, v in found.items() if k != "gradients"}) | {
            "gradients": found["gradients"]
        }
        came = {name for name, flag in found["flags"].items() if flag}
        return Taken(
            value=found["value"],
            delta=found["delta"],
            raw=found["raw"],
            gradients={n: g for n, g in found["gradients"].items() if n in came},
            loss=_number(found["loss"]),
            paid=tuple(map(float, found["paid"])),
            spreads=tuple(map(_number, found["spreads"])),
        )

    def loss_without(self, head: int, arrays: Arrays, leaves: Sequence[Array], key: Array) -> float:
        """The loss that the program returns if one of its operations gave zeros."""

        def tap(index: int, value: Array) -> Array:
            return jnp.zeros_like(value) if index == head else value

        def loss(arrays: Arrays, leaves: Sequence[Array], key: Array) -> Array:
            args, keywords = self._program.batch.filled(list(leaves))
            output = self._program.run(arrays, args, keywords, key, tap)
            return jnp.mean(arrays_in(output)[self._ends.leaves[0]])

        known = None if self._key is None else (self._key, "without", head)
        return float(once(known, lambda: jax.jit(loss))(dict(arrays), list(leaves), key))

    def _compiled(self, *, careful: bool, start: int | None) -> Callable[..., Any]:
        probes, ends, program = self.probes(careful=careful), self._ends, self._program
        raw = self._raw

        def scalar(
            trained: Arrays, dummies: Any, flags: Any, rest: Arrays, given: Any
        ) -> tuple[Array, dict[str, Any]]:
            leaves, key, target, random = given
            sums: dict[int, Any] = {}
            entries: dict[int, Any] = {}
            values: dict[int, Array] = {}

            def tap(index: int, value: Array) -> Array:
                probe = probes.get(index)
                if probe is not None:
                    sums[index] = forward(probe, value, random)
                    if dummies is not None:
                        value = tapped(probe, value, dummies[index], random)
                if index in raw:
                    entries[index] = _entries(values[program.operations[index].inputs[0]])
                values[index] = value
                return value

            known = {name: flagged(array, flags[name]) for name, array in trained.items()}
            args, keywords = program.batch.filled(list(leaves))
            output = program.run({**rest, **known}, args, keywords, key, tap)
            made = arrays_in(output)
            outputs = [made[place] for place in ends.leaves]
            found: dict[str, Any] = {"value": sums, "raw": entries, "loss": None}
            heads = [outputs[0] if k.head is None else values[k.head] for k in ends.known]
            aims = [target[0] if k.leaf is None else leaves[k.leaf] for k in ends.known]
            found["paid"] = [
                k.kind.mean(jax.lax.stop_gradient(k.kind.head(head, aim)), aim)
                for k, head, aim in zip(ends.known, heads, aims, strict=True)
            ]
            found["spreads"] = [_spread(head) for head in (*heads, *outputs[:1])]
            if ends.compute is not None:
                found["loss"] = ends.compute(outputs[0], target).reshape(())
            elif ends.is_loss:
                found["loss"] = jnp.mean(outputs[0])
            if start is not None:
                return cotangent([values[start]]), found
            if found["loss"] is not None:
                return jnp.real(found["loss"]), found
            return cotangent(outputs) if outputs else jnp.zeros(()), found

        def run(
            arrays: Arrays, leaves: Sequence[Array], key: Array, target: Any, random: Array
        ) -> dict[str, Any]:
            trained = {name: arrays[name] for name in self._trainable}
            rest = {name: array for name, array in arrays.items() if name not in trained}
            flags = {name: jnp.zeros(()) for name in trained}
            given = (leaves, key, target, random)
            if self._lean:
                _, found = scalar(trained, None, flags, rest, given)
                return {**found, "delta": {}, "flags": {}, "gradients": {}}
            dummies = {index: probe.blank() for index, probe in probes.items()}

            def of(trained: Arrays, dummies: Any, flags: Any) -> tuple[Array, dict[str, Any]]:
                return scalar(trained, dummies, flags, rest, given)

            # Not `jax.grad`, which refuses complex weights.
            value, back, found = jax.vjp(of, trained, dummies, flags, has_aux=True)
            gradients, delta, came = back(jnp.ones_like(value))
            return {**found, "delta": delta, "flags": came, "gradients": gradients}

        return jax.jit(run)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def cotangent(outputs: Sequence[Array]) -> Array:
    """⟨output, unit normal direction⟩: what backward starts from where there is no loss."""
    total, square = jnp.zeros(()), jnp.zeros(())
    for number, output in enumerate(outputs):
        parts = [output.real, output.imag] if jnp.iscomplexobj(output) else [output]
        values = jnp.stack(parts).astype(jnp.promote_types(parts[0].dtype, jnp.float32))
        key = jax.random.fold_in(jax.random.key(_COTANGENT_SEED), number)
        direction = jax.random.normal(key, values.shape, values.dtype)
        total += jnp.sum(values * direction)
        square += jnp.sum(direction * direction)
    return total / jnp.sqrt(square)


def _spread(head: Array) -> Array | None:
    """Standard deviation of all values."""
    if head.size < 2 or jnp.iscomplexobj(head):
        return None
    return jnp.std(head.astype(jnp.promote_types(head.dtype, jnp.float32)), ddof=1)


def _entries(value: Array) -> tuple[Array, Array]:
    """Sum of squares and number of the entries that are not zero: a one-hot row is not small."""
    plain = jnp.abs(value) if jnp.iscomplexobj(value) else value
    plain = plain.astype(jnp.promote_types(plain.dtype, jnp.float32))
    return jnp.sum(plain * plain), jnp.sum(plain != 0)
