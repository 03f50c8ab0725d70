"""Moments of elementwise functions of one signal or of several: activations, sums, products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod, sqrt

import numpy as np

from firstlight.network.axes import POSITION, UNIT
from firstlight.network.passage import Passage
from firstlight.network.signals import Function, Root, Signal, elementwise
from firstlight.records.network import Operation
from firstlight.theory.activations import activation

_PRELU_SLOPE = 0.25
"""What frameworks start it with."""

_SUBTRACTING = frozenset({"sub", "isub", "subtract"})


def through(root: Root, function: Function, axes: tuple[str, ...], odd: bool) -> Signal:
    """A function of what a root has become, its mirrored twins with it."""
    result = elementwise(root, root.then(function), axes)
    if not odd:
        return result
    whole = root.then(function)
    twins = elementwise(root, lambda x: (whole(x) - whole(-x)) / sqrt(2), axes)
    return replace(result, odd=replace(twins, root=None))


def function_of(operation: Operation, passage: Passage) -> Function | None:
    """The activation as a function, with a slope that is a parameter as it will be."""
    if operation.activation is None:
        return None
    if operation.activation.name == "prelu" and operation.activation.parameter is None:
        slopes = [passage.weight(p) for p in passage.parameters(operation, "other", "weight")]
        value = slopes[0].mean if slopes and slopes[0] is not None else _PRELU_SLOPE
        return lambda x: np.where(x > 0, x, value * x)
    return activation(operation.activation).function


def activated(operation: Operation, passage: Passage) -> Signal | None:
    """An activation at its operating point."""
    made = passage.made(operation)
    signal = passage.signals[made[0]] if made else None
    function = function_of(operation, passage)
    if signal is None or function is None:
        return None
    return through(
        signal.root_for(made[0], operation.index), function, signal.axes, signal.odd is not None
    )


def same_root(roots: Sequence[Root | None]) -> Root | None:
    """The root that all have, if they have one in common."""
    first = roots[0] if roots else None
    if first is None or first.key is None:
        return None
    return first if all(r is not None and r.key == first.key for r in roots) else None


def added(operation: Operation, passage: Passage) -> Signal | None:
    """A sum or difference: exact if both stem from one signal, else taken as independent."""
    made = passage.made(operation)
    signals = [passage.signals[i] for i in made]
    if len(signals) != 2 or operation.option("constant"):
        return None
    left, right = signals
    if left is None or right is None:
        return None
    sign = -1.0 if operation.function in _SUBTRACTING else 1.0
    roots = [passage.root(i) for i in made]
    root = same_root(roots)
    axes = _widest(left, right)
    if root is not None and roots[1] is not None:
        first, second = root.whole, roots[1].whole
        return elementwise(root, lambda x: first(x) + sign * second(x), axes)
    if right.square == 0:
        return replace(left, axes=axes, root=roots[0])
    if left.square == 0:
        return replace(right.scaled(sign) if sign < 0 else right, axes=axes, odd=None)
    alike = _likeness_to_average(made, passage)
    if sign < 0 and alike is not None:
        mean = left.mean - right.mean
        return Signal(
            mean=mean,
            square=max(mean**2, left.square + right.square - 2 * alike),
            near=mean**2,
            positions=mean**2,
            samples=mean**2,
            axes=axes,
        )
    if sign < 0 and _is_average_of(made[1], made[0], passage):
        return replace(
            left,
            mean=left.mean - right.mean,
            square=max(0.0, left.square - right.square),
            near=left.near - right.near,
            positions=left.positions - right.positions,
            samples=left.samples - right.samples,
            root=None,
            odd=None,
        )
    cross = 2 * sign * left.mean * right.mean
    return Signal(
        mean=left.mean + sign * right.mean,
        square=left.square + right.square + cross,
        near=left.near + right.near + cross,
        positions=left.positions + right.positions + cross,
        samples=left.samples + right.samples + cross,
        axes=axes,
        place=_shared(left.square, left.place, right.square, right.place),
        unit=_shared(left.square, left.unit, right.square, right.unit),
        inverse_visible=left.inverse_visible or right.inverse_visible,
    )


def _shared(first: float, one: float, second: float, other: float) -> float:
    """Unevenness of a sum of independent parts."""
    total = (first + second) ** 2
    return (first**2 * one + second**2 * other) / total if total > 0 else 0.0


def _is_average_of(index: int, whole: int, passage: Passage) -> bool:
    operation = passage.network.operations[index]
    return operation.function == "mean" and operation.inputs == (whole,)


def _likeness_to_average(made: Sequence[int], passage: Passage) -> float | None:
    """E x·x̄ of a signal and its average over windows around each place."""
    for index, whole in ((made[0], made[1]), (made[1], made[0])):
        operation, signal = passage.network.operations[index], passage.signals[whole]
        windows = operation.option("kernel")
        pooled = operation.function.startswith("avg_pool") and operation.inputs == (whole,)
        if pooled and windows and signal is not None:
            n = prod(windows)
            return (signal.square + (n - 1) * signal.near) / n
    return None


def _widest(left: Signal, right: Signal) -> tuple[str, ...]:
    return left.axes if len(left.axes) >= len(right.axes) else right.axes


def multiplied(operation: Operation, passage: Passage) -> Signal | None:
    """A product: exact if both factors stem from one signal, else taken as independent."""
    made = passage.made(operation)
    signals = [passage.signals[i] for i in made]
    if len(signals) != 2:
        return None
    left, right = signals
    if left is None or right is None:
        return None
    roots = [passage.root(i) for i in made]
    root = same_root(roots)
    axes = _widest(left, right)
    if root is not None and roots[1] is not None:
        first, second = root.whole, roots[1].whole
        return elementwise(root, lambda x: first(x) * second(x), axes)
    for index, other in ((made[0], made[1]), (made[1], made[0])):
        signal = passage.signals[index]
        if signal is not None and is_inverse_length(other, index, passage):
            return divided_by_length(signal)
    return product(left, right, axes)


_OF_LENGTH = frozenset({"rsqrt", "sqrt", "reciprocal", "pow", "add", "clamp", "to", "float"})


def is_inverse_length(index: int, whole: int, passage: Passage) -> bool:
    """Whether a factor is 1/√(mean of x²) of the signal that it multiplies."""
    names = []
    operation = passage.network.operations[index]
    while operation.function in _OF_LENGTH and len(operation.inputs) == 1:
        names.append(operation.function)
        operation = passage.network.operations[operation.inputs[0]]
    halves = operation.function == "mean" and len(operation.inputs) == 1
    if not halves or not ({"rsqrt", "sqrt"} & set(names) or names.count("pow") == 1):
        return False
    square = passage.network.operations[operation.inputs[0]]
    squares = square.function in ("square", "pow", "mul", "multiply")
    sources = [_unconverted(i, passage) for i in square.inputs]
    return squares and sources == [_unconverted(whole, passage)]


def _unconverted(index: int, passage: Passage) -> int:
    """The operation before changes of precision."""
    operation = passage.network.operations[index]
    while operation.function in ("to", "float", "type_as") and operation.inputs:
        operation = passage.network.operations[operation.inputs[0]]
    return operation.index


def divided_by_length(signal: Signal) -> Signal:
    """A signal over its own root mean square: one in each place, whatever came."""
    result = signal.scaled(1 / sqrt(signal.square)) if signal.square > 0 else signal
    return replace(result, odd=None)


def product(left: Signal, right: Signal, axes: tuple[str, ...]) -> Signal:
    """The product of two independent signals."""
    return Signal(
        mean=left.mean * right.mean,
        square=left.square * right.square,
        near=left.near * right.near,
        positions=left.positions * right.positions,
        samples=left.samples * right.samples,
        axes=axes,
    )


def concatenated(operation: Operation, passage: Passage) -> Signal | None:
    """Parts side by side, each with its share; parameters and zeros among them."""
    places = operation.option("operands") or tuple(float(i) for i in range(len(operation.inputs)))
    parts: list[Signal] = []
    for place in places:
        if place >= 0:
            found = passage.signals[operation.inputs[int(place)]]
            if found is None:
                return None
            parts.append(found)
        else:
            parts.append(_parameter_part(operation, passage))
    sizes = operation.option("sizes") or (1.0,) * len(parts)
    if len(sizes) != len(parts) or not parts:
        return None
    shares = [size / sum(sizes) for size in sizes]
    model = max(parts, key=lambda part: len(part.axes))
    axes = model.axes
    if operation.function == "stack" and operation.option("axes"):
        at = int(operation.option("axes")[0])
        axes = (*axes[:at], UNIT, *axes[at:])
    along = [axes[int(a)] for a in operation.option("axes") if int(a) < len(axes)]

    def mean_of(values: Sequence[float]) -> float:
        return sum(s * v for s, v in zip(shares, values, strict=True))

    mean = mean_of([p.mean for p in parts])
    positions = mean_of([p.positions for p in parts])
    samples = mean_of([p.samples for p in parts])
    if along == [POSITION] and len(parts) > 1:
        own = sum(s * s * p.positions for s, p in zip(shares, parts, strict=True))
        means = sum(s * s * p.mean**2 for s, p in zip(shares, parts, strict=True))
        positions = own + mean**2 - means
        own = sum(s * s * p.samples for s, p in zip(shares, parts, strict=True))
        samples = own + mean**2 - means
    return Signal(
        mean=mean,
        square=mean_of([p.square for p in parts]),
        near=mean_of([p.near for p in parts]),
        positions=positions,
        samples=samples,
        axes=axes if len(axes) == len(operation.shape) else passage.default_axes(operation),
        root=parts[0].root if len(parts) == 1 else None,
    )


def _parameter_part(operation: Operation, passage: Passage) -> Signal:
    """A class token or its like, the same in all samples; zeros where there is no parameter."""
    found = [passage.weights.get(passage.network.parameter(n).name) for n in operation.parameters]
    weight = next((w for w in found if w is not None), None)
    mean, square = (0.0, 0.0) if weight is None else (weight.mean, weight.square)
    return Signal(mean=mean, square=square, near=square, positions=square, samples=square)
