"""Moments of what no other file knows: functions of one signal, constants, products by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod, sqrt

import numpy as np

from firstlight.network.axes import KEY, POSITION, UNIT
from firstlight.network.combining import function_of, product, same_root, through
from firstlight.network.mixing import attended, averaged, contracted
from firstlight.network.passage import Passage
from firstlight.network.pooling import reduced_axes
from firstlight.network.prescribed import Prescribed
from firstlight.network.signals import Function, Signal, elementwise, independent
from firstlight.network.weighing import weighed
from firstlight.records.network import Operation

_CONCENTRATED = 0.6
"""Std over mean up to which 1/x, √x and log x of a positive signal have moments to speak of."""

_ALIKE = 0.3
"""Relative difference up to which two mean squares may be those of a table and of some rows."""

_FLOOR = 0.05
"""Smallest value, in means, that a positive signal is taken to have."""

_SMOOTH: dict[str, Function] = {
    "neg": np.negative,
    "exp": np.exp,
    "square": np.square,
    "abs": np.abs,
    "cos": np.cos,
    "log1p": lambda x: np.log1p(np.maximum(x, 0.0)),
}

_OF_POSITIVE: dict[str, Function] = {
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": np.reciprocal,
    "log": np.log,
}

_SAME = frozenset({"detach", "type_as", "repeat_interleave", "identity", "requires_grad", "alias"})

_ADDING = frozenset({"add", "radd", "iadd"})
_SUBTRACTING = frozenset({"sub", "isub", "subtract", "rsub"})
_MULTIPLYING = frozenset({"mul", "rmul", "imul", "multiply"})
_DIVIDING = frozenset({"div", "truediv", "idiv", "itruediv", "divide", "rdiv", "rtruediv"})


def single(operation: Operation, passage: Passage) -> Signal | None:
    """The signal of an operation of kind ``other``; None for a function that is not known."""
    name, made = operation.function, passage.made(operation)
    if name in ("zeros_like", "new_zeros"):
        return independent(0.0, 0.0, passage.default_axes(operation))
    if name in ("ones_like", "new_ones"):
        return independent(1.0, 1.0, passage.default_axes(operation))
    if name == "randn_like":
        return independent(0.0, 1.0, passage.default_axes(operation))
    if not made:
        return None
    signal = passage.signals[made[0]]
    if signal is None:
        return None
    if name in ("matmul", "bmm", "mm") and len(made) == 2:
        return _matrix_product(operation, passage, made)
    if name == "einsum" and len(made) == 2:
        return _einsum_product(operation, passage, made)
    if name == "baddbmm" and len(made) == 2:
        product_ = _matrix_product(operation, passage, made)
        factor = (operation.option("scale") or (1.0,))[0]
        return None if product_ is None else replace(product_.scaled(factor), heavy=product_.heavy)
    if name in _SAME:
        return replace(signal, root=signal.own_root(made[0]))
    if name == "grouped_mm":
        return weighed(operation, passage)
    if name == "sum":
        return _sum(operation, passage, signal, made[0])
    if name in ("masked_fill", "where") and operation.option("inverse_visible"):
        return replace(signal, inverse_visible=operation.option("inverse_visible")[0], root=None)
    if name == "masked_fill" and operation.option("filled"):
        share, value = operation.option("filled")
        return _partly(signal, share, value)
    if name == "glu":
        return _gated(signal)
    if name == "normalize":
        return _unit_length(operation, signal, passage.shape(made[0]))
    function = _function(operation, signal)
    if function is not None:
        odd = signal.odd is not None
        result = through(signal.root_for(made[0], operation.index), function, signal.axes, odd)
        if name in _MULTIPLYING | _DIVIDING:  # logits on their way to a softmax
            return replace(result, heavy=signal.heavy, inverse_visible=signal.inverse_visible)
        return result
    return _binary(operation, passage, signal, made)


def elementwise_of(operation: Operation, passage: Passage) -> Function | None:
    """The function that an operation applies to each value of its one operand, if it is one."""
    made = passage.made(operation)
    signal = passage.signals[made[0]] if made else None
    if signal is None:
        return None
    if operation.kind == "activation":
        return function_of(operation, passage)
    return _function(operation, signal)


def _function(operation: Operation, signal: Signal) -> Function | None:
    """The elementwise function that an operation computes of its one signal."""
    name = operation.function
    constant = operation.option("constant")
    exact = bool(constant) and abs(constant[1] - constant[0] ** 2) <= 1e-9 * abs(constant[1])
    if name in _SMOOTH and not constant:
        return _SMOOTH[name]
    positive = signal.mean > 0 and sqrt(signal.variance) < _CONCENTRATED * signal.mean
    if name in _OF_POSITIVE:
        return _floored(_OF_POSITIVE[name], signal.mean) if positive else None
    if name in ("clamp", "clamp_min"):
        low, high = operation.option("low"), operation.option("high")
        ends = (low[0] if low else -np.inf, high[0] if high else np.inf)
        return lambda x: np.clip(x, *ends)
    if not exact:
        return None
    c = constant[0]
    first = bool((operation.option("constant_first") or (0.0,))[0])
    table: dict[str, Callable[[], Function | None]] = {
        **dict.fromkeys(_ADDING, lambda: lambda x: x + c),
        **dict.fromkeys(_MULTIPLYING, lambda: lambda x: x * c),
        **dict.fromkeys(("sub", "isub", "subtract"), lambda: _difference(c, first)),
        "rsub": lambda: lambda x: c - x,
        **dict.fromkeys(
            ("div", "truediv", "idiv", "itruediv", "divide"),
            lambda: _quotient(c, signal.mean, positive) if first else (lambda x: x / c),
        ),
        **dict.fromkeys(("rdiv", "rtruediv"), lambda: _quotient(c, signal.mean, positive)),
        "pow": lambda: _power(c, signal.mean, positive),
        "maximum": lambda: lambda x: np.maximum(x, c),
        "minimum": lambda: lambda x: np.minimum(x, c),
    }
    found = table.get(name)
    return found() if found is not None else None


def _floored(function: Function, mean: float) -> Function:
    """A function of a positive signal: the far tail of its normal stand-in is not positive."""
    floor = _FLOOR * mean
    return lambda x: function(np.maximum(x, floor))


def _difference(c: float, first: bool) -> Function:
    return (lambda x: c - x) if first else (lambda x: x - c)


def _quotient(c: float, mean: float, positive: bool) -> Function | None:
    return _floored(lambda x: c / x, mean) if positive else None


def _power(exponent: float, mean: float, positive: bool) -> Function | None:
    if exponent == int(exponent) and exponent >= 0:
        return lambda x: x**exponent
    return _floored(lambda x: x**exponent, mean) if positive else None


def _binary(
    operation: Operation, passage: Passage, signal: Signal, made: list[int]
) -> Signal | None:
    """Sums and products with constants, parameters and other signals."""
    name = operation.function
    if len(made) == 2 and name in _DIVIDING:
        return _divided(operation, passage, made)
    if len(made) == 2 and name in ("add", "iadd", "mul", "imul", "sub", "isub"):
        return _twice(operation, passage, made)
    if len(made) == 2 and name in ("maximum", "minimum"):
        roots = [passage.root(i) for i in made]
        root = same_root(roots)
        if root is None or roots[1] is None:
            return None
        first, second = root.whole, roots[1].whole
        choose = np.maximum if name == "maximum" else np.minimum
        return elementwise(root, lambda x: choose(first(x), second(x)), signal.axes)
    if operation.option("inverse_visible") and name in _ADDING:
        return replace(signal, inverse_visible=operation.option("inverse_visible")[0], root=None)
    other = _other(operation, passage)
    if other is None or len(made) != 1:
        return None
    if name in _ADDING | _SUBTRACTING:
        sign = -1.0 if name in _SUBTRACTING else 1.0
        cross = 2 * sign * signal.mean * other.mean
        result = Signal(
            mean=signal.mean + sign * other.mean,
            square=signal.square + other.square + cross,
            near=signal.near + other.near + cross,
            positions=signal.positions + other.positions + cross,
            samples=signal.samples + other.samples + cross,
            axes=signal.axes,
            heavy=signal.heavy,
            inverse_visible=signal.inverse_visible,
        )
        if name == "rsub" or ((operation.option("constant_first") or (0.0,))[0] and sign < 0):
            return replace(result, mean=-result.mean)
        return result
    if name in _MULTIPLYING:
        return product(signal, other, signal.axes)
    if name in _DIVIDING and operation.option("constant_first") != (1.0,):
        if other.square <= 0 or other.variance > 0.25 * other.square:
            return None
        return product(
            signal,
            independent(1 / other.mean, (1 + 3 * other.variance / other.square) / other.square),
            signal.axes,
        )
    return None


def _twice(operation: Operation, passage: Passage, made: list[int]) -> Signal | None:
    """X + x, x · x and their like: both operands are one result, or parts of it."""
    roots = [passage.root(i) for i in made]
    root = same_root(roots)
    left, right = passage.signals[made[0]], passage.signals[made[1]]
    if left is None or right is None:
        return None
    name = operation.function
    if root is None or roots[1] is None:
        if "mul" in name:
            return product(left, right, left.axes)
        return None
    first, second = root.whole, roots[1].whole
    if "mul" in name:
        return elementwise(root, lambda x: first(x) * second(x), left.axes)
    sign = -1.0 if "sub" in name else 1.0
    return elementwise(root, lambda x: first(x) + sign * second(x), left.axes)


def _divided(operation: Operation, passage: Passage, made: list[int]) -> Signal | None:
    left, right = (passage.signals[i] for i in made)
    if operation.function in ("rdiv", "rtruediv"):
        left, right = right, left
    if left is None or right is None:
        return None
    if not (right.mean > 0 and sqrt(right.variance) < _CONCENTRATED * right.mean):
        return None
    inverse = elementwise(
        right.own_root(made[1]),
        right.own_root(made[1]).then(_floored(np.reciprocal, right.mean)),
        (),
    )
    return product(left, inverse, left.axes)


def _other(operation: Operation, passage: Passage) -> Signal | None:
    """The operand that is a constant or a parameter, as a signal."""
    constant = operation.option("constant")
    if constant:
        mean, square, alike = constant
        return Signal(mean=mean, square=square, near=alike, positions=alike, samples=alike)
    found: list[Prescribed | None] = [
        passage.weights.get(passage.network.parameter(n).name) for n in operation.parameters
    ]
    if len(found) != 1 or found[0] is None:
        return None
    weight, parameter = found[0], passage.network.parameter(operation.parameters[0])
    expression = operation.option("expression")
    if expression and (weight.kept or not _is_the_parameter(expression[1], weight)):
        mean, square, alike = expression
        return Signal(mean=mean, square=square, near=alike, positions=alike, samples=alike)
    # A vector is the same at all positions; a table of positions is not.
    wide = sum(n > 1 for n in parameter.layout.shape) > 1
    alike = weight.mean**2 if wide else weight.square
    return Signal(
        mean=weight.mean, square=weight.square, near=alike, positions=alike, samples=alike
    )


def _is_the_parameter(square: float, weight: Prescribed) -> bool:
    """Whether an expression of a parameter has its mean square: a part of it, or a reshaped one."""
    before = weight.before
    return before is not None and abs(square - before) <= _ALIKE * max(square, before)


def _matrix_product(operation: Operation, passage: Passage, made: list[int]) -> Signal | None:
    left, right = passage.signals[made[0]], passage.signals[made[1]]
    if left is None or right is None:
        return None
    shapes = passage.shape(made[0]), passage.shape(made[1])
    if min(len(s) for s in shapes) < 2:
        return None
    count = shapes[0][-1]
    first = left.axes[-1] if left.axes else UNIT
    second = right.axes[-2] if len(right.axes) > 1 else POSITION
    last = right.axes[-1] if right.axes else UNIT
    axes = (*left.axes[:-1], last)
    if len(axes) != len(operation.shape):
        axes = passage.default_axes(operation)
    if first == KEY:
        result = attended(right, left.square * count, left.tilt, left.positions * count)
        return replace(result, axes=axes)
    if second == KEY:  # keys on the other side: an average over queries
        return None
    return contracted(left, right, count, (first, second), axes)


def _einsum_product(operation: Operation, passage: Passage, made: list[int]) -> Signal | None:
    """A product of two signals with its axes by letters: one that neither result nor stack has."""
    left, right = passage.signals[made[0]], passage.signals[made[1]]
    rows = [operation.option(name) for name in ("term0", "term1", "result")]
    if left is None or right is None or not all(rows):
        return None
    summed = [letter for letter in rows[0] if letter in rows[1] and letter not in rows[2]]
    if len(summed) != 1 or [len(s.axes) for s in (left, right)] != [len(r) for r in rows[:2]]:
        return None
    labels = dict(zip(rows[1], right.axes, strict=True)) | dict(
        zip(rows[0], left.axes, strict=True)
    )
    axes = tuple(labels[letter] for letter in rows[2])
    places = [row.index(summed[0]) for row in rows[:2]]
    first, second = left.axes[places[0]], right.axes[places[1]]
    count = passage.shape(made[0])[places[0]]
    for weights, values, label in ((left, right, first), (right, left, second)):
        if label == KEY:
            result = attended(
                values, weights.square * count, weights.tilt, weights.positions * count
            )
            return replace(result, axes=axes)
    return contracted(left, right, count, (first, second), axes)


def _sum(operation: Operation, passage: Passage, signal: Signal, source: int) -> Signal | None:
    came = passage.shape(source)
    gone = [int(a) for a in operation.option("axes")]
    if not gone or len(signal.axes) != len(came):
        return None
    n = prod(came[a] for a in gone)
    groups = [(signal.axes[a], came[a]) for a in gone]
    return averaged(signal, groups, reduced_axes(operation, signal.axes)).scaled(float(n))


def _partly(signal: Signal, share: float, value: float) -> Signal:
    """A share of the values replaced by a constant."""
    kept = 1 - share
    square = value * value
    return replace(
        signal,
        mean=kept * signal.mean + share * value,
        square=kept * signal.square + share * square,
        near=kept * signal.near + share * square,
        positions=kept**2 * signal.positions + share**2 * square,
        samples=kept**2 * signal.samples + share**2 * square,
        root=None,
        odd=None,
    )


def _gated(signal: Signal) -> Signal:
    """a·σ(b) of the two halves of a signal."""
    root = replace(signal, odd=None).own_root(-1)
    before = root.whole
    gate = elementwise(root, lambda x: 1 / (1 + np.exp(-before(x))), signal.axes)
    return product(signal, gate, signal.axes)


def _unit_length(operation: Operation, signal: Signal, came: tuple[int, ...]) -> Signal | None:
    axis = operation.option("axes")
    if not axis or signal.square <= 0:
        return None
    length = came[int(axis[0])] * signal.square
    return signal.scaled(1 / sqrt(length))
