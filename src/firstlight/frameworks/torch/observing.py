"""One instrumented forward and backward pass; the model is left bit for bit as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError, said
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.beside import has_values
from firstlight.frameworks.torch.ending import Ends, cotangent, ends_of
from firstlight.frameworks.torch.foreign import Foreign
from firstlight.frameworks.torch.gradients import differentiate
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.inputs import exact, input_reading
from firstlight.frameworks.torch.layouts import describe_parameters, named_tensors
from firstlight.frameworks.torch.posing import AsOnCpu
from firstlight.frameworks.torch.probes import MEASURED, Probe
from firstlight.frameworks.torch.reachability import waking
from firstlight.frameworks.torch.shapes import NoValueError
from firstlight.frameworks.torch.tracing import Tracer, tensors_in
from firstlight.frameworks.torch.unseen import with_activations
from firstlight.frameworks.torch.valueless import (
    among_shapes,
    check_values_present,
    lacks_values,
    no_value,
)
from firstlight.frameworks.torch.weights import parameter_readings
from firstlight.measuring.details import MOST_DETAILS
from firstlight.network.uses import refined
from firstlight.records.checkup import InputReading, Observation, Reading
from firstlight.records.network import Network, Operation, Parameter, Task
from firstlight.theory.activations import activation

_RESOLVED = 1e-3
"""Share of the mean square from which a variance by difference of sums is trusted."""


class _Recorder:
    """Receives each operation as it runs: attaches probes, remembers what the loss saw."""

    def __init__(self, samples: int, *, lean: bool = False) -> None:
        self.samples = samples
        self._lean = lean
        self.probes: dict[int, Probe] = {}
        self.inputs_of: dict[int, Tensor] = {}
        self.unmeasured: list[str] = []
        self.unseen: list[Reading] = []
        """Of results without values."""
        self.loss_operands: tuple[Operation, tuple[Tensor, ...]] | None = None
        self.leaf: Tensor | None = None
        self._needs_leaf = True
        self.raw: dict[int, float] = {}
        self.inputs: list[InputReading] = []
        self._from_batch: set[int] = set()
        self._close: list[Probe] = []
        self._met, self._every = 0, 1

    def readings(self) -> tuple[Reading, ...]:
        """What was measured, in order; of results without values, that they were there."""
        seen = [
            replace(probe.reading(), raw_mean_square=self.raw.get(index))
            for index, probe in self.probes.items()
        ]
        if not self.unseen:
            return tuple(seen)
        return tuple(sorted((*seen, *self.unseen), key=lambda reading: reading.operation))

    def _closely(self, probe: Probe, result: Tensor) -> None:
        """Look at every n-th weighted operation; n doubles whenever there are too many."""
        if self._lean or probe.operation.kind != "weighted":
            return
        if self._met % self._every == 0:
            probe.look_closely(result)
            self._close.append(probe)
        self._met += 1
        if len(self._close) > MOST_DETAILS:
            for left in self._close[1::2]:
                left.look_away()
            self._close, self._every = self._close[::2], 2 * self._every

    def _is_raw(self, operation: Operation) -> bool:
        """Whether an operation with weights reads the batch as its code prepared it."""
        if operation.kind in ("weighted", "composite"):
            return bool(operation.inputs) and operation.inputs[0] in self._from_batch
        prepares = operation.kind not in ("norm", "embedding")
        if prepares and self._from_batch.issuperset(operation.inputs):
            self._from_batch.add(operation.index)
        return False

    def __call__(self, operation: Operation, result: Tensor, data: tuple[Tensor, ...]) -> Tensor:
        if operation.kind == "loss":
            self.loss_operands = (operation, data)
        if operation.kind == "input":
            found = input_reading(operation, result) if has_values(result) else None
            self.inputs += [found] if found is not None else []
        raw = self._is_raw(operation)
        if operation.kind not in MEASURED:
            return result
        if not has_values(result):
            self.unseen.append(Reading(operation=operation.index, name=operation.name))
            return result
        if self._needs_leaf and torch.is_grad_enabled() and not operation.in_place:
            if not result.requires_grad and result.is_floating_point():
                # Frozen first layers send no gradient back; a leaf of zeros makes δ exist here.
                self.leaf = torch.zeros_like(result, requires_grad=True)
                result = result + self.leaf
            self._needs_leaf = not result.requires_grad
        saturated = None
        if operation.activation is not None:
            saturated = activation(operation.activation).saturated
        probe = Probe(operation, self.samples, saturated, twins=not self._lean)
        try:
            probe.forward(result)
        except (RuntimeError, TypeError):
            # Nested tensors and their like have no reductions. The operation is named as not
            # looked into, and the user's pass goes on.
            self.unmeasured.append(operation.name)
            return result
        self.probes[operation.index] = probe
        self._closely(probe, result)
        if raw and data and has_values(data[0]):
            self.raw[operation.index] = _entries(data[0])
        if operation.kind == "weighted" and data:
            self.inputs_of[operation.index] = data[0]
        if result.requires_grad and not self._lean:
            result.register_hook(probe.backward)
        return result


def check_model(model: nn.Module, *, shapes: bool = False) -> torch.device:
    """The device of a model that can be looked at; a `BadInputError` for one that cannot.

    Args:
        model: what came.
        shapes: whether its shapes are enough, so that it may be on the meta device.
    """
    if not isinstance(model, nn.Module):
        raise BadInputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    named = named_tensors(model)
    if not named:
        raise BadInputError(
            f"model: {type(model).__name__} has no parameters, so there is nothing to initialize"
        )
    if lacks_values(model):
        if not shapes:
            check_values_present(model)
        return torch.device("meta")
    return next(iter(named.values())).device


def _task(recorder: _Recorder) -> tuple[Task, int | None, Tensor | None]:
    """Task, classes and logits, from the operands of the loss."""
    if recorder.loss_operands is None:
        return "unknown", None, None
    operation, operands = recorder.loss_operands
    head = operands[0] if operands else None
    if operation.function in ("cross_entropy", "nll_loss") and head is not None:
        return "classification", int(head.shape[1 if head.dim() > 1 else 0]), head
    if operation.function.startswith("binary_cross_entropy"):
        return "binary", 2, head
    if operation.function in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        return "regression", None, head
    return "unknown", None, head


def observe(
    model: nn.Module,
    batch: Any,
    *,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
    lean: bool = False,
) -> Observation:
    """Run ``model`` forward and backward once and report what was measured.

    The mode is the one that training would use: ``train()`` if the model as a whole is in
    evaluation mode, otherwise each module's own flag.

    Args:
        model: a module with floating parameters that have values.
        batch: mapping → keywords, tuple → positions, anything else → the one argument.
        loss: a name, or a callable (output, target); without it the output's ``.loss`` or, where
            there is none, a random unit cotangent on the outputs.
        target: for the loss; a loss that fits is inferred if only a target is given.
        step: (model, batch) → scalar loss, for everything else.
        lean: only what a plan needs: no backward pass, no geometry of weights.

    Returns:
        The measurements.

    Raises:
        BadInputError: the batch, target or model cannot be used.
        ModelRaisedError: the model raised; its own error is the cause.
    """
    device = check_model(model, shapes=lean)
    named = named_tensors(model)
    loss_function = batches.resolve_loss(loss)
    if step is not None and not callable(step):
        raise BadInputError(
            f"step: expected a callable (model, batch) → loss, got {type(step).__name__}"
        )
    if loss_function is not None and target is None and step is None:
        raise BadInputError(
            "target: missing; a loss needs one (or pass step=lambda model, batch: …)"
        )
    with torch.inference_mode(False):
        here = torch.device("cpu") if device.type == "meta" else device
        given, target = batches.placed(batch, here), batches.placed(target, here)
    if step is None:
        batches.check_batch(given)
    batches.check_values(given, "batch")
    batches.check_values(target, "target")
    samples = next((int(t.shape[0]) for t in tensors_in(given) if t.dim() > 0), 1)
    square = _mean_square(given)

    def run(module: nn.Module, given: Any) -> Ends:
        return ends_of(module, given, loss_function, target, step)

    with ExitStack() as around:
        around.enter_context(untouched(model))
        around.enter_context(batches.eagerly())
        around.enter_context(torch.inference_mode(False))
        around.enter_context(torch.enable_grad())
        if device.type == "meta":
            around.enter_context(among_shapes(model))
            given, target = batches.placed(given, device), batches.placed(target, device)
        if not model.training:
            model.train()
        recorder = _Recorder(samples, lean=lean)
        tracer = Tracer(model, {id(p): n for n, p in named.items()}, recorder)
        described: Sequence[Parameter] = describe_parameters(model)
        try:
            posing = AsOnCpu() if device.type == "meta" else nullcontext()
            with posing, tracer.module_names(), tracer:
                tracer.add_inputs(tensors_in(given))
                ends = run(model, given)
        except FirstlightError:
            raise
        except NoValueError as error:
            raise no_value(model, error) from error
        except Exception as error:
            raise ModelRaisedError(
                f"{type(model).__name__}: raised {type(error).__name__} on a batch of"
                f" {batches.shapes_of(given)}: {said(error)}"
            ) from error
        if lean:  # a plan must know what raw parameters are; a check judges them by their use
            raw = {p.name for p in described if p.kind == "other"} & set(tracer.uses)
            described = [refined(p, tracer.uses[p.name]) if p.name in raw else p for p in described]
        # The model may have written into the first copy.
        again = None if lean else batches.placed(batch, device)
        return _backward(
            model,
            named,
            described,
            tracer,
            recorder,
            ends,
            lambda m: run(m, again).scalar(),
            input_second_moment=square,
            lean=lean,
        )


def _backward(
    model: nn.Module,
    named: Mapping[str, nn.Parameter],
    described: Sequence[Parameter],
    tracer: Tracer,
    recorder: _Recorder,
    ends: Ends,
    run_again: Callable[[nn.Module], Tensor | None],
    *,
    input_second_moment: float | None,
    lean: bool,
) -> Observation:
    """Differentiate unless ``lean``, and gather everything into one record."""
    trainable = {name: p for name, p in named.items() if p.requires_grad}
    gradients: dict[str, Tensor | None] = dict.fromkeys(trainable)
    cotangent: Any = "random" if ends.loss is None else "loss"
    task, classes, logits = _task(recorder)
    seen, loss = tracer.undecided, None
    uninformed, prior = None, None
    if ends.loss is not None:
        loss = float(ends.loss.detach()) if has_values(ends.loss) else None
        if seen is not None:
            uninformed, prior = seen.of(math.nan if loss is None else loss)
    value = None if lean else ends.scalar()
    if value is not None and value.requires_grad:
        # Keeping the graph costs memory, and only a zero weight can make it needed again.
        zero_weight = any(p.dim() > 1 and not _any(p) for p in named.values())
        try:
            gradients = differentiate(value, trainable, recorder.leaf, retain=zero_weight)
        except Exception as error:
            raise ModelRaisedError(
                f"{type(model).__name__}: its backward pass raised {type(error).__name__}:"
                f" {said(error)}"
            ) from error
        if zero_weight and _restart_at_head(recorder, trainable):
            cotangent = "head-input"
    asleep = [n for n, g in gradients.items() if g is not None and not _any(g)]
    woken: frozenset[str] = frozenset()
    if asleep:
        woken = waking(model, trainable, gradients, asleep, run_again)
    outputs = ends.outputs
    head = logits if logits is not None else (outputs[0] if outputs else None)
    makers = (tracer.maker(t) for t in ([head] if head is not None else outputs))
    made_by = tuple(maker for maker in makers if maker is not None)
    return Observation(
        network=Network(
            name=type(model).__name__,
            framework=model.framework if isinstance(model, Foreign) else "torch",
            operations=with_activations(tracer.operations, tracer.written, made_by),
            parameters=tuple(described),
            outputs=made_by,
            not_looked_into=(
                *(op.name for op in tracer.operations if op.opaque),
                *recorder.unmeasured,
            ),
        ),
        readings=recorder.readings(),
        parameters=parameter_readings(named, described, gradients, woken, lean=lean),
        samples=recorder.samples,
        loss=loss,
        undecided_loss=uninformed,
        prior_loss=prior,
        best_constant=None if seen is None else seen.constant,
        task=task,
        classes=classes,
        logits_std=_spread(head),
        input_second_moment=input_second_moment,
        inputs=tuple(recorder.inputs),
        cotangent=cotangent,
        device=str(next(iter(named.values())).device),
        dtype=str(next(iter(named.values())).dtype).removeprefix("torch."),
        mode="train",
    )


def _spread(head: Tensor | None) -> float | None:
    if head is None or head.numel() < 2 or not has_values(head):
        return None
    values = head.detach().float()
    n, mean = values.numel(), float(values.mean())
    square = float(torch.linalg.vector_norm(values)) ** 2
    variance = (square - n * mean**2) / (n - 1)
    # Sums in two passes without a copy; where the mean outweighs the rest, they do not resolve it.
    return math.sqrt(variance) if variance > _RESOLVED * square / n else float(values.std())


def _mean_square(batch: Any) -> float | None:
    """Of the floating tensors in a batch."""
    tensors = [t.detach() for t in tensors_in(batch) if t.is_floating_point()]
    if not tensors:
        return None
    total = sum(float(exact(t).square().sum()) for t in tensors)
    return total / max(1, sum(t.numel() for t in tensors))


def _entries(tensor: Tensor) -> float:
    """Mean square of the entries that are not zero: a one-hot row is not small."""
    values = tensor.detach()
    values = values.abs() if values.is_complex() else values
    number = int(torch.count_nonzero(values))
    return float(torch.linalg.vector_norm(values.float())) ** 2 / max(1, number)


def _any(tensor: Tensor) -> bool:
    """Whether a value is not zero; a glance at the first ones settles most tensors."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return True
    flat = tensor.detach().reshape(-1)
    return bool(flat[:64].any()) or bool(flat.any())


def _restart_at_head(recorder: _Recorder, trainable: Mapping[str, nn.Parameter]) -> bool:
    """Where a zero head stops the loss's gradient, start again from the head's input.

    Returns whether it was so: δ exactly zero at every operation before some weighted one.
    """
    blocked = [i for i, probe in recorder.probes.items() if probe.delta_is_zero]
    passed = [i for i in recorder.inputs_of if recorder.probes[i].delta_passed]
    if not blocked or not passed or min(passed) < max(blocked):
        return False
    head_input = recorder.inputs_of[min(passed)]
    if not head_input.requires_grad or not bool(head_input.any()):
        return False
    differentiate(cotangent([head_input]), trainable, recorder.leaf)
    return True
