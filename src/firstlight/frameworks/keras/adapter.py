"""The adapter: what Firstlight's verbs may ask of a Keras model, on the backend that Keras uses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.keras import models, seeds
from firstlight.records.calibration import Calibration
from firstlight.records.checkup import JacobianReading, Observation
from firstlight.records.held import Boxes, Held
from firstlight.records.network import Network
from firstlight.records.race import Recipe, Run, Together

__all__ = ["KerasAdapter", "is_model"]

is_model = models.is_model

_ROOMS = {
    "torch": "firstlight.frameworks.keras.torch_room",
    "jax": "firstlight.frameworks.keras.jax_room",
}
"""By backend, who runs a model; imported when asked for, so that no backend needs another."""


def _room() -> Any:
    backend = keras.backend.backend()
    if backend not in _ROOMS:
        raise BadInputError(
            f"backend: Firstlight runs Keras models on torch and jax, not on {backend}; audit,"
            " apply and plans that were saved work here, for the rest set KERAS_BACKEND=torch"
        )
    return import_module(_ROOMS[backend])


class KerasAdapter:
    """Reads, observes and writes Keras models."""

    name = "keras"

    def inspect(self, model: Any) -> Network:
        """The parameters of a model, without running it."""
        found = models.checked(model)
        return Network(
            name=type(model).__name__,
            framework=self.name,
            parameters=tuple(weight.parameter for weight in found),
        )

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
        """One forward and backward pass; without a batch, on a synthetic one.

        Where a target is given and no loss is, the compiled loss counts, else one that fits the
        last layer.
        """
        models.checked(model)
        seen: Observation = _room().observe(
            model, batch, loss=loss, target=target, step=step, optimizer=optimizer, lean=lean
        )
        return seen

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
        seen: Observation = _room().trial(model, arrays, batch, loss=loss, target=target, step=step)
        return seen

    def jacobian(self, model: Any, batch: Any = None) -> JacobianReading:
        """Singular values from input to output."""
        models.checked(model)
        found: JacobianReading = _room().jacobian(model, batch)
        return found

    def values(
        self,
        model: Any,
        *,
        local: bool = False,  # noqa: ARG002
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Each parameter's canonical name and a copy of its values, gates in torch's order."""
        return models.values(model)

    def memory(self, model: Any) -> dict[str, NDArray[Any] | Held | Boxes]:
        """Variables are assigned to; what lies on several devices is asked for in parts."""
        return dict(models.memory(model))

    def write(self, model: Any, arrays: Iterable[tuple[str, NDArray[Any] | Held | Boxes]]) -> Any:
        """Write float32 values, rounded once to each variable's type."""
        return models.write(model, arrays)

    def several(self, batch: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
        """The batch, or the first ones; of Keras's datasets, which give (x, y), the x."""
        if isinstance(batch, keras.utils.PyDataset):
            found = [batch[i] for i in range(min(most, len(batch)))]
            if not found:
                raise BadInputError(f"batch: the {type(batch).__name__} gave no batch")
            if inputs is not None:
                return [inputs(each) for each in found]
            return [each[0] if isinstance(each, tuple) else each for each in found]
        batches: list[Any] = _room().several(batch, inputs=inputs, most=most)
        return batches

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
        """Factors for targets; the model is left as it was."""
        found: Calibration = _room().calibrate(
            model, batches, targets, arrays=arrays, step=step, centred=centred, backward=backward
        )
        return found

    def initial_seed(self) -> int:
        """What `keras.utils.set_random_seed` was told, or what Python's random state stands for."""
        return seeds.own_seed()

    def build(self, factory: Callable[[], Any], seed: int) -> Any:
        """A model from its factory under a seed; random states are put back."""
        return _room().build(factory, seed)

    def save_weights(self, model: Any, path: str) -> None:
        """Parameters and other variables as safetensors, by their names."""
        models.save(model, path)

    def together(self, model: Any, data: Sequence[Any], recipe: Recipe) -> Together:
        """How many such models train best as one."""
        found: Together = _room().together(model, data, recipe)
        return found

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
        """Train a copy of each model."""
        runs: tuple[Run, ...] = _room().train_models(
            models, data, recipe, learning_rates=learning_rates, seeds=seeds, progress=progress
        )
        return runs
