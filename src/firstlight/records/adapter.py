"""What a framework must be able to do for Firstlight: the adapter's protocol."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from firstlight.records.calibration import Calibration
from firstlight.records.checkup import JacobianReading, Observation
from firstlight.records.held import Boxes, Held
from firstlight.records.network import Network
from firstlight.records.race import Recipe, Run, Together
from firstlight.records.transfer import Traced


class Adapter(Protocol):
    """Reads, observes, writes and trains the models of one framework."""

    name: str

    def inspect(self, model: Any) -> Network:
        """The parameters of a model, without running it."""
        ...

    def observe(
        self,
        model: Any,
        batch: Any,
        *,
        loss: Any = None,
        target: Any = None,
        step: Callable[[Any, Any], Any] | None = None,
        optimizer: Any = None,
        lean: bool = False,
    ) -> Observation:
        """Run the model forward and backward once and leave it as it was.

        ``lean``: what a plan needs and no more, without the backward pass.
        """
        ...

    def trial(
        self,
        model: Any,
        arrays: Iterable[tuple[str, NDArray[Any]]],
        batch: Any,
        *,
        loss: Any = None,
        target: Any = None,
        step: Callable[[Any, Any], Any] | None = None,
    ) -> Observation:
        """What `observe` sees with ``arrays`` as parameters; the model is left as it was."""
        ...

    def jacobian(self, model: Any, batch: Any = None) -> JacobianReading:
        """Measure the singular values of the input–output Jacobian; leave the model as it was."""
        ...

    def values(self, model: Any, *, local: bool = False) -> Iterator[tuple[str, NDArray[Any]]]:
        """Each parameter's canonical name and a copy of its values (16-bit types widened).

        ``local``: of a parameter that several processes hold together, what is here; else the
        whole, which they have to gather.
        """
        ...

    def memory(self, model: Any) -> Mapping[str, NDArray[Any] | Held | Boxes]:
        """The parameters' own memory, of those that can be drawn into; may be empty.

        Writable float32, float64, float16, or uint16 with the bits of bfloat16. Of a parameter
        that several processes hold together, what this one holds.
        """
        ...

    def write(self, model: Any, arrays: Iterable[tuple[str, NDArray[Any] | Held | Boxes]]) -> Any:
        """Write values (float32 if drawn) into named parameters, rounding once to their type.

        Where an array *is* what `memory` gave, its values have been written already.
        Returns the model that carries them: the same one, or a new one where models are immutable.
        """
        ...

    def several(self, batch: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
        """The batch, or the first ones of a loader or another iterable that gives batches."""
        ...

    def calibrate(
        self,
        model: Any,
        batches: Sequence[Any],
        targets: Mapping[str, float],
        *,
        arrays: Iterable[tuple[str, NDArray[np.float32]]],
        step: Callable[[Any, Any], Any] | None,
        centred: Collection[str],
        backward: bool,
    ) -> Calibration:
        """Find, for ``arrays`` as weights, the factors that bring results to their targets."""
        ...

    def build(self, factory: Callable[[], Any], seed: int) -> Any:
        """A model from its factory under the framework's own seed, which is put back after."""
        ...

    def initial_seed(self) -> int:
        """The framework's own seed."""
        ...

    def save_weights(self, model: Any, path: str) -> None:
        """Write the model's parameters and buffers as safetensors."""
        ...

    def together(self, model: Any, data: Sequence[Any], recipe: Recipe) -> Together:
        """How many models like this one are best trained as one, and why."""
        ...

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
        """Train a copy of each model on (inputs, targets, held-out inputs, held-out targets).

        The runs are a function of the arguments alone: bit for bit the same in another process.
        """
        ...


@runtime_checkable
class Transferring(Protocol):
    """What an adapter can do besides where models are trained by parameter groups (torch)."""

    name: str

    def parameter_groups(
        self, model: Any, factors: Mapping[str, float], *, lr: float, weight_decay: float | None
    ) -> list[dict[str, Any]]:
        """Parameter groups of the optimizer's own form, by factors of the rate."""
        ...

    def scale_inputs(self, model: Any, factors: Mapping[str, float]) -> None:
        """Multiply the inputs of named modules from now on."""
        ...

    def trace_training(
        self,
        model: Any,
        batch: Any,
        *,
        optimizer: Callable[[Any], Any],
        steps: int,
        seed: int,
        loss: Any,
        target: Any,
        step: Callable[[Any, Any], Any] | None,
    ) -> Traced:
        """Train ``model`` itself for a few steps and tell how its coordinates change."""
        ...

    def optimizer(self, kind: Any, groups: Any, *, lr: float) -> Any:
        """An optimizer of the framework, by name or class, over groups or a model."""
        ...
