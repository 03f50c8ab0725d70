"""Looking must not touch: everything of a model and of the random states is put back as it was.

Snapshot first, restore in ``finally``, compare before writing, so that an untouched tensor is not
even written to. What is kept: parameters, gradients, buffers, every attribute of every module
(training flags, counters, caches, hooks), with the contents of lists, dictionaries, sets, tensors,
arrays and generators however deeply nested, the random states of Python, NumPy and torch on all
devices in use, autocast and the default type. What is not: the insides of other objects (a meter
that counts its calls, an optimizer that a step holds), since no general copy of those is safe.
"""

from __future__ import annotations

import copy
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_CONTAINERS = (dict, list, set, deque)
_PLAIN_CONTAINERS = frozenset({*_CONTAINERS, OrderedDict})


def _bits_equal(a: Tensor, b: Tensor) -> bool:
    if a.is_quantized or a.is_nested or a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.layout != torch.strided:
        return torch.equal(a.to_dense(), b.to_dense())
    if a.numel() == 0:
        return True
    return torch.equal(_as_integers(a), _as_integers(b))


def _as_integers(tensor: Tensor) -> Tensor:
    """The bits: as integers NaN equals itself, and -0.0 differs from 0.0."""
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    wide = flat.numel() * flat.element_size() % 8 == 0 and flat.data_ptr() % 8 == 0
    return flat.view(torch.int64 if wide else torch.uint8)


def _same_storage(a: Tensor, b: Tensor) -> bool:
    if a.layout != torch.strided or b.layout != torch.strided:
        return a.layout == b.layout
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride()


class _TensorState:
    """One tensor's values, gradient and whether it wants one."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        valueless = tensor.is_meta or is_lazy(tensor)
        self.values: Tensor | None = None
        # The same storage: ``parameter.data = …`` would leave the tensor with another one.
        self.data = None if valueless else tensor.detach()
        self.requires_grad = tensor.requires_grad
        # Asking a tensor that is no leaf for its gradient warns.
        self.gradient = tensor.grad if tensor.is_leaf else None
        self.gradient_values = None if self.gradient is None else self.gradient.detach().clone()

    def keep(self) -> None:
        """Copy the values."""
        self.values = None if self.data is None else self.data.clone()

    def hold(self, values: Tensor, *, in_place: bool) -> None:
        """Give the tensor other values, by other memory or in its own."""
        new = values.to(device=self.tensor.device, dtype=self.tensor.dtype).contiguous()
        if in_place:
            self.tensor.detach().copy_(new)
        else:
            self.tensor.data = new

    @property
    def place(self) -> int | None:
        """Where the memory begins."""
        if self.data is None or self.data.layout != torch.strided or self.data.is_nested:
            return None
        return self.data.untyped_storage().data_ptr()

    @property
    def is_plain(self) -> bool:
        """Whether this is an ordinary tensor that fills its memory."""
        data = self.data
        if type(self.tensor) not in (Tensor, nn.Parameter) or self.place is None or data is None:
            return False
        filled = data.untyped_storage().nbytes() == data.numel() * data.element_size()
        return filled and data.is_contiguous()

    def restore(self) -> None:
        """Put back what changed; gradients have to be off."""
        if self.data is not None and not _same_storage(self.tensor, self.data):
            self.tensor.data = self.data
        if self.values is not None and not _bits_equal(self.tensor, self.values):
            self.tensor.detach().copy_(self.values)
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
    if not before:
        return True
    if isinstance(now, dict):
        return all(k1 is k2 and now[k1] is before[k2] for k1, k2 in zip(now, before, strict=True))
    if isinstance(now, set):
        return bool(now == before)
    return all(a is b for a, b in zip(now, before, strict=True))


class _ContainerState:
    """The items of a list, dictionary, set or deque."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.items = copy.copy(container)

    def restore(self) -> None:
        container = self.container
        if _same_items(container, self.items):
            return
        container.clear()
        if isinstance(container, dict | set):
            container.update(self.items)
        else:
            container.extend(self.items)


class _EmptyState:
    """Containers without items. Most are: a module has a dozen dictionaries of hooks."""

    def __init__(self) -> None:
        self.containers: list[Any] = []

    def restore(self) -> None:
        for container in self.containers:
            if container:
                container.clear()


class _ArrayState:
    """The values of a NumPy array."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.values = array.copy()

    def restore(self) -> None:
        if self.array.tobytes() != self.values.tobytes():
            self.array[...] = self.values


class _GeneratorState:
    """The state of a random generator of torch, NumPy or Python."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator
        if isinstance(generator, torch.Generator):
            self.state: Any = generator.get_state()
        elif isinstance(generator, np.random.Generator):
            self.state = generator.bit_generator.state
        else:
            self.state = generator.getstate()

    def restore(self) -> None:
        if isinstance(self.generator, torch.Generator):
            self.generator.set_state(self.state)
        elif isinstance(self.generator, np.random.Generator):
            self.generator.bit_generator.state = self.state
        else:
            self.generator.setstate(self.state)


