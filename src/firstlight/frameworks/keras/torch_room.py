"""Keras on its torch backend: torch's room does the work, on a `KerasReading`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from firstlight.errors import BadInputError
from firstlight.frameworks.keras import seeds
from firstlight.frameworks.keras.losses import Known, Other, loss_of
from firstlight.frameworks.keras.models import check_learns, reordered
from firstlight.frameworks.keras.synthetic import synthetic_batch
from firstlight.frameworks.keras.torch_reading import KerasReading, reading_of
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.training import train
from firstlight.frameworks.torch.training_data import as_data
from firstlight.records.calibration import Calibration
from firstlight.records.checkup import JacobianReading, Observation
from firstlight.records.race import Recipe, Run, Together

Arrays = Iterable[tuple[str, NDArray[Any]]]
Step = Callable[[Any, Any], Any]

_TINY = 1e-7
"""What Keras keeps probabilities away from zero by."""

_torch = TorchAdapter()


def _logits(output: Tensor, known: Known) -> Tensor:
    if not known.of_probabilities:
        return output
    if known.name == "cross_entropy":
        return torch.log(output.clamp(min=_TINY))
    return torch.logit(output, eps=_TINY)


def _with_known(known: Known) -> Callable[[Tensor, Any], Tensor]:
    def computed(output: Tensor, target: Any) -> Tensor:
        given = _logits(output, known)
        if known.name == "cross_entropy":
            return _cross_entropy(given, target)
        target = target.to(given.dtype)
        if target.dim() == given.dim() - 1 and given.shape[-1] == 1:
            target = target.unsqueeze(-1)
        return batches.LOSSES[known.name](given, target)

    return computed


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Classes last, as Keras has them; targets are indices (perhaps in columns) or one-hot."""
    if target.is_floating_point() and target.shape == logits.shape:
        return functional.cross_entropy(logits.flatten(0, -2), target.flatten(0, -2))
    if target.shape == logits.shape and logits.shape[-1] > 1:
        target = target.argmax(dim=-1)
    return functional.cross_entropy(logits.flatten(0, -2), target.long().flatten())


def _loss(model: Any, loss: Any, target: Any) -> Any:
    found = loss_of(model, loss, target)
    if isinstance(found, Known):
        return _with_known(found)
    return found.function if isinstance(found, Other) else found


def _own_step(model: Any, step: Step | None) -> Step | None:
    """A user's step gets the user's model; what is no step is refused where all are."""
    return (lambda _, batch: step(model, batch)) if callable(step) else step


def _stored(reading: KerasReading, arrays: Arrays) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, values in arrays:
        yield name, reordered(values) if reading.weight(name).reordered else values


def _batch(reading: KerasReading, batch: Any) -> Any:
    if batch is not None:
        return batch

    def accepts(given: Any) -> str | None:
        try:
            with untouched(reading), torch.no_grad():
                batches.call(reading, batches.placed(given, device))
        except Exception as error:
            return " ".join(str(error).split())
        return None

    device = next(iter(reading.tensors().values())).device
    return synthetic_batch(reading.model, accepts)


def observe(
    model: Any,
    batch: Any,
    *,
    loss: Any,
    target: Any,
    step: Step | None,
    optimizer: Any,
    lean: bool,
) -> Observation:
    """One pass, by torch's room."""
    reading = reading_of(model)
    if batch is None and target is not None:
        raise BadInputError("batch: missing, but a target was given; pass both")
    if step is None:
        batch = _batch(reading, batch)
        loss = _loss(model, loss, target)
    return _torch.observe(
        reading,
        batch,
        loss=loss,
        target=target,
        step=_own_step(model, step),
        optimizer=_optimizer(reading, optimizer),
        lean=lean,
    )


