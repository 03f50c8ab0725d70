"""What each weighted operation's δ measures, for the backward balance of a calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from firstlight.frameworks.jax import ends as ending
from firstlight.frameworks.jax.compiling import key_of, once
from firstlight.frameworks.jax.passing import Ends, Shapes, arrays_in, cotangent, shapes_of
from firstlight.frameworks.jax.program import Program
from firstlight.frameworks.jax.squares import log_square
from firstlight.measuring.balancing import balancing_factors
from firstlight.records.network import Network


def balanced(
    program: Program,
    arrays: Mapping[str, Array],
    leaves: Sequence[Array],
    key: Array,
    weights: Collection[str],
) -> dict[str, float]:
    """A factor for each weight that has a predecessor, from one forward and one backward pass.

    Args:
        program: what runs.
        arrays: the parameters, calibrated.
        leaves: the arrays of the batch.
        key: of random numbers.
        weights: those that may be changed; each used once.

    Returns:
        Factors within [½, 2]; weights that are no part of a chain are not in it.
    """
    shapes = shapes_of(program, arrays, leaves, key)
    ends = ending.of_output(shapes.output)
    places = [i for i in _learning(program) if i in shapes.results]
    if not ends.leaves or not places:
        return {}
    known = key_of("balancing", program.flat, program.names, program.operations, places, ends.names)
    run = once(known, lambda: jax.jit(_deltas(program, shapes, ends, places)))
    found = jax.device_get(run(dict(arrays), list(leaves), key))
    deltas = {
        index: math.exp(logarithm) * math.prod(shapes.results[index].shape)
        for index, (logarithm, some) in found.items()
        if some
    }
    network = Network(name="", framework="jax", operations=program.operations)
    return balancing_factors(network, deltas, weights)


def _learning(program: Program) -> list[int]:
    """Weighted operations that a gradient comes to: a trainable parameter is in them, or before."""
    trainable = {p.name for p in program.parameters if p.trainable}
    reached: set[int] = set()
    for operation in program.operations:
        if not trainable.isdisjoint(operation.parameters) or not reached.isdisjoint(
            operation.inputs
        ):
            reached.add(operation.index)
    return [op.index for op in program.operations if op.kind == "weighted" and op.index in reached]


def _deltas(
    program: Program, shapes: Shapes, ends: Ends, places: Sequence[int]
) -> Callable[..., dict[int, tuple[Array, Array]]]:
    """(arrays, leaves, key) → logarithm of the mean square of each δ, and whether it has one."""

    def run(
        arrays: Mapping[str, Array], leaves: Sequence[Array], key: Array
    ) -> dict[int, tuple[Array, Array]]:
        def scalar(added: Mapping[int, Array]) -> Array:
            def tap(index: int, value: Any) -> Any:
                return value + added[index] if index in added else value

            args, keywords = program.batch.filled(list(leaves))
            made = arrays_in(program.run(arrays, args, keywords, key, tap))
            outputs = [made[place] for place in ends.leaves]
            return jnp.real(jnp.mean(outputs[0])) if ends.is_loss else cotangent(outputs)

        nothing = {i: jnp.zeros(shapes.results[i].shape, shapes.results[i].dtype) for i in places}
        # Not `jax.grad`, which refuses complex results.
        value, back = jax.vjp(scalar, nothing)
        return {i: log_square(_wide(delta)) for i, delta in back(jnp.ones_like(value))[0].items()}

    return run


def _wide(delta: Array) -> Array:
    return delta.astype(jnp.promote_types(delta.dtype, jnp.float32))
