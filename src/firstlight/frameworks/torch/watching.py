"""What is seen of code that fills tensors: what it touches, writes to, and cuts off."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from firstlight.frameworks.torch.guard import untouched

_ENDS_A_CUT = ("aten::normal_", "aten::uniform_", "aten::mul_", "aten::div_", "aten::fill_")
"""What is drawn anew or rescaled is no longer cut where it was."""


class WroteToModelError(Exception):
    """A rule reached for a tensor of the user's own model."""


class Touched(TorchFunctionMode):
    """Notes which of some parameters anything is asked of; reading a shape counts, too."""

    def __init__(self, watched: dict[int, str]) -> None:
        super().__init__()
        self.watched = watched
        self.names: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        for value in tree_leaves((args, kwargs)):
            if id(value) in self.watched:
                self.names.add(self.watched[id(value)])
        return func(*args, **(kwargs or {}))


class Writes(TorchDispatchMode):
    """Notes which storages are written to and cut at bounds; stops writes to protected ones."""

    def __init__(self, protected: frozenset[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.protected = protected
        self.written: set[int] = set()
        self.low: dict[int, float] = {}
        self.high: dict[int, float] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if isinstance(value, Tensor) and argument.alias_info and argument.alias_info.is_write:
                storage = storage_of(value)
                if storage in self.protected:
                    raise WroteToModelError
                self.written.add(storage)
        self._bounds(func, args)
        return func(*args, **kwargs)

    def _bounds(self, func: Any, args: Sequence[Any]) -> None:
        """Truncation either compares with bounds and draws anew, or clamps."""
        name = func._schema.name
        if name in _ENDS_A_CUT and args:
            for held in (self.low, self.high):
                held.pop(storage_of(args[0]), None)
        numbers = [a if isinstance(a, int | float) else None for a in args[1:3]]
        if name == "aten::lt" and numbers and numbers[0] is not None:
            self.low[storage_of(args[0])] = numbers[0]
        elif name == "aten::gt" and numbers and numbers[0] is not None:
            self.high[storage_of(args[0])] = numbers[0]
        elif name == "aten::clamp_" and len(numbers) == 2 and None not in numbers:
            self.low[storage_of(args[0])] = cast(float, numbers[0])
            self.high[storage_of(args[0])] = cast(float, numbers[1])


def storage_of(tensor: Tensor) -> int:
    """What tensors share that share memory; views have that of their base."""
    if tensor.layout != torch.strided:
        return -1  # sparse tensors have several; they are neither watched nor protected
    return int(tensor.untyped_storage()._cdata)


def random_state() -> tuple[Any, ...]:
    """The random states of torch (CPU), NumPy and Python, comparable."""
    numpy_state = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), repr(numpy_state), random.getstate()


@contextmanager
def aside(seed: int) -> Iterator[None]:
    """A block whose random numbers nobody misses, and whose warnings nobody reads."""
    with untouched(nn.Module()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
