"""One instrumented forward and backward pass; the model is left bit for bit as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.layouts import describe_parameters, named_tensors
from firstlight.frameworks.torch.probes import MEASURED, Probe
from firstlight.frameworks.torch.reachability import wakes_after_one_step
from firstlight.frameworks.torch.tracing import Tracer, tensors_in
from firstlight.records.checkup import Observation, ParameterReading
from firstlight.records.network import Network, Operation, Task
from firstlight.theory.activations import activation

_COTANGENT_SEED = 2


class _Recorder:
    """Receives each operation as it runs: attaches probes, remembers what the loss saw."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.probes: dict[int, Probe] = {}
        self.inputs_of: dict[int, Tensor] = {}
        self.loss_operands: tuple[Operation, tuple[Tensor, ...]] | None = None
        self.leaf: Tensor | None = None
        self._needs_leaf = True

    def __call__(self, operation: Operation, result: Tensor, data: tuple[Tensor, ...]) -> Tensor:
        if operation.kind == "loss":
            self.loss_operands = (operation, data)
        if operation.kind not in MEASURED:
            return result
        if self._needs_leaf and torch.is_grad_enabled():
            if not result.requires_grad and result.is_floating_point():
                # Frozen first layers send no gradient back; a leaf of zeros makes δ exist here.
                self.leaf = torch.zeros_like(result, requires_grad=True)
                result = result + self.leaf
            self._needs_leaf = not result.requires_grad
        saturated = None
        if operation.activation is not None:
            saturated = activation(operation.activation).saturated
        probe = Probe(operation, self.samples, saturated)
        probe.forward(result)
        self.probes[operation.index] = probe
        if operation.kind == "weighted" and data:
            self.inputs_of[operation.index] = data[0]
        if result.requires_grad:
            result.register_hook(probe.backward)
        return result


@dataclass(frozen=True)
class _Scalar:
    """What is differentiated: a loss, or a random direction of the outputs."""

    value: Tensor | None
    is_loss: bool = False
    outputs: list[Tensor] = field(default_factory=list)


def check_model(model: nn.Module) -> torch.device:
    """The device of a model that can be looked at; a `BadInputError` for one that cannot."""
    if not isinstance(model, nn.Module):
        raise BadInputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    named = named_tensors(model)
    if not named:
        raise BadInputError(
            f"model: {type(model).__name__} has no parameters, so there is nothing to initialize"
        )
    for name, parameter in named.items():
        if nn.parameter.is_lazy(parameter):
            raise BadInputError(
                f"{name}: lazy, its shape is not known yet; run the model once on a batch first"
            )
        if parameter.is_meta:
            raise BadInputError(
                f"{name}: on the meta device, it has no values; materialise the model first"
                " (model.to_empty(device='cpu'), then firstlight.apply)"
            )
        if not (parameter.is_floating_point() or parameter.is_complex()):
            raise BadInputError(
                f"{name}: integer weights ({str(parameter.dtype).removeprefix('torch.')});"
                " only floating parameters can be looked at or drawn"
            )
    return next(iter(named.values())).device


def _cotangent(outputs: list[Tensor]) -> Tensor:
    """⟨output, unit normal direction⟩: what backward starts from where there is no loss."""
    generator = torch.Generator().manual_seed(_COTANGENT_SEED)
    directions = [torch.randn(o.shape, generator=generator).to(o) for o in outputs]
    norm = math.sqrt(sum(float((d.float() ** 2).sum()) for d in directions))
    return torch.stack(
        [(o * d).sum() / norm for o, d in zip(outputs, directions, strict=True)]
    ).sum()


def _task(recorder: _Recorder) -> tuple[Task, int | None, float | None, Tensor | None]:
    """Task, classes, undecided loss and logits, from the operands of the loss."""
    if recorder.loss_operands is None:
        return "unknown", None, None, None
    operation, operands = recorder.loss_operands
    head = operands[0] if operands else None
    if operation.function in ("cross_entropy", "nll_loss") and head is not None:
        classes = int(head.shape[1 if head.dim() > 1 else 0])
        return "classification", classes, math.log(classes) if classes > 1 else 0.0, head
    if operation.function.startswith("binary_cross_entropy"):
        return "binary", 2, math.log(2), head
    if operation.function in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        return "regression", None, None, head
    return "unknown", None, None, head


