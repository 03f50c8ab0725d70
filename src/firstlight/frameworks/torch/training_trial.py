"""Whether models can be trained as one: found out by taking a step both ways and comparing.

Nothing is assumed of the architecture. Two networks with values of their own take a step alone and
stacked; outputs, gradients, buffers and the outputs of evaluation must agree to rounding.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from firstlight.frameworks.torch.training_alike import signature
from firstlight.frameworks.torch.training_data import Data, loss_of, orders, stacked_loss, taken
from firstlight.frameworks.torch.training_stack import Drops, Stack
from firstlight.records.race import Recipe

_SEEDS = (0, 1)
_ROUNDING = 1000
"""Allowed difference in units of rounding of the largest value; a wrong gradient is off by 1e4."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a step both ways has shown.

    Args:
        obstacle: why the models can't be trained as one, in plain words; None if they can.
        drops: whether dropout is drawn.
        frozen: trainable parameters that get no gradient.
        parameters: trained numbers in one model.
        kept: numbers that one model's forward pass keeps for its backward pass.
        flops: floating-point operations of the products in one step of one model.
        operations: how many tensor operations that step takes, views among them.
    """

    obstacle: str | None
    drops: bool = False
    frozen: tuple[str, ...] = ()
    parameters: int = 0
    kept: int = 0
    flops: int = 0
    operations: int = 0


def attempt(model: nn.Module, data: Data, recipe: Recipe) -> Trial:
    """Try it on two copies with values of their own; ``model`` is left as it is."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        return Trial(obstacle="it has nothing to train")
    if len({(p.dtype, p.device) for p in trained}) > 1:
        return Trial(obstacle="its parameters are of several types or on several devices")
    indices = next(orders(data, recipe, _SEEDS))
    cost = _Cost()
    with torch.random.fork_rng(), warnings.catch_warnings():
        try:
            models = [_with_own_values(model, seed) for seed in _SEEDS]
            with cost, saved_tensors_hooks(cost.keep, lambda tensor: tensor):
                alone = [_alone(models[0], data, recipe, indices[0], _SEEDS[0])]
            alone += [_alone(models[1], data, recipe, indices[1], _SEEDS[1])]
        except Exception:  # trained alone it will say this better
            return Trial(obstacle="it could not take a step")
        if any(step.pop("remembers") for step in alone):
            return Trial(obstacle="it keeps values that are neither parameters nor buffers")
        if not isinstance(alone[0]["output"], Tensor):
            return Trial(obstacle="its output is not one tensor")
        missing = [name for name, value in alone[0].items() if value is None]
        frozen = tuple(name.removeprefix(_GRADIENT) for name in missing)
        warnings.filterwarnings("error", message=".*performance drop.*")
        drops = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
        try:
            try:
                stacked = _together(models, data, recipe, indices, frozen, drops=drops)
            except RuntimeError as error:
                if drops or "randomness" not in str(error):
                    raise
                drops = True  # as a function, or something else that the comparison will show
                stacked = _together(models, data, recipe, indices, frozen, drops=drops)
        except Exception as error:
            return Trial(obstacle=_plain(error))
    for own, theirs in zip(alone, stacked, strict=True):
        difference = _difference(own, theirs)
        if difference is not None and drops:
            return Trial(obstacle=_RANDOM)
        if difference is not None:
            return Trial(obstacle=f"stacked it does not compute the same ({difference})")
    return Trial(
        obstacle=None,
        drops=drops,
        frozen=frozen,
        parameters=sum(p.numel() for p in trained),
        kept=cost.kept,
        flops=cost.flops,
        operations=cost.operations,
    )


