"""Opening what torch runs as one function: attention, and stacks of recurrent layers.

`multi_head_attention_forward` is Python: its own body is run again with torch's override hook off,
so that every product, softmax and dropout inside is seen, with the very arithmetic and random
numbers of the original. ``lstm``, ``gru`` and ``rnn_*`` are one kernel for all layers and steps.
They are run layer by layer with the same kernel; each layer is told as its input projection, the
gate that its state is made from, and the recurrence: three operations, however long the sequence.
The first two are computed beside the kernel for their values alone, the projection before it runs
(whoever calibrates changes the weight there); δ is seen at the layer's result. What is not sure to
be the same (nested tensors, several layers in one kernel of another device) stays closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.records.network import OperationKind

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Kernels of whole recurrent stacks."""

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_OVERRIDE_HOOK = "has_torch_function"
_ARGUMENTS = 9


class Recording(Protocol):
    """Who writes down what runs inside a composite."""

    wants_gates: bool
    """Whether the gates are worth computing."""

    def note(
        self,
        function: str,
        kind: OperationKind,
        result: Tensor,
        operands: Iterable[Tensor],
        **keywords: Any,
    ) -> Tensor:
        """Record one operation; the result to go on with."""


def may_open(name: str, func: Any) -> bool:
    """Whether a call of this function may be one that `attention` or `recurrent` opens."""
    return func is functional.multi_head_attention_forward or name in RECURRENT


@lru_cache(maxsize=1)
def _attention_body(func: FunctionType) -> Callable[..., Any] | None:
    """Torch's own code of multi-head attention, without the line that hands it to a mode."""
    if _OVERRIDE_HOOK not in func.__code__.co_names:
        return None  # it would hand itself to the mode for ever
    scope = {**func.__globals__, _OVERRIDE_HOOK: lambda _: False}
    body = FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def attention(func: Any, operands: Iterable[Tensor]) -> Callable[..., Any] | None:
    """What to call instead of `multi_head_attention_forward` so that its inside is seen.

    Args:
        func: the function that was called.
        operands: its tensors.

    Returns:
        The same computation; None if it is another function, or must stay closed.
    """
    if func is not functional.multi_head_attention_forward or any(t.is_nested for t in operands):
        return None
    return _attention_body(func)


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """The arguments of a recurrent kernel."""

    kernel: Callable[..., Any]
    name: str
    data: Tensor
    batch_sizes: tuple[Tensor, ...]
    """One tensor for a packed sequence, else none."""
    states: tuple[Tensor, ...]
    weights: Sequence[Tensor]
    biases: bool
    layers: int
    dropout: float
    training: bool
    directions: int
    batch_first: bool

    @property
    def time_axis(self) -> int:
        return 1 if self.batch_first else 0

    def layer(self, index: int) -> list[Sequence[Tensor]]:
        """A layer's tensors, one sequence per direction: ih, hh, their biases, projection."""
        each = len(self.weights) // (self.layers * self.directions)
        start = index * self.directions * each
        return [
            self.weights[start + i * each : start + (i + 1) * each] for i in range(self.directions)
        ]

    def first_states(self, index: int) -> tuple[Tensor, ...]:
        return tuple(
            state[index * self.directions : (index + 1) * self.directions] for state in self.states
        )

    def run(self, index: int, data: Tensor) -> tuple[Tensor, ...]:
        """One layer, both directions, by the original kernel."""
        states = self.first_states(index)
        flat = [tensor for direction in self.layer(index) for tensor in direction]
        options = (self.biases, 1, 0.0, self.training, self.directions == 2)
        tail = () if self.batch_sizes else (self.batch_first,)
        first = states if self.name == "lstm" else states[0]
        found: tuple[Tensor, ...] = self.kernel(
            data, *self.batch_sizes, first, flat, *options, *tail
        )
        return found


def _stack(name: str, func: Any, args: tuple[Any, ...], keywords: Any) -> _Stack | None:
    if name not in RECURRENT or keywords or len(args) != _ARGUMENTS:
        return None
    packed = isinstance(args[3], list | tuple)
    if packed:
        data, sizes, states, weights, biases, layers, dropout, training, both = args
        batch_first = False
        batch_sizes: tuple[Tensor, ...] = (sizes,)
    else:
        data, states, weights, biases, layers, dropout, training, both, batch_first = args
        batch_sizes = ()
    given = [data, *weights]
    if any(t.is_nested for t in given) or (layers > 1 and data.device.type != "cpu"):
        return None
    return _Stack(
        kernel=func,
        name=name,
        data=data,
        batch_sizes=batch_sizes,
        states=tuple(states) if isinstance(states, list | tuple) else (states,),
        weights=weights,
        biases=biases,
        layers=layers,
        dropout=dropout,
        training=training,
        directions=2 if both else 1,
        batch_first=batch_first,
    )


