"""Elementwise calls as they run, written down so that they can be run again on other numbers.

A step keeps the function and its operands: which operation made each tensor, the value of each
scalar, and the comparison that a mask came from. It keeps no tensor of the model, only a few
elements of what went in and what came out, by which a replay can be proved right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

_MASKS = frozenset(
    "gt lt ge le ne eq greater less greater_equal less_equal not_equal logical_and logical_or"
    " logical_not logical_xor and or xor invert bitwise_and bitwise_or bitwise_not".split()
)

CASTS = frozenset("float double half bfloat16 to type type_as".split())
"""Of masks alone: a cast of a signal is a step of its own, and ends an elementwise run."""

_OPERATORS = ("add", "sub", "mul", "div", "truediv", "pow")

ELEMENTWISE = (
    _MASKS
    | CASTS
    | {f"{way}{name}" for name in _OPERATORS for way in ("", "r", "i")}
    | frozenset(
        # arithmetic and powers
        "subtract multiply divide true_divide float_power square sqrt rsqrt reciprocal neg negative"
        " positive abs absolute sign sgn exp exp2 expm1 log log1p log2 log10 sinc lerp addcmul"
        " addcdiv clamp clamp_min clamp_max clip maximum minimum max min fmax fmin where"
        " masked_fill fmod remainder frac hypot"
        # trigonometry and special functions
        " sin cos tan asin acos atan arcsin arccos arctan sinh cosh tanh asinh acosh atanh arcsinh"
        " atan2 erf erfc erfinv expit logit ndtr log_ndtr xlogy i0 i0e i1 i1e"
        # activations; the random ones are not among them
        " relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh"
        " softplus softsign sigmoid logsigmoid log_sigmoid tanhshrink softshrink hardshrink"
        " threshold".split()
    )
)
"""Functions whose result at a place depends on their operands at that place alone."""

_SAMPLE = 64
"""Elements kept of a tensor: enough to tell a wrong replay, few enough to cost nothing."""


@dataclass(frozen=True)
class At:
    """An operand that an operation made."""

    index: int


@dataclass(frozen=True)
class Scalar:
    """A tensor of one element by its present value, with its name if it is a parameter."""

    value: float
    parameter: str | None = None


@dataclass(frozen=True)
class Step:
    """One elementwise call that can be run again.

    Args:
        func: the torch function.
        name: its plain name.
        args: positional operands: `At`, `Scalar`, `Step` (a mask) or plain values.
        keywords: the others, by name.
        in_place: whether it overwrites its first operand.
        sources: the operations whose results it needs, masks included.
    """

    func: Any
    name: str
    args: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    in_place: bool
    sources: frozenset[int]

    @property
    def operands(self) -> tuple[Any, ...]:
        """Positional and named ones."""
        return (*self.args, *(value for _, value in self.keywords))

    def moved(self, places: Mapping[int, int]) -> Step:
        """The same step with its operands' operations numbered anew."""

        def move(operand: Any) -> Any:
            if isinstance(operand, At):
                return At(places[operand.index])
            return operand.moved(places) if isinstance(operand, Step) else operand

        return replace(
            self,
            args=tuple(move(operand) for operand in self.args),
            keywords=tuple((name, move(operand)) for name, operand in self.keywords),
            sources=frozenset(places[source] for source in self.sources),
        )


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


class Called(Protocol):
    """One call of a torch function."""

    @property
    def func(self) -> Any: ...
    @property
    def name(self) -> str: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def keywords(self) -> Mapping[str, Any]: ...
    @property
    def in_place(self) -> bool: ...


class Origins(Protocol):
    """Who knows where tensors came from."""

    def maker(self, tensor: Tensor) -> int | None: ...
    def depends_on_data(self, tensor: Tensor) -> bool: ...
    def parameter(self, tensor: Tensor) -> str | None: ...


class Written:
    """The elementwise steps of one forward pass."""

    def __init__(self) -> None:
        self._masks: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
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

    def step(self, call: Called, origins: Origins) -> Step | None:
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
            return At(index)
        mask = self._masks.get(value)
        if mask is not None and tuple(value.shape) == shape:
            return mask
        single = value.numel() == 1 and not value.is_meta and not value.is_complex()
        if index is None and single and not origins.depends_on_data(value):
            return Scalar(float(value.detach()), origins.parameter(value))
        raise _NotElementwiseError

    def made_mask(self, step: Step | None, result: Tensor) -> None:
        """A call gave integers or truth values."""
        if step is not None and step.name in _MASKS:
            self._masks[result] = step
        else:
            self._masks.pop(result, None)

    def made(self, step: Step | None, index: int, result: Tensor) -> None:
        """A call became an operation."""
        self.calls_of.append(self._calls)
        same = step is not None and all(
            self.samples[source].shape == result.detach()[_corner(tuple(result.shape))].shape
            for source in step.sources
        )
        if step is not None and same and result.is_floating_point():
            self.steps[index] = step
            self.samples[index] = sample(result)


class _NotElementwiseError(Exception):
    """An operand that cannot be written down."""
