"""Keras on its JAX backend: JAX's room does the work, on a `View`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.jax import observing
from firstlight.frameworks.jax.view import View
from firstlight.frameworks.keras import seeds
from firstlight.frameworks.keras.jax_losses import logits
from firstlight.frameworks.keras.jax_optimizers import as_transformation
from firstlight.frameworks.keras.jax_view import view_of
from firstlight.frameworks.keras.losses import Known, Other, loss_of
from firstlight.frameworks.keras.models import checked, reordered
from firstlight.frameworks.keras.synthetic import synthetic_batch
from firstlight.records.calibration import Calibration
from firstlight.records.checkup import JacobianReading, Observation
from firstlight.records.race import Recipe, Run, Together

Arrays = Iterable[tuple[str, NDArray[Any]]]
Step = Callable[[Any, Any], Any]


def _room(name: str) -> Any:
    return import_module(f"firstlight.frameworks.jax.{name}")


def _placed(value: Any) -> Any:
    return _room("batches").placed(value)


def _arguments(view: View, model: Any, batch: Any, *, whole: bool) -> tuple[Any, Any]:
    batches = _room("batches")
    if batch is None and not whole:
        batch = _synthetic(view, model)
    given = batches.placed(batch)
    if given is not None:
        batches.check_batch(given)
    if whole:
        return (given,), {}
    found: tuple[Any, Any] = batches.arguments(given)
    return found


def _synthetic(view: View, model: Any) -> Any:
    """A synthetic batch on which the model can be traced; nothing is computed for it."""

    def accepts(given: Any) -> str | None:
        args, keywords = _room("batches").arguments(_placed(given))
        key = jax.random.key(0)

        def traced(arrays: Mapping[str, Array]) -> Any:
            with view.bound(arrays, key) as held:
                return view.run(held, args, keywords)

        try:
            jax.eval_shape(traced, dict(view.arrays))
        except Exception as error:
            return " ".join(str(error).split())
        return None

    return synthetic_batch(model, accepts)


def _with_loss(view: View, model: Any, loss: Any, target: Any) -> tuple[View, Any]:
    """A loss for JAX's room, by name where it knows it; of probabilities the view gives logits."""
    found = loss_of(model, loss, target)
    if isinstance(found, Other):
        return view, found.function
    if not isinstance(found, Known):
        return view, found
    known, run = found, view.run

    def with_logits(held: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        output = run(held, args, keywords)
        return logits(output, known) if isinstance(output, Array) else output

    return (replace(view, run=with_logits) if known.of_probabilities else view), known.name


def _stored(model: Any, arrays: Arrays) -> dict[str, Array]:
    """Values as arrays of the variables' types, gates in the order in which they are kept."""
    named = {w.parameter.name: w for w in checked(model)}
    found = {}
    for name, values in arrays:
        weight = named[name]
        kept = reordered(values) if weight.reordered else values
        found[name] = jnp.asarray(kept, dtype=weight.variable._value.dtype)
    return found


def _observed(view: View, model: Any, batch: Any, **how: Any) -> Observation:
    step, target = how["step"], how["target"]
    if batch is None and step is None and target is not None:
        raise BadInputError("batch: missing, but a target was given; pass both")
    args, keywords = _arguments(view, model, batch, whole=step is not None)
    wanted = _placed(target)
    _room("batches").check_values(wanted, "target")
    loss = how["loss"]
    if step is None:
        view, loss = _with_loss(view, model, loss, target)
    own = {"loss": loss, "target": wanted, "optimizer": as_transformation(how.get("optimizer"))}
    return observing.observe(view, args, keywords, **{**how, **own})


def observe(model: Any, batch: Any, **how: Any) -> Observation:
    """One pass, by JAX's room."""
    return _observed(view_of(model), model, batch, **how)


def trial(model: Any, arrays: Arrays, batch: Any, **how: Any) -> Observation:
    """One pass with ``arrays`` as parameters."""
    view = view_of(model)
    lent = {**view.arrays, **_stored(model, arrays)}
    return _observed(replace(view, arrays=lent), model, batch, **how)


def jacobian(model: Any, batch: Any) -> JacobianReading:
    """Singular values from input to output."""
    view = view_of(model)
    found: JacobianReading = _room("jacobian").jacobian(
        view, *_arguments(view, model, batch, whole=False)
    )
    return found


def several(batch: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
    """The batch, or the first ones of what gives batches."""
    found: list[Any] = _room("batches").several(batch, inputs=inputs, most=most)
    return found


def calibrate(
    model: Any,
    given: Sequence[Any],
    targets: Mapping[str, float],
    *,
    arrays: Iterable[tuple[str, NDArray[np.float32]]],
    step: Step | None,
    centred: Collection[str],
    backward: bool,
) -> Calibration:
    """Factors for targets, by JAX's room."""
    view = view_of(model)
    lent = {**view.arrays, **_stored(model, arrays)}
    found: Calibration = _room("calibrating").calibrate(
        replace(view, arrays=lent),
        [_arguments(view, model, batch, whole=step is not None) for batch in given],
        targets,
        step=step,
        centred=centred,
        backward=backward,
    )
    return found


def build(factory: Callable[[], Any], seed: int) -> Any:
    """A model from its factory under Keras's seed, which is put back."""
    return seeds.build(factory, seed)


def together(model: Any, data: Sequence[Any], recipe: Recipe) -> Together:
    """How many such models train best as one."""
    found: Together = _training().together(model, data, recipe)
    return found


def train_models(
    models: Sequence[Any], data: Sequence[Any], recipe: Recipe, **how: Any
) -> tuple[Run, ...]:
    """Train a copy of each model, those that are alike as one."""
    runs: tuple[Run, ...] = _training().train_models(models, data, recipe, **how)
    return runs


def _training() -> Any:
    return import_module("firstlight.frameworks.keras.jax_training")
