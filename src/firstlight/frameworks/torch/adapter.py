"""The adapter: what Firstlight's verbs may ask of torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstlight.errors import BadInputError, FirstlightError
from firstlight.frameworks.torch import transfer
from firstlight.frameworks.torch.calibration import calibrate
from firstlight.frameworks.torch.coordinates import trace_training
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.jacobian import jacobian
from firstlight.frameworks.torch.layouts import describe_parameters, named_tensors
from firstlight.frameworks.torch.loading import several
from firstlight.frameworks.torch.memory import copied
from firstlight.frameworks.torch.observing import check_model, observe
from firstlight.frameworks.torch.sharding import (
    LocalMemory,
    bare_class,
    is_shared,
    one_process,
    processes,
    refuse_flat,
    refuse_to_run,
    resharded,
    write,
)
from firstlight.frameworks.torch.skeletons import by_fans_alone, skeleton
from firstlight.frameworks.torch.stored import state_of
from firstlight.frameworks.torch.synthetic import synthetic_batch
from firstlight.frameworks.torch.training import together, train
from firstlight.frameworks.torch.training_data import as_data
from firstlight.frameworks.torch.updates import learning_rates, relative_updates
from firstlight.frameworks.torch.valueless import check_values_present, off_meta
from firstlight.records.calibration import Calibration
from firstlight.records.checkup import JacobianReading, Observation
from firstlight.records.held import Held
from firstlight.records.network import Network
from firstlight.records.race import Recipe, Run, Together
from firstlight.records.stored import State
from firstlight.records.transfer import Traced


def _original(model: nn.Module) -> nn.Module:
    """The module inside wrappers that only run it: `torch.compile`, data parallelism."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _looked_past(network: Network, model: nn.Module) -> Network:
    """Complex, integer, sparse and quantised tensors as of kind ``other``: no rule draws those."""
    tensors = named_tensors(model)

    def is_drawn(tensor: Tensor) -> bool:
        return tensor.is_floating_point() and tensor.layout == torch.strided

    parameters = (
        p if is_drawn(tensors[p.name]) else replace(p, kind="other", fans=None)
        for p in network.parameters
    )
    return replace(network, parameters=tuple(parameters))


def is_model(model: Any) -> bool:
    """Whether an object is a model of this framework."""
    return isinstance(model, nn.Module)


