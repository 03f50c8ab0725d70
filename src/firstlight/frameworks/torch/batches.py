"""How a batch reaches a model, and how a scalar to differentiate comes out of it."""

from __future__ import annotations

import copy
import dataclasses
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from firstlight.errors import BadInputError, near_names
from firstlight.frameworks.torch.tracing import tensors_in

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "mse": functional.mse_loss,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
}

_MOST_ITEMS = 100
"""An iterator that a model returns is read so far; it may have no end."""


def shapes_of(value: Any) -> str:
    """The shapes in a batch, for messages."""
    shapes = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors_in(value)]
    return ", ".join(shapes) or type(value).__name__


def placed(value: Any, device: torch.device) -> Any:
    """A copy of a batch on ``device``: a model that writes into its input spares the user's.

    NumPy arrays become tensors. Containers keep their type; unknown objects pass as they are.
    """
    if isinstance(value, Tensor):
        if value.is_meta:
            return value  # `check_values` refuses it
        return value.detach().to(device, copy=True).requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        return torch.tensor(value, device=device)
    if isinstance(value, PackedSequence):
        lengths = value.batch_sizes.clone()  # these stay on the host
        rest = (placed(order, device) for order in (value.sorted_indices, value.unsorted_indices))
        return PackedSequence(placed(value.data, device), lengths, *rest)
    if isinstance(value, Mapping):
        items = {key: placed(item, device) for key, item in value.items()}
        try:
            return type(value)(items)  # type: ignore[call-arg]
        except TypeError:
            return items
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(placed(item, device) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(placed(item, device) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Not `dataclasses.replace`: it runs the constructor again, and refuses some fields.
        copied = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(copied, field.name, placed(getattr(value, field.name), device))
        return copied
    return value


def call(model: nn.Module, batch: Any) -> Any:
    """Mapping → keywords, tuple or list → positions, anything else → the one argument.

    Raises:
        BadInputError: a tuple or list has more or fewer items than the model takes.
    """
    if isinstance(batch, Mapping):
        return _opened(model(**batch))
    if isinstance(batch, tuple | list) and not isinstance(batch, PackedSequence):
        try:
            return _opened(model(*batch))
        except TypeError as error:
            if _takes(model, len(batch)):
                raise
            raise BadInputError(
                f"batch: the {len(batch)} items of a {type(batch).__name__} are passed as"
                f" {len(batch)} arguments, and {type(model).__name__}.forward takes another number;"
                " of (inputs, targets) pass the inputs, and target=targets; of a list of samples"
                " torch.stack(samples)"
            ) from error
    return _opened(model(batch))


def _takes(model: nn.Module, arguments: int) -> bool:
    """Whether a model's forward accepts that many positional arguments."""
    try:
        signature(model.forward).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True


def _opened(output: Any) -> Any:
    """An output whose tensors can be reached: what only shows them when asked is asked now."""
    if output is None or isinstance(output, Tensor | Mapping | tuple | list | str):
        return output
    if dataclasses.is_dataclass(output):
        return output
    if isinstance(output, Iterable):
        return [_opened(item) for item in islice(output, _MOST_ITEMS)]
    if not hasattr(output, "__dict__"):
        return output
    named = {name: getattr(output, name, None) for name in ("loss", "logits")}
    return {**vars(output), **{name: value for name, value in named.items() if value is not None}}


def output_tensor(output: Any) -> Tensor:
    """The tensor that a loss is computed from: ``.logits`` or the first floating tensor."""
    logits = (
        output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    )
    if isinstance(logits, Tensor):
        return logits
    for tensor in tensors_in(output):
        if tensor.is_floating_point() or tensor.is_complex():
            return tensor
    raise BadInputError(
        f"output: no floating tensor to compute a loss from, got {shapes_of(output)};"
        " pass step=lambda model, batch: loss"
    )


def own_loss(output: Any) -> Tensor | None:
    """The output's ``.loss``, or a first or only output without axes; the mean of several losses.

    Replicas of a model and losses of each sample give several.
    """
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        loss = first if isinstance(first, Tensor) and first.dim() == 0 else None
    if not isinstance(loss, Tensor) or not loss.is_floating_point():
        return None
    return loss if loss.numel() == 1 else loss.mean()


def differentiable(output: Any) -> list[Tensor]:
    """The tensors of an output that a gradient can start from; complex ones as pairs of reals."""
    found = (t for t in tensors_in(output) if t.requires_grad)
    return [torch.view_as_real(t.resolve_conj()) if t.is_complex() else t for t in found]


def resolve_loss(loss: Any) -> Callable[[Any, Any], Tensor] | None:
    """A loss as a callable of (output, target): by name, as a module or function, or None."""
    if loss is None:
        return None
    if callable(loss):
        function: Callable[[Any, Any], Tensor] = loss
        return function
    if isinstance(loss, str):
        if loss in LOSSES:
            return LOSSES[loss]
        raise BadInputError(f"loss: unknown name '{loss}'; {near_names(loss, LOSSES)}")
    raise BadInputError(
        f"loss: expected a name, a callable (output, target) or None, got {type(loss).__name__}"
    )


def inferred_loss(output: Tensor, target: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that fits output and target when only a target was given."""
    if not isinstance(target, Tensor):
        raise BadInputError(
            f"target: a {type(target).__name__} fits no loss by itself; pass a tensor, or loss= or"
            " step="
        )
    classes = output.shape[min(1, output.dim() - 1)] if output.dim() else 1
    if not target.is_floating_point() and output.dim() > 2 and output.shape[:-1] == target.shape:
        # Classes last, as language models have them; torch's loss wants them second.
        return lambda o, t: functional.cross_entropy(o.flatten(0, -2), t.flatten())
    if not target.is_floating_point() and output.dim() == target.dim() + 1 and classes > 1:
        return LOSSES["cross_entropy"]
    if target.is_floating_point() and output.shape == target.shape:
        return LOSSES["mse"]
    raise BadInputError(
        f"target: shape {tuple(target.shape)} {target.dtype} with output {tuple(output.shape)}"
        " fits no loss by itself; pass loss= or step="
    )


class WithoutBackward(TorchFunctionMode):
    """Inside, ``loss.backward()`` does nothing.

    A step taken from a training loop may call it, and an optimizer after it. The loss that the step
    returns is differentiated afterwards; until then no gradient is there, so that optimizers and
    schedulers, whose state nobody here can put back, have nothing to do.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every function but ``backward``."""
        return None if func is Tensor.backward else func(*args, **(kwargs or {}))


@contextmanager
def eagerly() -> Iterator[None]:
    """Run what `torch.compile` wrapped as the Python that it was; compiled graphs show nothing."""
    if "torch._dynamo" not in sys.modules:  # slow to import, and nothing is compiled without it
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using `torch.compile.* global hooks")
        yield


def check_batch(batch: Any) -> None:
    """Refuse a batch without tensors, an empty one, and one that holds NaN."""
    if not any(True for _ in tensors_in(batch)):
        raise BadInputError(
            f"batch: no tensor in a {type(batch).__name__}; expected a tensor, tuple or mapping"
            + _remedy(batch)
        )
    check_values(batch, "batch")


def _remedy(batch: Any) -> str:
    """What to do about something that holds no tensor but could give some."""
    if isinstance(batch, list | tuple) and batch:
        return " (torch.tensor(batch) makes one of numbers)"
    if isinstance(batch, Iterable) and not isinstance(batch, str | bytes | Mapping | list | tuple):
        return "; of a loader pass one batch, next(iter(loader))"
    return ""


def _is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; a finite sum says so at once."""
    if tensor.dtype in (torch.float32, torch.float64) and math.isfinite(tensor.sum().item()):
        return True
    return bool(torch.isfinite(tensor).all())


def check_values(value: Any, what: str) -> None:
    """Refuse tensors that are empty, have no values, or hold NaN or infinity.

    Args:
        value: a tensor or a container of tensors.
        what: ``batch`` or ``target``, for the message.
    """
    for tensor in tensors_in(value):
        if tensor.numel() == 0:
            raise BadInputError(
                f"{what}: a tensor of shape {tuple(tensor.shape)} is empty; pass at least one"
                " sample, better 64"
            )
        if tensor.is_meta:
            raise BadInputError(
                f"{what}: a tensor of shape {tuple(tensor.shape)} is on the meta device and has no"
                " values; pass real data"
            )
        if tensor.layout != torch.strided:
            raise BadInputError(
                f"{what}: a tensor of shape {tuple(tensor.shape)} is sparse; pass it dense"
                " (.to_dense())"
            )
        if tensor.is_floating_point() and not _is_finite(tensor):
            count = int((~torch.isfinite(tensor)).sum())
            raise BadInputError(
                f"{what}: {count} of {tensor.numel()} values are NaN or infinite;"
                " clean the data before looking at the network"
            )
