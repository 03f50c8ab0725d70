"""The adapter: what Firstlight's verbs may ask of JAX."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.jax import batches
from firstlight.frameworks.jax.calibrating import calibrate
from firstlight.frameworks.jax.held import from_boxes, placed_like, spread
from firstlight.frameworks.jax.jacobian import jacobian
from firstlight.frameworks.jax.models import hold, is_model, view_of
from firstlight.frameworks.jax.observing import observe
from firstlight.frameworks.jax.synthetic import synthetic_batch
from firstlight.frameworks.jax.training import together, train
from firstlight.frameworks.jax.training_data import as_data
from firstlight.frameworks.jax.view import View
from firstlight.records.calibration import Calibration
from firstlight.records.checkup import JacobianReading, Observation
from firstlight.records.held import Boxes, Held
from firstlight.records.network import Network
from firstlight.records.race import Recipe, Run, Together

__all__ = ["JaxAdapter", "is_model"]


class JaxAdapter:
    """Reads, observes, writes and trains the models of JAX's libraries."""

    name = "jax"

    def inspect(self, model: Any) -> Network:
        """The parameters of a model, without running it."""
        view = view_of(model)
        return Network(name=view.name, framework=view.framework, parameters=view.parameters)

    def observe(
        self,
        model: Any,
        batch: Any = None,
        *,
        loss: Any = None,
        target: Any = None,
        step: Callable[[Any, Any], Any] | None = None,
        optimizer: Any = None,
        lean: bool = False,
    ) -> Observation:
        """One forward and backward pass; without a batch, on a synthetic one."""
        return _observed(
            view_of(model),
            batch,
            loss=loss,
            target=target,
            step=step,
            optimizer=optimizer,
            lean=lean,
        )

    def trial(
        self,
        model: Any,
        arrays: Iterable[tuple[str, NDArray[Any]]],
        batch: Any = None,
        *,
        loss: Any = None,
        target: Any = None,
        step: Callable[[Any, Any], Any] | None = None,
    ) -> Observation:
        """One pass with ``arrays`` as parameters, rounded as `write` does; nothing is written."""
        view = view_of(model)
        lent = {**view.arrays, **_written(view, arrays)}
        return _observed(replace(view, arrays=lent), batch, loss=loss, target=target, step=step)

    def jacobian(self, model: Any, batch: Any = None) -> JacobianReading:
        """Singular values from input to output; see `firstlight.frameworks.jax.jacobian`."""
        view = view_of(model)
        return jacobian(view, *_arguments(view, batch, whole=False))

    def values(
        self,
        model: Any,
        *,
        local: bool = False,
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Each parameter's canonical name and a copy of its values, of complex ones the moduli.

        ``local``: of an array that other hosts share, one after the other the parts that are here.
        """
        for name, array in view_of(model).arrays.items():
            if local and not array.is_fully_addressable:
                parts = {str(shard.index): shard.data for shard in array.addressable_shards}
                here = [np.asarray(part.astype(jnp.float32)).ravel() for part in parts.values()]
                yield name, np.concatenate(here)
                continue
            # NumPy has no 16-bit type but its own half precision: both are widened.
            wide = array.astype(jnp.float32) if array.dtype.itemsize < 4 else array
            value = np.array(wide)
            yield name, np.abs(value) if np.iscomplexobj(value) else value

    def memory(self, model: Any) -> dict[str, NDArray[Any] | Held | Boxes]:
        """Nothing of JAX is written into; what lies on several devices is asked for in parts."""
        found = {name: spread(array) for name, array in view_of(model).arrays.items()}
        return {name: boxes for name, boxes in found.items() if boxes is not None}

    def write(self, model: Any, arrays: Iterable[tuple[str, NDArray[Any] | Boxes]]) -> Any:
        """Write float32 values, rounded once (to nearest even) to each parameter's type.

        Returns:
            An NNX module itself; of all else a new model of the form in which it was given.
        """
        view = view_of(model)
        return view.rebuild({**view.arrays, **_written(view, arrays)})

    def several(self, batch: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
        """The batches in ``batch``; see `firstlight.frameworks.jax.batches.several`."""
        return batches.several(batch, inputs=inputs, most=most)

    def calibrate(
        self,
        model: Any,
        batches: Sequence[Any],
        targets: Mapping[str, float],
        *,
        arrays: Iterable[tuple[str, NDArray[np.float32]]] = (),
        step: Callable[[Any, Any], Any] | None = None,
        centred: Collection[str] = (),
        backward: bool = False,
    ) -> Calibration:
        """Factors for targets; see `firstlight.frameworks.jax.calibrating.calibrate`."""
        view = view_of(model)
        lent = {**view.arrays, **_written(view, arrays)}
        return calibrate(
            replace(view, arrays=lent),
            [_arguments(view, batch, whole=step is not None) for batch in batches],
            targets,
            step=step,
            centred=centred,
            backward=backward,
        )

    def initial_seed(self) -> int:
        """JAX has no seed of its own: every key is the user's.

        Raises:
            BadInputError: always.
        """
        raise BadInputError(
            "seed: JAX keeps no seed of its own to take; pass one, seed=0, another for another draw"
        )

    def build(self, factory: Callable[[], Any], seed: int) -> Any:  # noqa: ARG002
        """A model from its factory. JAX has no seed that it could be built under."""
        return factory()

    def together(self, model: Any, data: Sequence[Any], recipe: Recipe) -> Together:
        """How many such models train best as one; see `firstlight.frameworks.jax.training`."""
        return together(hold(model), as_data(data), recipe)

    def train(
        self,
        models: Sequence[Any],
        data: Sequence[Any],
        recipe: Recipe,
        *,
        learning_rates: Sequence[float],
        seeds: Sequence[int],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Run, ...]:
        """Train a copy of each model; see `firstlight.frameworks.jax.training.train`."""
        return train(
            models,
            as_data(data),
            recipe,
            learning_rates=learning_rates,
            seeds=seeds,
            progress=progress,
        )

    def save_weights(self, model: Any, path: str) -> None:
        """Parameters and state as safetensors; tied arrays are stored once."""
        from safetensors import SafetensorError
        from safetensors.flax import save_file

        held = hold(model)
        try:
            save_file({**held.buffers, **held.view.arrays}, path)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def _arguments(view: View, batch: Any, *, whole: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments and keywords; a step takes the batch as a whole."""
    if batch is None and not whole:
        batch = synthetic_batch(view)
    given = batches.placed(batch)
    if given is not None:
        batches.check_batch(given)
    return ((given,), {}) if whole else batches.arguments(given)


def _observed(
    view: View,
    batch: Any,
    *,
    loss: Any,
    target: Any,
    step: Callable[[Any, Any], Any] | None,
    **how: Any,
) -> Observation:
    if batch is None and step is None and target is not None:
        raise BadInputError("batch: missing, but a target was given; pass both")
    args, keywords = _arguments(view, batch, whole=step is not None)
    wanted = batches.placed(target)
    batches.check_values(wanted, "target")
    return observe(view, args, keywords, loss=loss, target=wanted, step=step, **how)


def _written(view: View, arrays: Iterable[tuple[str, NDArray[Any] | Boxes]]) -> dict[str, Any]:
    return {
        name: from_boxes(values, view.arrays[name])
        if isinstance(values, Boxes)
        else placed_like(values, view.arrays[name])
        for name, values in arrays
    }
