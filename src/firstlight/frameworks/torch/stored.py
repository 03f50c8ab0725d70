"""A model's state as files hold it: names, types, ties, and values where there are any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.buffers import buffer_values
from firstlight.frameworks.torch.layouts import named_tensors
from firstlight.records.stored import State, Stored

_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def _bytes(tensor: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    plain = tensor.detach().to("cpu", dtype).contiguous().clone()
    return np.asarray(plain.reshape(-1).view(torch.uint8).numpy())


def _reader(tensor: Tensor, dtype: torch.dtype) -> Callable[[], NDArray[Any]] | None:
    return None if tensor.is_meta else lambda: _bytes(tensor, dtype)


def state_of(model: nn.Module, dtype: str | None = None) -> State:
    """What a file of this model's weights holds; nothing is read yet and nothing is changed.

    Args:
        model: on any device, meta too.
        dtype: of all floating tensors (``"bfloat16"``); None leaves each its own.

    Raises:
        BadInputError: no such type, or a tensor that such files cannot hold.
    """
    wanted = getattr(torch, dtype, None) if dtype is not None else None
    if dtype is not None and (wanted not in _KINDS or not wanted.is_floating_point):
        raise BadInputError(f"dtype: expected float64, float32, float16 or bfloat16, got '{dtype}'")
    parameters = {id(tensor): name for name, tensor in named_tensors(model).items()}
    states, rebuilt = buffer_values(model)
    known = {id(model.get_buffer(name)): value for name, value in rebuilt.items()}
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    state = model.state_dict(keep_vars=True)
    # A tie is stored under the name that the model does not call the tied one.
    order = sorted(state, key=lambda name: name in tied)
    first: dict[int, str] = {}
    for name in order:
        first.setdefault(id(state[name]), name)
    found, ties = [], []
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise BadInputError(f"{name}: {type(tensor).__name__} cannot stand in a weight file")
        if first[id(tensor)] != name:
            ties.append((first[id(tensor)], name))
            continue
        own = wanted if wanted is not None and tensor.is_floating_point() else tensor.dtype
        if own not in _KINDS:
            raise BadInputError(
                f"{name}: {str(own).removeprefix('torch.')} cannot stand in a weight file"
            )
        parameter = parameters.get(id(tensor))
        value = known.get(id(tensor), tensor)
        read = _reader(value, own)
        if read is None and parameter is None:
            continue  # a buffer without values
        found.append(
            Stored(
                name=name,
                shape=tuple(tensor.shape),
                kind=_KINDS[own],
                parameter=parameter,
                read=read,
            )
        )
    left_out = tuple(s.name for s in states if not (s.persistent and s.rebuilt))
    return State(tensors=tuple(found), ties=tuple(ties), left_out=left_out)