class TorchAdapter:
    """Reads, observes and writes torch modules."""

    name = "torch"

    def inspect(self, model: nn.Module) -> Network:
        """The parameters of a model, without running it."""
        refuse_flat(model)
        check_model(model, shapes=True)
        model = _original(model)
        network = Network(
            name=bare_class(model).__name__,
            framework=self.name,
            parameters=describe_parameters(model),
        )
        return _looked_past(network, model)

    def observe(
        self,
        model: nn.Module,
        batch: Any = None,
        *,
        loss: Any = None,
        target: Any = None,
        step: Callable[[Any, Any], Any] | None = None,
        optimizer: Any = None,
        lean: bool = False,
    ) -> Observation:
        """One forward and backward pass; without a batch, on a synthetic one."""
        if lean and batch is None and step is None and is_shared(model):
            return self._observe_unsharded(_original(model))
        refuse_to_run(model)
        model = _original(model) if step is None else model  # a step may reach into its wrapper
        named = named_tensors(model) if optimizer is not None else {}
        if optimizer is not None:
            learning_rates(optimizer, named)  # refuse a wrong one before anything runs
        with off_meta():
            if batch is None and step is None:
                if target is not None:
                    raise BadInputError("batch: missing, but a target was given; pass both")
                batch = synthetic_batch(model, shapes=lean)
            seen = observe(model, batch, loss=loss, target=target, step=step, lean=lean)
        seen = replace(seen, network=_looked_past(seen.network, model))
        if optimizer is None:
            return seen
        ratios = relative_updates(optimizer, named, seen.parameters)
        readings = (replace(r, update_ratio=ratios.get(r.name)) for r in seen.parameters)
        return replace(seen, parameters=tuple(readings))

    def _observe_unsharded(self, model: nn.Module) -> Observation:
        """A sharded model's structure from its skeleton, or its parameters alone."""
        refuse_flat(model)
        bare = skeleton(model)
        try:
            return self.observe(bare, lean=True)
        except FirstlightError:  # it does not run without values, or on no synthetic batch
            seen = by_fans_alone(bare)
        return replace(seen, network=_looked_past(seen.network, bare))

    def trial(
        self,
        model: nn.Module,
        arrays: Iterable[tuple[str, NDArray[Any]]],
        batch: Any = None,
        *,
        loss: Any = None,
        target: Any = None,
        step: Callable[[Any, Any], Any] | None = None,
    ) -> Observation:
        """One pass with ``arrays`` as parameters, rounded as `write` does; nothing is written."""
        refuse_to_run(model)
        named = named_tensors(model)
        # Tensors of inference mode would not take part in the backward pass.
        with torch.inference_mode(False):
            lent = {id(named[name]): torch.from_numpy(values) for name, values in arrays}
            with untouched(model, lent):
                return self.observe(model, batch, loss=loss, target=target, step=step)

    def jacobian(self, model: nn.Module, batch: Any = None) -> JacobianReading:
        """Singular values from input to output; see `firstlight.frameworks.torch.jacobian`."""
        refuse_to_run(model, "jacobian")
        model = _original(model)
        return jacobian(model, synthetic_batch(model) if batch is None else batch)

    def values(
        self, model: nn.Module, *, local: bool = False
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Each parameter's canonical name and a copy of its values, of complex ones the moduli.

        A sharded parameter is gathered, which all processes must ask for, unless ``local``.
        """
        check_values_present(model)

        def copies() -> Iterator[tuple[str, NDArray[Any]]]:
            for name, parameter in named_tensors(model).items():
                yield name, copied(one_process(parameter, local=local))

        return copies()

    def memory(self, model: nn.Module) -> LocalMemory:
        """Of plain dense floating-point parameters on the CPU, and of sharded ones what is here."""
        resharded(model)
        return LocalMemory(named_tensors(model))

    def write(
        self, model: nn.Module, arrays: Iterable[tuple[str, NDArray[Any] | Held]]
    ) -> nn.Module:
        """Write float32 values, rounded once (to nearest even) to each parameter's type."""
        check_values_present(model)
        named = named_tensors(model)
        with torch.no_grad():
            for name, values in arrays:
                write(named[name], values)
        return model

    def several(self, batch: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
        """The batches in ``batch``; see `firstlight.frameworks.torch.loading.several`."""
        return several(batch, inputs=inputs, most=most)

    def calibrate(
        self,
        model: nn.Module,
        batches: Sequence[Any],
        targets: Mapping[str, float],
        *,
        arrays: Iterable[tuple[str, NDArray[np.float32]]] = (),
        step: Callable[[Any, Any], Any] | None = None,
        centred: Collection[str] = (),
        backward: bool = False,
    ) -> Calibration:
        """Factors for targets; see `firstlight.frameworks.torch.calibration.calibrate`."""
        refuse_to_run(model)
        return calibrate(
            _original(model) if step is None else model,
            batches,
            targets,
            arrays=arrays,
            step=step,
            centred=centred,
            backward=backward,
        )

    def initial_seed(self) -> int:
        """Torch's own seed: `torch.initial_seed`.

        Raises:
            BadInputError: several processes train together; each may have a seed of its own.
        """
        if processes() > 1:
            raise BadInputError(
                f"seed: {processes()} processes train together and torch's seed may be another in"
                " each; pass one, seed=0"
            )
        return torch.initial_seed()

    def build(self, factory: Callable[[], nn.Module], seed: int) -> nn.Module:
        """A model from its factory under `torch.manual_seed`; the random state is put back."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return factory()

    def together(self, model: nn.Module, data: Sequence[Any], recipe: Recipe) -> Together:
        """How many such models train best as one; see `firstlight.frameworks.torch.training`."""
        return together(model, as_data(data), recipe)

    def train(
        self,
        models: Sequence[nn.Module],
        data: Sequence[Any],
        recipe: Recipe,
        *,
        learning_rates: Sequence[float],
        seeds: Sequence[int],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Run, ...]:
        """Train a copy of each model; see `firstlight.frameworks.torch.training.train`."""
        return train(
            models,
            as_data(data),
            recipe,
            learning_rates=learning_rates,
            seeds=seeds,
            progress=progress,
        )

    def state(self, model: nn.Module, dtype: str | None = None) -> State:
        """What a weight file holds; see `firstlight.frameworks.torch.stored.state_of`."""
        return state_of(_original(model), dtype)

    def save_weights(self, model: nn.Module, path: str) -> None:
        """Parameters and buffers as safetensors; tied tensors are stored once."""
        from safetensors import SafetensorError
        from safetensors.torch import save_model

        try:
            save_model(model, path)
        except SafetensorError as error:
            raise OSError(str(error)) from error

    def parameter_groups(
        self,
        model: nn.Module,
        factors: Mapping[str, float],
        *,
        lr: float,
        weight_decay: float | None,
    ) -> list[dict[str, Any]]:
        """Groups by factors of the rate; see `firstlight.frameworks.torch.transfer`."""
        return transfer.parameter_groups(
            _original(model), factors, lr=lr, weight_decay=weight_decay
        )

    def scale_inputs(self, model: nn.Module, factors: Mapping[str, float]) -> None:
        """Multiply the inputs of modules from now on."""
        transfer.scale_inputs(_original(model), factors)

    def optimizer(self, kind: Any, groups: Any, *, lr: float) -> torch.optim.Optimizer:
        """An optimizer of torch, by name or class, over groups or a model."""
        return transfer.optimizer(kind, groups, lr=lr)

    def trace_training(
        self,
        model: nn.Module,
        batch: Any,
        *,
        optimizer: Callable[[Any], Any],
        steps: int,
        seed: int,
        loss: Any,
        target: Any,
        step: Callable[[Any, Any], Any] | None,
    ) -> Traced:
        """Train ``model`` itself; see `firstlight.frameworks.torch.coordinates`."""
        return trace_training(
            model,
            batch,
            optimizer=optimizer,
            steps=steps,
            seed=seed,
            loss=loss,
            target=target,
            step=step,
        )