def _with_own_values(model: nn.Module, seed: int) -> nn.Module:
    """A copy with weights of size 1/√fan-in and vectors around 1: nothing is zero or equal."""
    model = copy.deepcopy(model).train()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                drawn /= max(1, parameter.numel() // max(1, len(parameter))) ** 0.5
            else:
                drawn = 1 + 0.1 * drawn
            parameter.copy_(drawn)
    return model


_GRADIENT = "gradient of "
Step = dict[str, Any]
"""By name: what a step gave (output, losses, gradients, buffers, output of evaluation)."""


def _alone(model: nn.Module, data: Data, recipe: Recipe, indices: Tensor, seed: int) -> Step:
    model = copy.deepcopy(model)
    before = signature(model)
    torch.manual_seed(seed)
    output = model(data.inputs[indices])
    loss = loss_of(recipe, data)(output, data.targets[indices])
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    step: Step = {"output": output, "loss": loss}
    step.update({_GRADIENT + name: g for name, g in zip(named, gradients, strict=True)})
    step.update({f"buffer {name}": buffer for name, buffer in model.named_buffers()})
    with torch.no_grad():
        step["evaluation"] = model.eval()(data.inputs[indices])
    step["remembers"] = signature(model) != before
    return step


def _together(
    models: Sequence[nn.Module],
    data: Data,
    recipe: Recipe,
    indices: Tensor,
    frozen: tuple[str, ...],
    *,
    drops: bool,
) -> list[Step]:
    stack = Stack(models, frozen)
    dropping = Drops(_SEEDS, stack.flat.device) if drops else None
    outputs = stack.outputs(taken(data.inputs, indices), training=True, drops=dropping)
    losses = stacked_loss(loss_of(recipe, data), data)(outputs, taken(data.targets, indices))
    gradients = stack.split(stack.gradients(losses))
    with torch.no_grad():
        evaluations = stack.outputs(taken(data.inputs, indices), training=False)
    buffers = {name for name, _ in models[0].named_buffers()}
    steps = []
    for i in range(len(models)):
        step: Step = {"output": outputs[i], "loss": losses[i], "evaluation": evaluations[i]}
        step.update({_GRADIENT + name: gradient[i] for name, gradient in gradients.items()})
        step.update({f"buffer {name}": stack.constants[name][i] for name in buffers})
        steps.append(step)
    return steps


def _difference(alone: Step, stacked: Step) -> str | None:
    """The first thing that differs by more than rounding, in words."""
    largest = max((_size(value) for value in alone.values() if value is not None), default=0.0)
    for name, value in alone.items():
        if value is None:
            continue
        other = stacked[name]
        if value.shape != other.shape:
            return f"{name}: shape {tuple(other.shape)} instead of {tuple(value.shape)}"
        if not value.is_floating_point():
            if not torch.equal(value, other):
                return name
            continue
        scale = max(_size(value), 0.01 * largest)  # what is zero but for rounding has no size
        allowed = _ROUNDING * torch.finfo(value.dtype).eps * scale
        if not torch.allclose(value, other, rtol=0, atol=allowed, equal_nan=True):
            return name
    return None


def _size(value: Tensor) -> float:
    finite = value.detach()[value.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


_RANDOM = "it draws random numbers beside plain dropout"
_WORDS = (
    ("random operation", _RANDOM),
    ("data-dependent control flow", "it decides by the values it computes"),
    (".item()", "it reads single values out of tensors"),
    ("dynamic shape", "shapes in it depend on values"),
    ("broadcast shape", "it writes into tensors that it made itself"),
)


def _plain(error: Exception) -> str:
    """What torch said, in plain words where they are known."""
    said = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
    for part, words in _WORDS:
        if part in said:
            return words
    operation = re.search(r"(?:implemented for|batching rule for) (aten::\w+)", said)
    if operation:
        return f"torch has no batched form of {operation[1]}"
    return f"stacked it raises {type(error).__name__}: {said[:200]}"


class _Cost(TorchDispatchMode):
    """Counts operations, the products' floating-point operations, and what is kept for backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.operations = self.kept = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=result))
        return result

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is kept for the backward pass, each storage once."""
        place = tensor.untyped_storage().data_ptr()
        if place not in self._storages:
            self._storages.add(place)
            self.kept += tensor.numel()
        return tensor
