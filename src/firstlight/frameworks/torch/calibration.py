"""Calibration: one pass where each weight is used once, at most three where weights are shared.

First pass: every use of a weight is brought to the target by a factor of its own; the weight takes
the geometric mean of them. With one use that is all. A weight that is used again is then held at
that mean while a second pass measures what became of its uses: errors e_u = log(second moment /
target). Some of an error at one use arrives at the next; the share ρ is read from the pass itself
(e_u = own part + ρ·e_{u−1}, the own part being known from the first), so that the mean error
answers a change of the weight by 2·mean_u(1 + ρ + … + ρ^{u−1}), and one step takes it off. The
third pass settles the others around it. So is a weight that reaches its operation through an
expression (weight norm): if the second pass shows that its scale does not arrive, it stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.balancing import balanced
from firstlight.frameworks.torch.calibrating import Calibrator
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.layouts import named_tensors, vector_biases
from firstlight.frameworks.torch.observing import check_model
from firstlight.frameworks.torch.pooling import arrives, common_step, pooled
from firstlight.frameworks.torch.tracing import Tracer, tensors_in
from firstlight.frameworks.torch.weight_uses import Weight
from firstlight.records.calibration import Calibration, Scaling

Step = Callable[[Any, Any], Any]

_FORWARDS = 3
_ENOUGH = 0.1
_OF_SPREAD = 1 / 8
"""Mean error of a shared weight's uses, at least and as a share of how far they lie apart, below
which it stays as it is: a third pass would not bring them nearer to the target."""


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
        self.factors = dict.fromkeys(targets, 1.0)
        self.left: dict[str, str] = {}
        self.own: dict[str, list[list[float]]] = {}
        """For each weight and batch, the logarithms of the factors that its uses asked for."""
        self.errors: dict[str, list[list[float]]] = {}
        self.shifts: dict[str, tuple[str, list[Tensor]]] = {}
        self.biases = vector_biases(model)
        self.centred = {n: named[n] for n in centred}
        self.drawn_biases = {n: named[n].detach().clone() for n in centred}
        self.forwards = 0
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
                f" {batches.shapes_of(given)}: {' '.join(str(error).split()) or 'no message'}"
            ) from error

    def sweep(self) -> None:
        """One pass for each batch, and the factors that follow from it."""
        self.forwards += 1
        try:
            self._sweep()
        except ModelRaisedError:
            if self.differentiable:
                raise
            self.differentiable = True
            self._sweep()

    def _sweep(self) -> None:
        self.errors, self.shifts = {}, {}
        own: dict[str, list[list[float]]] = {}
        empty: dict[str, int] = {}
        unreachable: dict[str, int] = {}
        for batch in self.given:
            for name, weight in self.weights.items():
                weight.begin()
                weight.set(self.factors[name])
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
            for name, weight in self.weights.items():
                if weight.factors:
                    own.setdefault(name, []).append([math.log(f) for f in weight.factors])
                if weight.errors:
                    self.errors.setdefault(name, []).append(weight.errors)
                empty[name] = empty.get(name, 0) + weight.empty
                unreachable[name] = unreachable.get(name, 0) + weight.unreachable
            for bias_name, (name, shift) in tracer.shifts.items():
                self.shifts.setdefault(bias_name, (name, []))[1].append(shift)
        for name, weight in self.weights.items():
            if weight.fixed:
                continue
            self.left.pop(name, None)
            if name in own:
                self.factors[name] = pooled(own[name])
            else:
                self.factors[name] = 1.0
                self.left[name] = _why_left(empty[name], unreachable[name])
        self.own |= own

    def unsettled(self) -> list[str]:
        """Weights that one pass does not settle: used again, or through an expression."""
        return [
            name
            for name, weight in self.weights.items()
            if name in self.own
            and (not weight.direct or max(len(uses) for uses in self.own[name]) > 1)
        ]

    def hold(self, names: Iterable[str]) -> None:
        """Measure these from now on and change them between passes only."""
        for name in names:
            self.weights[name].fixed = True
            self.weights[name].probed = not self.weights[name].direct
            for bias in [b for b, (owner, _) in self.shifts.items() if owner == name]:
                # No one bias takes the means of several uses off: it is again what was drawn.
                self.centred.pop(bias).data.copy_(self.drawn_biases[bias])
                del self.shifts[bias]

    def correct(self, names: Iterable[str]) -> bool:
        """One step for weights that were held; whether any moved."""
        moved = False
        for name in names:
            errors, self.weights[name].probed = self.errors.get(name), False
            if errors is None:
                continue
            own = [
                [2 * (math.log(self.factors[name]) - each) for each in uses]
                for uses in self.own[name]
            ]
            if not self.weights[name].direct:
                if not arrives(errors, self.factors[name]):
                    self.factors[name] = 1.0
                    self.left[name] = "its scale does not arrive at its result"
                    moved = True
                    continue
                self.weights[name].fixed = max(len(uses) for uses in own) > 1
            flat = [each for uses in errors for each in uses]
            change = common_step(errors, own)
            if abs(sum(flat)) / len(flat) > max(_ENOUGH, _OF_SPREAD * (max(flat) - min(flat))):
                self.factors[name] *= math.exp(change)
                moved = True
        return moved

    def result(self) -> Calibration:
        """What was found, as plain data."""
        return Calibration(
            scalings=tuple(self._scaling(name) for name in self.weights),
            shifts=tuple(
                (bias, tuple(self._shift(name, found).tolist()))
                for bias, (name, found) in self.shifts.items()
            ),
            forwards=self.forwards,
            batches=len(self.given),
        )

    def _shift(self, name: str, found: list[Tensor]) -> Tensor:
        return torch.stack(found).double().mean(dim=0) * self.factors[name]

    def _scaling(self, name: str) -> Scaling:
        if self.weights[name].fixed:
            errors = self.errors.get(name, [])
        else:  # where batches differ, each is off by what its own factor differs from the common
            log_factor = math.log(self.factors[name])
            errors = [[2 * (log_factor - f) for f in uses] for uses in self.own.get(name, [])]
        flat = [e for each in errors for e in each] or [0.0]
        return Scaling(
            name=name,
            factor=self.factors[name],
            uses=max((len(each) for each in errors), default=0),
            low=math.exp(min(flat)),
            high=math.exp(max(flat)),
            left=self.left.get(name),
        )


def _why_left(empty: int, unreachable: int) -> str:
    if empty:
        return "its result is zero or not finite"
    return "its bias alone exceeds the target" if unreachable else "not used in this pass"


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
        passes.sweep()
        held = passes.unsettled()
        if held:
            passes.hold(held)
            passes.sweep()
            if passes.correct(held) and passes.forwards < _FORWARDS:
                passes.sweep()
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
    for name, weight in passes.weights.items():
        weight.set(passes.factors[name])
    passes.differentiable = True
    shared = {name for name, weight in passes.weights.items() if weight.fixed}
    changes = balanced(
        passes.model,
        passes.names,
        {n: p for n, p in passes.named.items() if p.requires_grad},
        set(passes.weights) - shared - set(passes.left),
        lambda tracer: passes.run(tracer, passes.given[0]),
    )
    passes.forwards += 1
    passes.hold(changes)
    for name, change in changes.items():
        passes.factors[name] *= change
    passes.sweep()
