"""One instrumented forward and backward pass; the model is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError, said
from firstlight.frameworks.jax import ends as ending
from firstlight.frameworks.jax import losses
from firstlight.frameworks.jax.ends import shapes_in
from firstlight.frameworks.jax.gathering import Look, observation
from firstlight.frameworks.jax.passing import Ends, Pass, Shapes, Taken, arrays_in, shapes_of
from firstlight.frameworks.jax.program import trace
from firstlight.frameworks.jax.sharding import missing, plain_shapes
from firstlight.frameworks.jax.updates import transformation
from firstlight.frameworks.jax.view import View
from firstlight.records.checkup import Observation

SEED = 0
"""Of the random numbers that a model draws while it is looked at."""


def observe(
    view: View,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    *,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
    optimizer: Any = None,
    lean: bool = False,
) -> Observation:
    """Run a model forward and backward once, in training mode, and report what was measured.

    Args:
        view: the model, with the arrays that it is to be looked at with.
        args: positional arguments, arrays of JAX in any containers; with ``step`` the batch alone.
        keywords: keyword arguments.
        loss: a name, or a callable (output, target); without it the output's ``.loss`` or, where
            there is none, a random unit cotangent on the outputs.
        target: for the loss; a loss that fits is inferred if only a target is given.
        step: (model, batch) → scalar loss, for everything else.
        optimizer: a gradient transformation of optax, whose first update is then judged.
        lean: only what a plan needs: no backward pass, no geometry of weights. Arrays may then be
            shapes without values, and nothing is measured at the operations.

    Returns:
        The measurements.

    Raises:
        BadInputError: the batch, target, loss or optimizer cannot be used.
        ModelRaisedError: the model raised; its own error is the cause.
    """
    function = losses.resolve(loss)
    if step is not None and not callable(step):
        raise BadInputError(
            f"step: expected a callable (model, batch) → loss, got {type(step).__name__}"
        )
    if function is not None and target is None and step is None:
        raise BadInputError(
            "target: missing; a loss needs one (or pass step=lambda model, batch: …)"
        )
    if optimizer is not None:
        transformation(optimizer)  # refuse a wrong one before anything runs
    if step is not None:
        view = replace(view, run=lambda model, given, _: step(model, *given))
    known = not missing(view.arrays)
    view = replace(view, arrays=plain_shapes(view.arrays))
    key = jax.random.key(SEED)
    batch = arrays_in((args, keywords))
    samples = next((int(a.shape[0]) for a in batch if a.ndim > 0), 1)
    with _blaming(view.name, batch):
        program = trace(view, args, keywords, key)
        leaves = program.batch.leaves((tuple(args), dict(keywords)))
        shapes = shapes_of(program, view.arrays, leaves, key)
    if step is not None:
        ends = ending.of_step(program, shapes, leaves)
    else:
        ends = _of_output(shapes, loss if isinstance(loss, str) else function, target)
    run = Pass(
        program,
        shapes,
        ends,
        samples=samples,
        trainable=[p.name for p in program.parameters if p.trainable],
        lean=lean,
    )
    look = Look(view, program, shapes, ends, run, leaves, key, arrays_in(target))
    with _blaming(view.name, batch):
        taken = look.taken() if known else Taken(value={})
    name = str(getattr(loss, "__name__", loss))
    return observation(
        look,
        taken,
        samples=samples,
        optimizer=optimizer,
        lean=lean,
        loss_name=name if name.isidentifier() else "loss",
    )


def _of_output(shapes: Shapes, loss: Any, target: Any) -> Ends:
    if target is None:
        return ending.of_output(shapes.output)
    if loss is None:
        head = arrays_in(shapes.output)[ending.output_place(shapes.output)]
        loss = losses.inferred(head, target)
    return ending.of_loss(shapes.output, loss, target)


@contextmanager
def _blaming(model: str, batch: list[Any]) -> Iterator[None]:
    """Inside, what is raised is the model's fault."""
    try:
        yield
    except FirstlightError:
        raise
    except Exception as error:
        raise ModelRaisedError(
            f"{model}: raised {type(error).__name__} on a batch of {shapes_in(batch)}:"
            f" {said(error, brief=True)}"
        ) from error