def recurrent(
    name: str, func: Any, args: tuple[Any, ...], keywords: Any, recording: Recording
) -> tuple[Tensor, ...] | None:
    """The result of a recurrent kernel, layer by layer, each written down.

    Args:
        name: the kernel's plain name.
        func: the kernel.
        args: of the call, as the modules of torch give them.
        keywords: they give none.
        recording: gets the operations.

    Returns:
        What the kernel returns; None if the call must stay closed.
    """
    stack = _stack(name, func, args, keywords)
    if stack is None:
        return None
    data, ends = stack.data, []
    for index in range(stack.layers):
        projected = _projections(stack, index, data, recording)
        result, *states = stack.run(index, data)
        gates = projected
        if recording.wants_gates:
            gates = _gates(stack, index, projected, result, recording)
        # All but the input's weight and, where there is one, its bias.
        own = [t for each in stack.layer(index) for t in (each[1], *each[2 + stack.biases :])]
        result = recording.note(name, "composite", result, [*gates, *stack.states, *own])
        if not stack.batch_sizes:
            states[0] = _last_states(stack, result)
        ends.append(states)
        data = result
        if index + 1 < stack.layers and stack.dropout and stack.training:
            dropped = functional.dropout(data, stack.dropout)
            data = recording.note("dropout", "dropout", dropped, [data], p=stack.dropout)
    return (data, *(torch.cat(layers) for layers in zip(*ends, strict=True)))


def _last_states(stack: _Stack, result: Tensor) -> Tensor:
    """h_n as a part of the result, so that the gradient of either is seen there."""
    parts = result.chunk(stack.directions, dim=-1)
    ends = (part.select(stack.time_axis, -i) for part, i in zip(parts, (1, 0), strict=False))
    return torch.stack(list(ends))


def _projections(stack: _Stack, index: int, data: Tensor, recording: Recording) -> list[Tensor]:
    """For each direction what the input's weight makes of the input."""
    with torch.no_grad():
        return [
            recording.note(
                "linear",
                "weighted",
                functional.linear(data, ih, rest[0] if stack.biases else None),
                [data, ih, *rest[: int(stack.biases)]],
            )
            for ih, _, *rest in stack.layer(index)
        ]


def _gates(
    stack: _Stack, index: int, projections: list[Tensor], result: Tensor, recording: Recording
) -> list[Tensor]:
    """For each direction the operation before the recurrence, by its values alone."""
    if stack.batch_sizes:
        return projections
    width = stack.layer(index)[0][0].shape[0] // _GATES[stack.name]
    gates = []
    with torch.no_grad():
        for number, (_, hh, *rest) in enumerate(stack.layer(index)):
            projected = projections[number]
            states = result.chunk(stack.directions, dim=-1)[number]
            first = stack.first_states(index)[0][number]
            before = _before(states, first, stack.time_axis, backwards=number == 1)
            product = functional.linear(before, hh, rest[1] if stack.biases else None)
            gate, function = _gate(stack.name, projected, product, states, width)
            gates.append(recording.note(function, "activation", gate, [projected]))
    return gates


def _before(states: Tensor, first: Tensor, axis: int, *, backwards: bool) -> Tensor:
    """The state that each step started from."""
    steps = states.shape[axis]
    first = first.unsqueeze(axis).to(states)
    if backwards:
        return torch.cat([states.narrow(axis, 1, steps - 1), first], dim=axis)
    return torch.cat([first, states.narrow(axis, 0, steps - 1)], dim=axis)


def _gate(
    name: str, projected: Tensor, product: Tensor, states: Tensor, width: int
) -> tuple[Tensor, str]:
    """What a new state is made from: LSTM's cell gate, GRU's new gate, the state of a plain RNN."""
    if name == "lstm":
        inputs, recurrences = (t.narrow(-1, 2 * width, width) for t in (projected, product))
        return torch.tanh(inputs + recurrences), "tanh"
    if name == "gru":
        (reset_in, _, new_in), (reset_back, _, new_back) = (
            t.split(width, dim=-1) for t in (projected, product)
        )
        reset = torch.sigmoid(reset_in + reset_back)
        return torch.tanh(new_in + reset * new_back), "tanh"
    return states.detach(), name.removeprefix("rnn_")