def observe(
    model: nn.Module,
    batch: Any,
    *,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
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

    Returns:
        The measurements.

    Raises:
        BadInputError: the batch, target or model cannot be used.
        ModelRaisedError: the model raised; its own error is the cause.
    """
    device = check_model(model)
    named = named_tensors(model)
    loss_function = batches.resolve_loss(loss)
    if loss_function is not None and target is None and step is None:
        raise BadInputError(
            "target: missing; a loss needs one (or pass step=lambda model, batch: …)"
        )
    batch, target = batches.placed(batch, device), batches.placed(target, device)
    batches.check_batch(batch)
    samples = next((int(t.shape[0]) for t in tensors_in(batch) if t.dim() > 0), 1)

    def scalar_of(module: nn.Module) -> _Scalar:
        if step is not None:
            value = step(module, batch)
            if not isinstance(value, Tensor) or value.numel() != 1:
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise BadInputError(f"step: must return a scalar tensor, the loss; got {got}")
            return _Scalar(value.reshape(()), is_loss=True)
        output = batches.call(module, batch)
        if loss_function is not None:
            value = loss_function(batches.output_tensor(output), target)
            return _Scalar(value, is_loss=True)
        if target is not None:
            tensor = batches.output_tensor(output)
            value = batches.inferred_loss(tensor, target)(tensor, target)
            return _Scalar(value, is_loss=True)
        own = batches.own_loss(output)
        if own is not None:
            return _Scalar(own, is_loss=True)
        outputs = [t for t in tensors_in(output) if t.is_floating_point() and t.requires_grad]
        return _Scalar(_cotangent(outputs) if outputs else None, outputs=outputs)

    with untouched(model), torch.inference_mode(False), torch.enable_grad():
        if not model.training:
            model.train()
        recorder = _Recorder(samples)
        tracer = Tracer(model, {id(p): n for n, p in named.items()}, recorder)
        try:
            with tracer.module_names(), tracer:
                tracer.add_inputs(t for t in tensors_in(batch) if t.is_floating_point())
                scalar = scalar_of(model)
        except FirstlightError:
            raise
        except Exception as error:
            raise ModelRaisedError(
                f"{type(model).__name__}: raised {type(error).__name__} on a batch of"
                f" {batches.shapes_of(batch)}: {' '.join(str(error).split()) or 'no message'}"
            ) from error
        return _backward(model, named, tracer, recorder, scalar, scalar_of, batch)


def _backward(
    model: nn.Module,
    named: Mapping[str, nn.Parameter],
    tracer: Tracer,
    recorder: _Recorder,
    scalar: _Scalar,
    scalar_of: Callable[[nn.Module], _Scalar],
    batch: Any,
) -> Observation:
    """Differentiate, and gather everything into one record."""
    trainable = {name: p for name, p in named.items() if p.requires_grad}
    gradients: dict[str, Tensor | None] = dict.fromkeys(trainable)
    cotangent: Any = "loss" if scalar.is_loss else "random"
    task, classes, undecided, logits = _task(recorder)
    value = scalar.value
    if value is not None and value.requires_grad:
        gradients = _differentiate(value, trainable, recorder.leaf)
        if _restart_at_head(recorder, trainable):
            cotangent = "head-input"
    asleep = [n for n, g in gradients.items() if g is not None and not bool(g.any())]
    woken: frozenset[str] = frozenset()
    if asleep:
        woken = wakes_after_one_step(
            model, trainable, gradients, asleep, lambda m: scalar_of(m).value
        )
    outputs = scalar.outputs
    head = logits if logits is not None else (outputs[0] if outputs else None)
    result_makers = [tracer.maker(t) for t in ([head] if head is not None else outputs)]
    floating = [t for t in tensors_in(batch) if t.is_floating_point()]
    return Observation(
        network=Network(
            name=type(model).__name__,
            framework="torch",
            operations=tuple(tracer.operations),
            parameters=describe_parameters(model),
            outputs=tuple(m for m in result_makers if m is not None),
            not_looked_into=tuple(op.name for op in tracer.operations if op.opaque),
        ),
        readings=tuple(probe.reading() for probe in recorder.probes.values()),
        parameters=tuple(
            _parameter_reading(name, p, gradients.get(name), name in woken)
            for name, p in named.items()
        ),
        samples=recorder.samples,
        loss=float(value.detach()) if scalar.is_loss and value is not None else None,
        undecided_loss=undecided,
        task=task,
        classes=classes,
        logits_std=float(head.detach().float().std())
        if head is not None and head.numel() > 1
        else None,
        cotangent=cotangent,
        input_second_moment=_mean_square(floating),
        device=str(next(iter(named.values())).device),
        dtype=str(next(iter(named.values())).dtype).removeprefix("torch."),
        mode="train",
    )


def _spread(head: Tensor | None) -> float | None:
    if head is None or head.numel() < 2:
        return None
    return float(head.detach().float().std())


def _mean_square(tensors: list[Tensor]) -> float | None:
    if not tensors:
        return None
    total = sum(float((t.float() ** 2).sum()) for t in tensors)
    return total / max(1, sum(t.numel() for t in tensors))


def _differentiate(
    scalar: Tensor, trainable: Mapping[str, nn.Parameter], leaf: Tensor | None
) -> dict[str, Tensor | None]:
    """Gradients by name; nothing is accumulated anywhere, so no hook of an optimizer fires."""
    wanted = [*trainable.values(), *([leaf] if leaf is not None else [])]
    if not wanted:
        return {}
    found = torch.autograd.grad(scalar, wanted, allow_unused=True, retain_graph=True)
    return dict(zip(trainable, found, strict=False))


def _restart_at_head(recorder: _Recorder, trainable: Mapping[str, nn.Parameter]) -> bool:
    """Where a zero head stops the loss's gradient, start again from the head's input.

    Returns whether it was so: δ exactly zero at every operation before some weighted one.
    """
    blocked = [i for i, probe in recorder.probes.items() if probe.delta_is_zero]
    passed = [i for i in recorder.inputs_of if i not in blocked]
    if not blocked or not passed or min(passed) < max(blocked):
        return False
    head_input = recorder.inputs_of[min(passed)]
    if not head_input.requires_grad or not bool(head_input.any()):
        return False
    _differentiate(_cotangent([head_input]), trainable, recorder.leaf)
    return True


def _parameter_reading(
    name: str, parameter: nn.Parameter, gradient: Tensor | None, woken: bool
) -> ParameterReading:
    values = parameter.detach()
    plain = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    flat = plain.reshape(-1)
    size = max(1, flat.numel())
    return ParameterReading(
        name=name,
        value_rms=float(torch.linalg.vector_norm(plain)) / math.sqrt(size),
        gradient_rms=(
            None
            if gradient is None
            else float(torch.linalg.vector_norm(gradient.detach().float())) / math.sqrt(size)
        ),
        constant=flat.numel() > 1 and bool((flat == flat[0]).all()),
        non_finite=int((~torch.isfinite(plain)).sum()),
        zero_gradient_at_start_only=woken,
    )
