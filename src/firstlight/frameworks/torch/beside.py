"""What is known of tensors without values: their numbers, or where a mask hides them.

It hangs on the storage of a meta tensor, laid out as that is, so that views share it and a write
through one is seen by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

_CPU = torch.device("cpu")

MOST = 1 << 26
"""Elements of a known tensor. What is larger is no mask and no position, and stays unknown."""

MASKED_BELOW = -1e4
"""What is added to a logit to hide it; no model means a number like that as a number."""

_SWEEP = 256
"""Results after which the values of tensors that are gone are let go."""

_ADDING = frozenset({"aten::add", "aten::add_"})
_CHOOSING = frozenset({"aten::where", "aten::masked_fill", "aten::masked_fill_"})
MASKING = _ADDING | _CHOOSING | {"aten::clone", "aten::_to_copy"}


running: list[Beside] = []


def has_values(tensor: Tensor) -> bool:
    """Whether the numbers in a tensor can be read: by themselves, or beside it."""
    if not tensor.is_meta and not running:
        return True
    return bool(running) and running[-1].value(tensor) is not None


def readable(tensor: Tensor) -> Tensor | None:
    """The numbers in a tensor: itself, or those known beside it; None if there are none."""
    if running:
        return running[-1].value(tensor)
    return None if tensor.is_meta else tensor


def hidden(tensor: Tensor) -> Tensor:
    """Where a mask that is added to scores hides them, also where only a part of it is known."""
    value = readable(tensor)
    if value is None:
        return running[-1].hidden(tensor)
    return value.detach() < MASKED_BELOW


class Beside:
    """Values beside meta tensors, during one pass."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[StorageWeakRef, torch.UntypedStorage]] = {}
        self._hidden: dict[int, tuple[StorageWeakRef, Tensor]] = {}
        """Where what is unknown is far below zero all the same: masks with a learned part."""
        self._spoilt: dict[int, torch.UntypedStorage] = {}
        """Memory of real tensors into which something unknown was written."""
        self._since = 0

    def give(self, tensor: Tensor, value: Tensor) -> None:
        """Let a meta tensor have values: those of a real one of its shape."""
        if not is_plain(tensor):
            return
        storage = tensor.untyped_storage()
        size = tensor.element_size() or 1
        held = torch.empty(storage.nbytes() // size, dtype=tensor.dtype, device=_CPU)
        held.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(
            value.detach()
        )
        self._values[storage._cdata] = StorageWeakRef(storage), held.untyped_storage()
        self._since += 1
        if self._since > _SWEEP:
            self._sweep()

    def value(self, tensor: Tensor) -> Tensor | None:
        """The values of a tensor, over the memory that its views share; None if unknown."""
        if not tensor.is_meta:
            spoilt = self._spoilt and tensor.untyped_storage()._cdata in self._spoilt
            return None if spoilt else tensor
        if not is_plain(tensor):
            return None
        found = self._values.get(tensor.untyped_storage()._cdata)
        if found is None:
            return None
        with torch._C.DisableTorchFunction():  # what is asked here is no operation of the model
            value = torch.empty(0, dtype=tensor.dtype, device=_CPU).set_(
                found[1], tensor.storage_offset(), tensor.shape, tensor.stride()
            )
            value = value.conj() if tensor.is_conj() else value
            return value._neg_view() if tensor.is_neg() else value

    def forget(self, tensor: Tensor) -> None:
        """What was known of a tensor holds no longer."""
        if not is_plain(tensor):
            return
        storage = tensor.untyped_storage()
        if tensor.is_meta:
            self._values.pop(storage._cdata, None)
        else:
            self._spoilt[storage._cdata] = storage

    def _sweep(self) -> None:
        self._since = 0
        for held in (self._values, self._hidden):
            for key in [key for key, (alive, _) in held.items() if alive.expired()]:
                del held[key]

    def hidden(self, tensor: Tensor) -> Tensor:
        """Where a score without a value is masked: where a part of it that is known hides it."""
        found = self._hidden.get(tensor.untyped_storage()._cdata) if is_plain(tensor) else None
        if found is None:
            return torch.zeros((), dtype=torch.bool, device=_CPU).expand(tensor.shape)
        return found[1].as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def below(self, value: Any) -> Tensor | None:
        """Where an operand is far below zero; None where it is not known to be so anywhere."""
        if not isinstance(value, Tensor):
            return torch.tensor(
                isinstance(value, int | float) and value < MASKED_BELOW, device=_CPU
            )
        known = self.value(value)
        if known is not None:
            return None if known.is_complex() else known < MASKED_BELOW
        found = is_plain(value) and value.untyped_storage()._cdata in self._hidden
        return self.hidden(value) if found else None

    def hide(self, name: str, result: Tensor, args: Sequence[Any]) -> None:
        """Keep where a result without values is masked."""
        parts = [self.below(operand) for operand in args if not isinstance(operand, bool)]
        if name in _CHOOSING:
            mask = self.value(args[0] if name == "aten::where" else args[1])
            if mask is None:
                return
            kept, other = parts[1 if name == "aten::where" else 0], parts[2]
            found = [p & m for p, m in ((kept, mask), (other, ~mask)) if p is not None]
            if name != "aten::where":
                found = [p & m for p, m in ((kept, ~mask), (other, mask)) if p is not None]
        else:
            found = [part for part in parts[: 2 if name in _ADDING else 1] if part is not None]
        if result.numel() > MOST or not any(bool(each.any()) for each in found):
            return
        storage = result.untyped_storage()
        held = torch.zeros(storage.nbytes() // result.element_size(), dtype=torch.bool, device=_CPU)
        view = held.as_strided(result.shape, result.stride(), result.storage_offset())
        for each in found:
            view.logical_or_(each)
        self._hidden[storage._cdata] = StorageWeakRef(storage), held


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor lies in one piece of memory by strides."""
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized
