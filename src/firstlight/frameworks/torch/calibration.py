"""Calibration: one pass where each weight is used once, at most three where weights are shared.

What follows from a pass is decided by `firstlight.measuring.calibrating`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError, said
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.balancing import balanced
from firstlight.frameworks.torch.calibrating import Calibrator
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.layouts import named_tensors, vector_biases
from firstlight.frameworks.torch.observing import check_model
from firstlight.frameworks.torch.tracing import Tracer, tensors_in
from firstlight.frameworks.torch.weight_uses import Weight
from firstlight.measuring.calibrating import Ledger, Swept
from firstlight.records.calibration import Calibration

Step = Callable[[Any, Any], Any]


class _Passes:
    """A model whose parameters hold the drawn values, and what is known of its weights."""

    def __init__(
        self,
        model: nn.Module,
        named: Mapping[str, nn.Parameter],
        given: Sequence[Any],
        targets: Mapping[str, float],
        step: Step | None,
        centred: Collection[str],
    ) -> None:
        self.named = named
        self.device = next(iter(named.values())).device
        self.model, self.given, self.step = model, given, step
        self.names = {id(p): n for n, p in named.items()}
        self.weights = {n: Weight(tensor=named[n], target=t) for n, t in targets.items()}
        self.ledger = Ledger(names=tuple(targets))
        self.shifts: dict[str, tuple[str, list[Tensor]]] = {}
        self.biases = vector_biases(model)
        self.centred = {n: named[n] for n in centred}
        self.drawn_biases = {n: named[n].detach().clone() for n in centred}
        self.differentiable = False
        """Whether passes keep what a derivative needs; some models take one as they run."""
        self._random = torch.get_rng_state()

    def run(self, tracer: Tracer, batch: Any) -> Any:
        """One forward pass under a tracer; dropout draws the same in each."""
        torch.set_rng_state(self._random)
        given = batches.placed(batch, self.device)
        try:
            with torch.set_grad_enabled(self.differentiable), tracer.module_names(), tracer:
                tracer.add_inputs(tensors_in(given))
                if self.step is None:
                    return batches.call(self.model, given)
                with batches.WithoutBackward():
                    return self.step(self.model, given)
        except FirstlightError:
            raise
        except Exception as error:
            raise ModelRaisedError(
                f"{type(self.model).__name__}: raised {type(error).__name__} on a batch of"
                f" {batches.shapes_of(given)}: {said(error)}"
            ) from error

    def sweep(self) -> list[dict[str, Swept]]:
        """One pass for each batch."""
        try:
            return self._sweep()
        except ModelRaisedError:
            if self.differentiable:
                raise
            self.differentiable = True
            return self._sweep()

    def _sweep(self) -> list[dict[str, Swept]]:
        self.shifts = {}
        found = []
        for name, weight in self.weights.items():
            weight.fixed = name in self.ledger.fixed
            weight.probed = name in self.ledger.probed
        for batch in self.given:
            for name, weight in self.weights.items():
                weight.begin()
                weight.set(self.ledger.factors[name])
            for name, bias in self.centred.items():
                bias.data.copy_(self.drawn_biases[name])
            tracer = Calibrator(
                self.model,
                self.names,
                self.weights,
                biases=self.biases,
                centred=self.centred,
            )
            self.run(tracer, batch)
            found.append({name: weight.swept() for name, weight in self.weights.items()})
            for bias_name, (name, shift) in tracer.shifts.items():
                self.shifts.setdefault(bias_name, (name, []))[1].append(shift)
        self.ledger.indirect |= {n for n, weight in self.weights.items() if not weight.direct}
        return found

    def free_biases(self, name: str) -> None:
        """No one bias takes the means of several uses off: those of a held weight are drawn."""
        for bias in [b for b, (owner, _) in self.shifts.items() if owner == name]:
            self.centred.pop(bias).data.copy_(self.drawn_biases[bias])
            del self.shifts[bias]

    def result(self) -> Calibration:
        """What was found, as plain data."""
        return Calibration(
            scalings=tuple(self.ledger.scaling(name) for name in self.weights),
            shifts=tuple(
                (bias, tuple(self._shift(name, found).tolist()))
                for bias, (name, found) in self.shifts.items()
            ),
            forwards=self.ledger.forwards,
            batches=len(self.given),
        )

    def _shift(self, name: str, found: list[Tensor]) -> Tensor:
        return torch.stack(found).double().mean(dim=0) * self.ledger.factors[name]


@contextmanager
def _slow_attention() -> Any:
    """Attention in evaluation mode would take one closed kernel where no gradient is wanted."""
    mha = torch.backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


def calibrate(
    model: nn.Module,
    given: Sequence[Any],
    targets: Mapping[str, float],
    *,
    arrays: Iterable[tuple[str, NDArray[np.float32]]] = (),
    step: Step | None = None,
    centred: Collection[str] = (),
    backward: bool = False,
) -> Calibration:
    """Find the factors that bring each weight's results to their targets; the model stays.

    Args:
        model: as for `observe`; in its training mode.
        given: batches.
        targets: second moment of the results of each weight.
        arrays: values to calibrate in place of the model's own.
        step: (model, batch) → loss, instead of calling the model.
        centred: biases that shall take the mean of each unit off.
        backward: trade the forward targets against the flow of δ; see `balanced`.

    Raises:
        BadInputError: a batch or the model cannot be used.
        ModelRaisedError: the model raised.
    """
    device = check_model(model)
    with torch.inference_mode(False):
        # Each pass takes a copy of its own; a batch that is where it should be needs none here.
        given = [
            batch if _is_at(batch, device) else batches.placed(batch, device) for batch in given
        ]
    for batch in given:
        if step is None:
            batches.check_batch(batch)
        batches.check_values(batch, "batch")
    named = named_tensors(model)
    unknown = [name for name in targets if name not in named]
    if unknown:
        raise BadInputError(f"targets: no parameter '{unknown[0]}' in the model")
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        untouched(model, _held(named, targets, arrays)),
        batches.eagerly(),
        _slow_attention(),
    ):
        if not model.training:
            model.train()
        passes = _Passes(model, named, given, targets, step, centred)
        passes.ledger.settle(passes.sweep, passes.free_biases)
        if backward:
            _balance(passes)
        return passes.result()


def _is_at(batch: Any, device: torch.device) -> bool:
    """Whether a batch is one tensor that lies where the model does."""
    return isinstance(batch, Tensor) and batch.device == device and not batch.is_inference()


def _held(
    named: Mapping[str, nn.Parameter],
    targets: Mapping[str, float],
    arrays: Iterable[tuple[str, NDArray[np.float32]]],
) -> dict[int, Tensor]:
    """What the parameters hold during the calibration, by identity; this memory is written to."""
    drawn = {id(named[name]): torch.from_numpy(values) for name, values in arrays}
    own = (named[name] for name in targets)
    return {id(p): p.detach().clone() for p in own if id(p) not in drawn} | drawn


def _balance(passes: _Passes) -> None:
    """Apply the backward balance, and bring what it does not touch back to its target."""
    ledger = passes.ledger
    for name, weight in passes.weights.items():
        weight.set(ledger.factors[name])
    passes.differentiable = True
    changes = balanced(
        passes.model,
        passes.names,
        {n: p for n, p in passes.named.items() if p.requires_grad},
        ledger.single,
        lambda tracer: passes.run(tracer, passes.given[0]),
    )
    ledger.balance(changes, passes.sweep, passes.free_biases)