def _optimizer(reading: KerasReading, optimizer: Any) -> Any:
    """One of Keras's optimizers as torch's of the same first step; torch's own as it is."""
    if optimizer is None or isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    parameters = [t for t in reading.tensors().values() if t.requires_grad]
    name = type(optimizer).__name__
    try:
        rate = float(optimizer.learning_rate)
        if name == "SGD":
            momentum = float(optimizer.momentum or 0.0)
            nesterov = bool(optimizer.nesterov and momentum)
            return torch.optim.SGD(parameters, lr=rate, momentum=momentum, nesterov=nesterov)
        if name in ("Adam", "AdamW"):
            betas = (float(optimizer.beta_1), float(optimizer.beta_2))
            eps = float(optimizer.epsilon)
            if name == "Adam":
                return torch.optim.Adam(parameters, lr=rate, betas=betas, eps=eps)
            decay = float(optimizer.weight_decay or 0.0)
            return torch.optim.AdamW(parameters, lr=rate, betas=betas, eps=eps, weight_decay=decay)
        if name == "RMSprop":
            alpha, eps = float(optimizer.rho), float(optimizer.epsilon)
            centred = bool(optimizer.centered)
            return torch.optim.RMSprop(parameters, rate, alpha=alpha, eps=eps, centered=centred)
    except (AttributeError, TypeError, ValueError):
        pass
    raise BadInputError(
        f"optimizer: the first step of a {name} is not known here; pass a keras.optimizers.SGD,"
        " Adam, AdamW or RMSprop, or none"
    )


def trial(
    model: Any, arrays: Arrays, batch: Any, *, loss: Any, target: Any, step: Step | None
) -> Observation:
    """One pass with ``arrays`` as parameters."""
    reading = reading_of(model)
    return _torch.trial(
        reading,
        _stored(reading, arrays),
        _batch(reading, batch) if step is None else batch,
        loss=_loss(model, loss, target) if step is None else None,
        target=target,
        step=_own_step(model, step),
    )


def jacobian(model: Any, batch: Any) -> JacobianReading:
    """Singular values from input to output."""
    reading = reading_of(model)
    return _torch.jacobian(reading, _batch(reading, batch))


def several(batch: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
    """The batch, or the first ones of what gives batches."""
    return _torch.several(batch, inputs=inputs, most=most)


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
    """Factors for targets; shifts of reordered gates are told in torch's order."""
    reading = reading_of(model)
    return _torch.calibrate(
        reading,
        given,
        targets,
        arrays=_stored(reading, arrays),
        step=_own_step(model, step),
        centred=centred,
        backward=backward,
    )


def build(factory: Callable[[], Any], seed: int) -> Any:
    """A model from its factory under a seed of Keras's and torch's, which are put back."""
    return _torch.build(lambda: seeds.build(factory, seed), seed)


def together(model: Any, _data: Sequence[Any], _recipe: Recipe) -> Together:
    """Keras models keep their state in variables, which no map over models reaches."""
    check_learns(model)
    return Together(count=1, reason="trained one after another: Keras models hold their own state")


def _copied(model: Any) -> Any:
    """A model with variables of its own, not compiled.

    Keras copies by saving and loading, which raises where an optimizer has taken no step yet.
    """
    own = vars(model)
    kept = {name: own[name] for name in ("compiled", "optimizer") if name in own}
    own.update({"compiled": False, "optimizer": None} if kept else {})
    try:
        return copy.deepcopy(model)
    finally:
        own.update(kept)


def train_models(
    models: Sequence[Any],
    data: Sequence[Any],
    recipe: Recipe,
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    progress: Callable[[int], None] | None,
) -> tuple[Run, ...]:
    """Train a copy of each model by torch's room, one after another."""
    runs: list[Run] = []
    for model, rate, seed in zip(models, learning_rates, seeds, strict=True):
        target = data[1]
        own = replace(recipe, loss=_loss(model, recipe.loss, target))
        reading = reading_of(_copied(model))
        runs += train(
            [reading], as_data(data), own, learning_rates=[rate], seeds=[seed], progress=progress
        )
    return tuple(runs)
