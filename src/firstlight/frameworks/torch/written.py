"""Elementwise calls as they run, written down so that they can be run again on other numbers.

A step keeps the function and its operands: which operation made each tensor, the value of each
scalar, and the comparison that a mask came from. It keeps no tensor of the model, only a few
elements of what went in and what came out, by which a replay can be proved right.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from firstlight.frameworks.torch.beside import has_values
from firstlight.frameworks.torch.calls import Call
from firstlight.frameworks.torch.steps import CASTS, ELEMENTWISE, MASKS, At, Scalar, Step

_SAMPLE = 64
"""Elements kept of a tensor: enough to tell a wrong replay, few enough to cost nothing."""


@lru_cache(maxsize=1024)
def _corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices that leave at most `_SAMPLE` elements, from every axis some."""
    sizes = [1] * len(shape)
    grown = True
    while grown:
        grown = False
        for axis, most in enumerate(shape):
            product = 1
            for size in sizes:
                product *= size
            room = product // sizes[axis] * (sizes[axis] + 1) <= _SAMPLE
            if sizes[axis] < most and room:
                sizes[axis] += 1
                grown = True
    return tuple(slice(0, size) for size in sizes)


def sample(tensor: Tensor) -> Tensor:
    """A copy of a few elements, the same ones for every tensor of this shape."""
    return tensor.detach()[_corner(tuple(tensor.shape))].clone()


class Origins(Protocol):
    """Who knows where tensors came from."""

    def maker(self, tensor: Tensor) -> int | None:
        """The operation that made a tensor, if one did."""

    def depends_on_data(self, tensor: Tensor) -> bool:
        """Whether it was made from the batch."""

    def parameter(self, tensor: Tensor) -> str | None:
        """Its name, if it is a parameter."""


class Written:
    """The elementwise steps of one forward pass."""

    def __init__(self) -> None:
        self._masks: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._places: dict[int, tuple[object, ...]] = {}
        """Where each result without values stands; those with values are told by their values."""
        self._calls: tuple[int, ...] = ()
        self.classes: list[type[nn.Module]] = []
        """The class of each module that was called, by the number of the call."""
        self.steps: dict[int, Step] = {}
        """By the operation that the step became."""
        self.samples: dict[int, Tensor] = {}
        """A few elements of the results of steps, and of what steps start from."""
        self.calls_of: list[tuple[int, ...]] = []
        """The calls of modules inside which each operation ran, the outermost first."""

    def enter(self, module: nn.Module) -> None:
        """A module begins to run."""
        self._calls = (*self._calls, len(self.classes))
        self.classes.append(type(module))

    def leave(self) -> None:
        """The module that runs returns."""
        self._calls = self._calls[:-1]

    @cached_property
    def inside(self) -> dict[int, frozenset[int]]:
        """The operations that ran in each call of a module; asked after the pass."""
        found: dict[int, set[int]] = {call: set() for call in range(len(self.classes))}
        for index, calls in enumerate(self.calls_of):
            for call in calls:
                found[call].add(index)
        return {call: frozenset(members) for call, members in found.items()}

    def step(self, call: Call, origins: Origins) -> Step | None:
        """A call that is about to run, if it is elementwise in what operations made."""
        name, args, keywords = call.name, call.args, call.keywords
        if name not in ELEMENTWISE or not self._calls or "out" in keywords:
            return None  # what runs outside of all modules belongs to the loss
        operands = [*args, *keywords.values()]
        tensors = [o for o in operands if isinstance(o, Tensor)]
        if not tensors or (name in ("max", "min") and len(tensors) < 2):
            return None  # the largest element of a tensor is another function of the same name
        shape = max((tuple(t.shape) for t in tensors), key=len)
        try:
            written = [self._operand(o, shape, origins) for o in operands]
        except _NotElementwiseError:
            return None
        sources = {o.index for o in written if isinstance(o, At)}
        if name in CASTS and sources:
            return None
        for operand in written:
            if isinstance(operand, Step):
                sources |= operand.sources
        if not sources:
            return None
        for tensor, operand in zip(operands, written, strict=True):
            if isinstance(operand, At) and operand.index not in self.samples:
                self.samples[operand.index] = sample(tensor)
        return Step(
            func=call.func,
            name=name,
            args=tuple(written[: len(args)]),
            keywords=tuple(zip(keywords, written[len(args) :], strict=True)),
            in_place=call.in_place or keywords.get("inplace") is True,
            sources=frozenset(sources),
        )

    def _operand(self, value: Any, shape: tuple[int, ...], origins: Origins) -> Any:
        if not isinstance(value, Tensor):
            if value is None or isinstance(value, bool | int | float | str | torch.dtype):
                return value
            raise _NotElementwiseError
        index = origins.maker(value)
        if index is not None and tuple(value.shape) == shape:
            place = self._places.get(index)
            if place is not None and place != _place(value):
                raise _NotElementwiseError  # another part of what was cut in several
            return At(index)
        mask = self._masks.get(value)
        if mask is not None and tuple(value.shape) == shape:
            return mask
        single = value.numel() == 1 and not value.is_complex()
        constant = index is None and single and not origins.depends_on_data(value)
        if constant and has_values(value):
            return Scalar(float(value.detach()), origins.parameter(value))
        raise _NotElementwiseError

    def made_mask(self, step: Step | None, result: Tensor) -> None:
        """A call gave integers or truth values."""
        if step is not None and step.name in MASKS:
            self._masks[result] = step
        else:
            self._masks.pop(result, None)

    def made(self, step: Step | None, index: int, result: Tensor) -> None:
        """A call became an operation."""
        self.calls_of.append(self._calls)
        if result.is_meta and not has_values(result):
            self._places[index] = _place(result)
        same = step is not None and all(
            self.samples[source].shape == result.detach()[_corner(tuple(result.shape))].shape
            for source in step.sources
        )
        if step is not None and same and result.is_floating_point():
            self.steps[index] = step
            self.samples[index] = sample(result)


def _place(tensor: Tensor) -> tuple[object, ...]:
    """What two tensors have in common that are the same part of the same memory."""
    if tensor.layout != torch.strided or tensor.is_nested:
        return (id(tensor),)
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


class _NotElementwiseError(Exception):
    """An operand that cannot be written down."""
