"""How a scalar to differentiate comes out of what a model returned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import jaxpr_as_fun

from firstlight.errors import BadInputError, said
from firstlight.frameworks.jax import losses
from firstlight.frameworks.jax.passing import Ends, Known, Shapes, Taken, arrays_in
from firstlight.frameworks.jax.program import Program
from firstlight.records.network import Operation

_LAST = 16
"""So many operations at a step's end may be its loss."""
_CLOSE = 1e-4
"""Relative agreement of two float32 means."""


def shapes_in(value: Any) -> str:
    """The shapes in a batch or an output, for messages."""
    shapes = [f"{tuple(a.shape)} {a.dtype}" for a in arrays_in(value)]
    return ", ".join(shapes) or type(value).__name__


def _inexact(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _named(output: Any, name: str) -> Any:
    found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    return found if hasattr(found, "dtype") and hasattr(found, "shape") else None


def _place(output: Any, wanted: Any) -> int:
    return next(place for place, leaf in enumerate(arrays_in(output)) if leaf is wanted)


def output_place(output: Any) -> int:
    """Which array of an output a loss is computed from: ``.logits`` or the first floating one.

    Raises:
        BadInputError: there is none.
    """
    logits = _named(output, "logits")
    if logits is not None:
        return _place(output, logits)
    for place, leaf in enumerate(arrays_in(output)):
        if _inexact(leaf):
            return place
    raise BadInputError(
        f"output: no floating array to compute a loss from, got {shapes_in(output)};"
        " pass step=lambda model, batch: loss"
    )


def _own_loss(output: Any) -> int | None:
    """The place of the output's ``.loss``, or of a first or only output without axes."""
    loss = _named(output, "loss")
    if loss is None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        loss = first if hasattr(first, "dtype") and first.shape == () else None
    return None if loss is None or not _inexact(loss) else _place(output, loss)


def of_output(output: Any) -> Ends:
    """Without a loss: the output's own, or a random direction of all of it."""
    own = _own_loss(output)
    if own is not None:
        return Ends(leaves=(own,), is_loss=True)
    made = arrays_in(output)
    return Ends(leaves=tuple(place for place, leaf in enumerate(made) if _inexact(leaf)))


def of_step(program: Program, shapes: Shapes, leaves: Sequence[Array]) -> Ends:
    """A user's step: what it returned must be the loss.

    Raises:
        BadInputError: it is no scalar.
    """
    made = arrays_in(shapes.output)
    if len(made) != 1 or made[0].size != 1 or not _inexact(made[0]):
        raise BadInputError(f"step: must return a scalar, the loss; got {shapes_in(shapes.output)}")
    return Ends(leaves=(0,), is_loss=True, known=tuple(_candidates(program, shapes, leaves)))


def _candidates(program: Program, shapes: Shapes, leaves: Sequence[Array]) -> Iterator[Known]:
    """Losses that a step may have computed: of one of its last results, and an array of its batch.

    Which one it was, if any, is told by its value.
    """
    last = [op.index for op in program.operations if op.kind != "input"][-_LAST:]
    for kind in losses.KINDS:
        for head in last:
            shape = shapes.results.get(head)
            if shape is None or not shape.shape or not _inexact(shape):
                continue
            for place, leaf in enumerate(leaves):
                plain = not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
                if plain and leaf.ndim and kind.fits(shape, leaf):
                    yield Known(kind=kind, head=head, leaf=place)


def recognised(ends: Ends, taken: Taken) -> Known | None:
    """The known loss that a step computed: the first whose value is that of the step."""
    if taken.loss is None:
        return None
    for known, paid in zip(ends.known, taken.paid, strict=True):
        if not ends.is_loss or math.isclose(paid, taken.loss, rel_tol=_CLOSE):
            return known
    return None


def softmax_head(operations: Sequence[Operation]) -> int | None:
    """The operation whose result a step's last log-softmax makes shares of; none if weights follow.

    So the head is known even where the loss is masked, smoothed, shifted or regularised.
    """
    for operation in reversed(operations):
        if operation.kind == "weighted":
            return None
        if operation.function == "log_softmax" and operation.inputs:
            head = operations[operation.inputs[0]]
            while head.kind == "shape" and head.inputs:
                head = operations[head.inputs[0]]
            return head.index
    return None


def of_loss(output: Any, loss: str | Callable[[Any, Any], Any], target: Any) -> Ends:
    """Of a loss and a target.

    Args:
        output: the model's, as shapes.
        loss: a name, or a function of (output, target).
        target: nested arrays.

    Raises:
        BadInputError: the loss raised, or returned no scalar, or the target does not fit.
    """
    place = output_place(output)
    head = arrays_in(output)[place]
    if isinstance(loss, str):
        losses.check_named(loss, head, target)
    function = losses.LOSSES[loss] if isinstance(loss, str) else loss
    leaves, tree = jax.tree.flatten(target)
    dynamic = [isinstance(leaf, Array) for leaf in leaves]

    def of_arrays(output: Array, arrays: Sequence[Array]) -> Any:
        rest = iter(arrays)
        pairs = zip(leaves, dynamic, strict=True)
        given = [next(rest) if is_array else leaf for leaf, is_array in pairs]
        return function(output, jax.tree.unflatten(tree, given))

    try:
        closed, shape = jax.make_jaxpr(of_arrays, return_shape=True)(head, arrays_in(target))
    except Exception as error:
        got = tuple(target.shape) if hasattr(target, "shape") else type(target).__name__
        raise BadInputError(
            f"loss: raised {type(error).__name__} on output {tuple(head.shape)} and target"
            f" {got}: {said(error, brief=True)}"
        ) from error
    made = arrays_in(shape)
    if len(made) != 1 or made[0].size != 1:
        raise BadInputError(f"loss: must return a scalar, the loss; got {shapes_in(shape)}")
    kind = losses.kind_of(loss, head, target)

    def compute(output: Array, arrays: Sequence[Array]) -> Array:
        found: Array = jaxpr_as_fun(closed)(output, *arrays)[0]
        return found

    known = () if kind is None else (Known(kind=kind),)
    return Ends(leaves=(place,), compute=compute, known=known, key=closed)
