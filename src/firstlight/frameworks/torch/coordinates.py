"""A few steps of training, with the size of every operation's result and of its change."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.ending import scalar_loss
from firstlight.frameworks.torch.layouts import describe_parameters, named_tensors
from firstlight.frameworks.torch.observing import check_model
from firstlight.frameworks.torch.tracing import Tracer, tensors_in
from firstlight.measuring.coordinates import FOLLOWED
from firstlight.network.uses import refined
from firstlight.records.network import Network, Operation
from firstlight.records.transfer import Traced


def _rms(tensor: Tensor) -> float:
    values = tensor.detach()
    values = torch.view_as_real(values) if values.is_complex() else values
    size = float(torch.linalg.vector_norm(values.float())) / math.sqrt(max(1, values.numel()))
    return size if math.isfinite(size) else math.inf


class _Kept:
    """Receives each operation as it runs: keeps its result once, later only the change."""

    def __init__(self) -> None:
        self.first: dict[str, Tensor] = {}
        self.start: dict[str, float] = {}
        self.arriving: dict[str, float] = {}
        self.change: dict[str, list[float]] = {}
        self._begun = False

    def again(self) -> None:
        """What follows is compared with what was kept."""
        self._begun = True

    def __call__(
        self,
        operation: Operation,
        result: Tensor,
        data: tuple[Tensor, ...],
    ) -> Tensor:
        if operation.kind not in FOLLOWED or not result.is_floating_point():
            return result
        if not self._begun:
            self.first[operation.name] = result.detach().clone()
            self.start[operation.name] = _rms(result)
            if operation.kind == "weighted" and data and data[0].is_floating_point():
                self.arriving[operation.name] = _rms(data[0])
        elif operation.name in self.first:
            before = self.first[operation.name]
            if before.shape == result.shape:
                moved = _rms(result.detach() - before)
                self.change.setdefault(operation.name, []).append(moved)
        return result


def trace_training(
    model: nn.Module,
    batch: Any,
    *,
    optimizer: Callable[[nn.Module], Any],
    steps: int,
    seed: int,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
) -> Traced:
    """Train ``model`` itself on one batch; torch's random state is put back.

    Every pass has the same seed, so that dropout drops the same values and a change is one of the
    weights.

    Args:
        model: is changed; pass a model made for this.
        batch: as for `observe`.
        optimizer: gives one for the model.
        steps: at least 1.
        seed: of every pass.
        loss: as for `observe`; one is needed, by name, by a target, by the output or by ``step``.
        target: as for `observe`.
        step: as for `observe`.

    Returns:
        Sizes by name.

    Raises:
        BadInputError: nothing to train on, or an optimizer that is none.
        ModelRaisedError: the model raised.
    """
    device = check_model(model)
    named = named_tensors(model)
    start = {name: tensor.detach().clone() for name, tensor in named.items()}
    kept = _Kept()
    losses: list[float] = []
    first: dict[str, float] = {}
    model.train()
    with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
        stepper = optimizer(model)
        if not (callable(getattr(stepper, "step", None)) and hasattr(stepper, "zero_grad")):
            raise BadInputError(
                f"optimizer: expected (model) → torch.optim.Optimizer, which gave"
                f" {type(stepper).__name__}"
            )
        network = None
        for number in range(steps + 1):
            torch.manual_seed(seed)
            given, wanted = batches.placed(batch, device), batches.placed(target, device)
            tracer = Tracer(model, {id(p): n for n, p in named.items()}, kept)
            try:
                with batches.eagerly(), tracer.module_names(), tracer:
                    tracer.add_inputs(tensors_in(given))
                    value, outputs = scalar_loss(model, given, loss=loss, target=wanted, step=step)
                losses.append(float(value.detach()))
                if number < steps:
                    stepper.zero_grad()
                    value.backward()
                    stepper.step()
            except FirstlightError:
                raise
            except Exception as error:
                raise ModelRaisedError(
                    f"{type(model).__name__}: raised {type(error).__name__} in step {number} on a"
                    f" batch of {batches.shapes_of(given)}:"
                    f" {' '.join(str(error).split()) or 'no message'}"
                ) from error
            if network is None:
                network = _network(model, tracer, outputs)
                first = {name: _rms(named[name].detach() - start[name]) for name in named}
            kept.again()
    assert network is not None
    return Traced(
        network=network,
        losses=tuple(losses),
        start=kept.start,
        change={name: tuple(found) for name, found in kept.change.items() if len(found) == steps},
        arriving=kept.arriving,
        parameter_start={name: _rms(tensor) for name, tensor in start.items()},
        parameter_first=first,
        parameter_change={name: _rms(named[name].detach() - start[name]) for name in named},
    )


def _network(model: nn.Module, tracer: Tracer, outputs: list[Tensor]) -> Network:
    uses = tracer.uses
    described = (
        refined(p, uses[p.name]) if p.kind == "other" and p.name in uses else p
        for p in describe_parameters(model)
    )
    makers = (tracer.maker(tensor) for tensor in outputs)
    return Network(
        name=type(model).__name__,
        framework="torch",
        operations=tuple(tracer.operations),
        parameters=tuple(described),
        outputs=tuple(maker for maker in makers if maker is not None),
    )