_State = _TensorState | _ContainerState | _EmptyState | _ArrayState | _GeneratorState


_NEVER_CHANGED = frozenset({type(None), bool, int, float, str, bytes, torch.dtype, torch.device})
"""Most of what a module holds; told by exact type, since asking torch's types is slow."""


_EMPTY = 0
"""Where all empty containers stand among the states; no object has this identity."""


def _visit(value: Any, found: dict[int, Any]) -> None:
    if type(value) in _NEVER_CHANGED or id(value) in found:
        return
    if type(value) in _PLAIN_CONTAINERS and not value:
        found[_EMPTY].containers.append(value)
    elif isinstance(value, Tensor):
        found[id(value)] = _TensorState(value)
    elif isinstance(value, np.ndarray):
        found[id(value)] = _ArrayState(value)
    elif isinstance(value, torch.Generator | np.random.Generator | random.Random):
        found[id(value)] = _GeneratorState(value)
    elif isinstance(value, _CONTAINERS):
        found[id(value)] = _ContainerState(value)
        for item in list(value.values() if isinstance(value, dict) else value):
            _visit(item, found)
    elif isinstance(value, tuple):
        for item in value:
            _visit(item, found)
    elif isinstance(value, nn.Module):
        _visit_modules(value, found)


def _visit_modules(module: nn.Module, found: dict[int, Any]) -> None:
    """A module and those inside it; attributes may hold others that are not registered."""
    for inner in module.modules():
        # torch lets modules intercept attribute access; the dictionary itself is the truth.
        _visit(inner.__dict__, found)


def _states(model: nn.Module) -> list[_State]:
    """What modules hold, each thing once; containers come before what they contain.

    No closure that calls itself: such a cycle would keep the copies until the next collection.
    """
    found: dict[int, Any] = {_EMPTY: _EmptyState()}
    _visit_modules(model, found)
    return list(found.values())


def _keep(states: list[_State], lent: Mapping[int, Tensor]) -> list[_TensorState]:
    """Copy the values of all tensors but those that can be given other memory meanwhile.

    Args:
        states: of a model.
        lent: values that tensors shall have meanwhile, by identity.

    Returns:
        The tensors that need not be copied: nothing else looks at their memory.
    """
    tensors = [state for state in states if isinstance(state, _TensorState)]
    places = Counter(state.place for state in tensors) if lent else Counter()
    spared = []
    for state in tensors:
        if id(state.tensor) in lent and state.is_plain and places[state.place] == 1:
            spared.append(state)
        else:
            state.keep()
    return spared


class _Surroundings:
    """The random states of Python, NumPy and torch, autocast and the default type."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.numpy = np.random.get_state()
        self.cpu = torch.get_rng_state()
        used = torch.cuda.is_available() and torch.cuda.is_initialized()
        self.cuda = torch.cuda.get_rng_state_all() if used else None
        mps = getattr(torch, "mps", None)
        self.mps = mps.get_rng_state() if mps and torch.backends.mps.is_available() else None
        self.autocast = {
            device: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in ("cpu", "cuda")
        }
        self.autocast_cache = torch.is_autocast_cache_enabled()
        self.dtype = torch.get_default_dtype()

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)
        for device, (enabled, dtype) in self.autocast.items():
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(self.autocast_cache)
        torch.set_default_dtype(self.dtype)


@contextmanager
def untouched(model: nn.Module, values: Mapping[int, Tensor] | None = None) -> Iterator[None]:
    """Run a block that may run the model; afterwards nothing of it has changed.

    Args:
        model: restored bit for bit, also when the block raises or is interrupted.
        values: what parameters hold inside the block, by their identity; the block may write into
            these tensors. The parameters' own memory is set aside where that is possible, which
            spares copying it.
    """
    states = _states(model)
    lent = values or {}
    spared = {id(state) for state in _keep(states, lent)}
    surroundings = _Surroundings()
    try:
        for state in states if lent else ():
            if isinstance(state, _TensorState) and id(state.tensor) in lent:
                state.hold(lent[id(state.tensor)], in_place=id(state) not in spared)
        yield
    finally:
        interrupt: KeyboardInterrupt | None = None
        while True:  # each restores once or twice the same, so Ctrl-C in the midst begins again
            try:
                with torch.no_grad():
                    for each in (*states, surroundings):
                        each.restore()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
