"""Looking must not touch: everything of a model and of the random states is put back as it was.

Snapshot first, restore in ``finally``, compare before writing, so that an untouched tensor is not
even written to. What is kept: parameters, gradients, buffers, every attribute of every module
(training flags, counters, caches, hooks, with the contents of lists and dictionaries), generators
that modules hold, and the random states of Python, NumPy and torch on all devices in use.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_CONTAINERS = (dict, list, set, deque)


def _bits_equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.is_sparse or a.is_quantized or a.is_meta:
        return False
    if a.numel() == 0:
        return True
    # Compared as bytes: NaN equals itself, -0.0 differs from 0.0.
    return torch.equal(
        a.detach().contiguous().reshape(-1).view(torch.uint8),
        b.detach().contiguous().reshape(-1).view(torch.uint8),
    )


class _TensorState:
    """One tensor's values, gradient and whether it wants one."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        valueless = tensor.is_meta or is_lazy(tensor)
        self.values = None if valueless else tensor.detach().clone()
        self.requires_grad = tensor.requires_grad
        # Asking a tensor that is no leaf for its gradient warns.
        self.gradient = tensor.grad if tensor.is_leaf else None
        self.gradient_values = None if self.gradient is None else self.gradient.detach().clone()

    def restore(self) -> None:
        with torch.no_grad():
            if self.values is not None and not _bits_equal(self.tensor, self.values):
                if self.tensor.shape != self.values.shape:
                    self.tensor.data = self.values
                else:
                    self.tensor.copy_(self.values)
            gradient, values = self.gradient, self.gradient_values
            if gradient is not None and values is not None and not _bits_equal(gradient, values):
                gradient.copy_(values)
            if self.tensor.is_leaf:
                if self.tensor.grad is not self.gradient:
                    self.tensor.grad = self.gradient
                if self.tensor.requires_grad != self.requires_grad:
                    self.tensor.requires_grad_(self.requires_grad)


def _same_items(now: Any, before: Any) -> bool:
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return all(k1 is k2 and now[k1] is before[k2] for k1, k2 in zip(now, before, strict=True))
    if isinstance(now, set):
        return bool(now == before)
    return all(a is b for a, b in zip(now, before, strict=True))


class _ModuleState:
    """The attributes of one module, with the contents of its containers."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(module.__dict__)
        self.contents = {
            key: copy.copy(value)
            for key, value in self.attributes.items()
            if isinstance(value, _CONTAINERS)
        }

    def restore(self) -> None:
        # torch lets modules intercept attribute access; the dictionary itself is the truth.
        attributes = self.module.__dict__
        if not _same_items(attributes, self.attributes):
            attributes.clear()
            attributes.update(self.attributes)
        for key, before in self.contents.items():
            container = self.attributes[key]
            if _same_items(container, before):
                continue
            container.clear()
            if isinstance(container, dict | set):
                container.update(before)
            else:
                container.extend(before)


class _RandomStates:
    """Python's, NumPy's and torch's random states, and generators found in modules."""

    def __init__(self, model: nn.Module) -> None:
        self.python = random.getstate()
        self.numpy = np.random.get_state()
        self.cpu = torch.get_rng_state()
        used = torch.cuda.is_available() and torch.cuda.is_initialized()
        self.cuda = torch.cuda.get_rng_state_all() if used else None
        mps = getattr(torch, "mps", None)
        self.mps = mps.get_rng_state() if mps and torch.backends.mps.is_available() else None
        self.generators = [
            (value, value.get_state())
            for module in model.modules()
            for value in vars(module).values()
            if isinstance(value, torch.Generator)
        ]

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)
        for generator, state in self.generators:
            generator.set_state(state)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Run a block that may run the model; afterwards nothing of it has changed.

    Args:
        model: restored bit for bit, also when the block raises or is interrupted.
    """
    modules = [_ModuleState(module) for module in model.modules()]
    tensors: dict[int, _TensorState] = {}
    for module in model.modules():
        for owned in (*module._parameters.values(), *module._buffers.values()):
            if isinstance(owned, Tensor) and id(owned) not in tensors:
                tensors[id(owned)] = _TensorState(owned)
        for value in vars(module).values():
            if isinstance(value, Tensor) and id(value) not in tensors:
                tensors[id(value)] = _TensorState(value)
    states = _RandomStates(model)
    try:
        yield
    finally:
        for module_state in modules:
            module_state.restore()
        for tensor_state in tensors.values():
            tensor_state.restore()
        states.restore()
