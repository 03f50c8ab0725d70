"""‖δ‖² carried back over a network, from the outputs to the first operation.

For one sample, ‖δ‖² at an operation's input is ‖δ‖² at its result times how much it passes: the sum
of the squared weights that leave an input, E φ′² at the operating point, 1/σ² of a norm. Where a
result is used twice, the gradients add up as independent ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite, prod

import numpy as np

from firstlight.network.attending import keys_of
from firstlight.network.axes import KEY, POSITION
from firstlight.network.normalizing import spread_of
from firstlight.network.passage import Passage
from firstlight.network.signals import Function, applied, expectations
from firstlight.network.single import elementwise_of
from firstlight.network.weighing import terms_of
from firstlight.records.network import Operation
from firstlight.theory.activations import activation

_STEP = 1e-4


@dataclass(frozen=True, kw_only=True)
class Delta:
    """The gradient with respect to one result.

    Args:
        square: squared norm, per sample.
        alike: mean product at two positions of a sample over the mean square, 0 … 1.
        odd: squared norm of (δ − δ̃)/√2, δ̃ at the mirrored twin; None if there are no twins.
    """

    square: float
    alike: float = 0.0
    odd: float | None = None

    def times(self, factor: float) -> Delta:
        """Passed on by this factor of the square."""
        odd = None if self.odd is None else factor * self.odd
        return replace(self, square=factor * self.square, odd=odd)


def backward(passage: Passage) -> tuple[Delta | None, ...]:
    """The gradient at each result, from a forward pass of moments.

    Args:
        passage: after `firstlight.network.propagation.forward`.

    Returns:
        One per operation, in a unit of their own (only ratios mean something); None where theory
        does not reach, or no gradient comes.
    """
    operations = passage.network.operations
    gathered: list[list[Delta | None]] = [[] for _ in operations]
    for index in _starts(passage):
        gathered[index].append(Delta(square=float(prod(operations[index].shape[1:]) or 1)))
    found: list[Delta | None] = [None] * len(operations)
    for operation in reversed(operations):
        delta = _together(gathered[operation.index])
        found[operation.index] = delta
        if not gathered[operation.index]:
            continue
        for index, passed in _passed(operation, delta, passage):
            gathered[index].append(passed)
    return tuple(found)


def _starts(passage: Passage) -> tuple[int, ...]:
    """Where gradients begin: the outputs, or what a loss reads."""
    if passage.network.outputs:
        return tuple(dict.fromkeys(passage.network.outputs))
    losses = [op for op in passage.network.operations if op.kind == "loss"]
    if losses:
        return losses[-1].inputs[:1]
    return (len(passage.network.operations) - 1,) if passage.network.operations else ()


def _together(deltas: list[Delta | None]) -> Delta | None:
    known = [d for d in deltas if d is not None]
    if not known or len(known) < len(deltas):
        return None
    square = sum(d.square for d in known)
    alike = sum(d.alike * d.square for d in known) / square if square > 0 else 0.0
    odd = known[0].odd if len(known) == 1 else None
    return Delta(square=square, alike=alike, odd=odd)


def _passed(
    operation: Operation, delta: Delta | None, passage: Passage
) -> list[tuple[int, Delta | None]]:
    """What each operand gets."""
    made = passage.made(operation)
    if operation.kind == "loss":
        return []
    if delta is None:
        return [(index, None) for index in made]
    rule = _RULES.get(operation.kind, _other)
    result = []
    for operand, index in enumerate(made):
        passed = rule(Step(operation, delta, passage, operand, index))
        if passed is not None and not (isfinite(passed.square) and passed.square >= 0):
            passed = None
        if passed is not None:
            passed = _unbroadcast(passed, operation, passage.shape(index))
        result.append((index, passed))
    return result


def _unbroadcast(delta: Delta, operation: Operation, came: tuple[int, ...]) -> Delta:
    """An operand that was spread over the result gets the sum of its gradients."""
    spreads = operation.function in ("expand", "expand_as", "repeat")
    if operation.kind not in ("add", "multiply", "other") and not spreads:
        return delta
    times = prod(operation.shape) // max(1, prod(came))
    if times <= 1 or operation.option("axes"):
        return delta
    return Delta(square=delta.square * (1 + (times - 1) * delta.alike), alike=delta.alike)


@dataclass(frozen=True)
class Step:
    """What one operation passes back to one of its operands.

    Args:
        operation: which one.
        delta: the gradient at its result.
        passage: the forward pass.
        operand: which of the operands that operations made.
        index: the operation that made it.
    """

    operation: Operation
    delta: Delta
    passage: Passage
    operand: int
    index: int


Rule = Callable[[Step], Delta | None]


def _weighted(step: Step) -> Delta | None:
    found = terms_of(step.operation, step.passage)
    if found is None:
        return None
    weight, terms, _ = found
    square = step.delta.square
    if weight.mirrored_out and step.delta.odd is not None:
        square = step.delta.odd
    # The odd part has twice the square of each twin; a weight reads it as if it were alone.
    passed = square * weight.square * terms
    return Delta(
        square=passed, alike=step.delta.alike, odd=2 * passed if weight.mirrored_in else None
    )


def _activation(step: Step) -> Delta | None:
    if step.operation.activation is None or step.passage.signals[step.index] is None:
        return None
    known = (
        activation(step.operation.activation) if step.operation.activation.name != "prelu" else None
    )
    function = elementwise_of(step.operation, step.passage)
    if function is None:
        return None
    slope = known.derivative if known is not None and known.derivative else _slope(function)
    return _through(slope, step.delta, step.passage, step.index)


def _slope(function: Function) -> Function:
    def slope(x):  # type: ignore[no-untyped-def]
        step = _STEP * (1 + np.abs(x))
        return (function(x + step) - function(x - step)) / (2 * step)

    return slope


def _through(slope: Function, delta: Delta, passage: Passage, index: int) -> Delta | None:
    """Times E φ′², at the normal signal that the input is a function of."""
    signal = passage.signals[index]
    if signal is None:
        return None
    root = signal.own_root(index)
    before = root.whole
    steep = applied(root.base, lambda x: slope(before(x)))
    if steep[1] <= 0:
        return Delta(square=0.0)
    odd = None
    if delta.odd is not None:
        even = expectations(
            lambda x: 0.5 * (slope(before(x)) + slope(before(-x))),
            root.base.mean,
            root.base.variance,
        )
        odd = delta.odd * even[1]
    return Delta(square=delta.square * steep[1], alike=delta.alike * steep[3] / steep[1], odd=odd)


def _copied(step: Step) -> Delta | None:
    return step.delta


def _multiplied(step: Step) -> Delta | None:
    others = [i for i in step.passage.made(step.operation) if i != step.index]
    other = step.passage.signals[others[0]] if others else None
    if other is None or other.square <= 0:
        return None if other is None else Delta(square=0.0)
    alike = step.delta.alike * other.positions / other.square
    return Delta(square=step.delta.square * other.square, alike=alike)


def _dropped(step: Step) -> Delta | None:
    kept = 1 - (step.operation.rate or 0.0)
    return None if kept <= 0 else replace(step.delta.times(1 / kept), alike=step.delta.alike * kept)


def _concatenated(step: Step) -> Delta | None:
    sizes, places = step.operation.option("sizes"), step.operation.option("operands")
    if not sizes:
        return step.delta
    own = [s for s, p in zip(sizes, places, strict=True) if p >= 0]
    return step.delta.times(own[step.operand] / sum(sizes))


def _moved(step: Step) -> Delta | None:
    if step.operation.function == "pad":
        return step.delta.times(
            prod(step.passage.shape(step.index)) / max(1, prod(step.operation.shape))
        )
    if step.operation.function in ("getitem", "select") and step.delta.alike < 1:
        share = prod(step.operation.shape) / max(1, prod(step.passage.shape(step.index)))
        signal = step.passage.signals[step.index]
        lost = signal is not None and POSITION in signal.axes
        return replace(step.delta, alike=step.delta.alike * share) if lost else step.delta
    return step.delta


def _normalized(step: Step) -> Delta | None:
    found = spread_of(step.operation, step.passage)
    return None if found is None else step.delta.times(found)


def _pooled(step: Step) -> Delta | None:
    came = step.passage.shape(step.index)
    if "max" in step.operation.function:
        window = max(1.0, prod(came) / max(1, prod(step.operation.shape)))
        return replace(step.delta, alike=step.delta.alike / window)
    if "interp" in step.operation.function or "upsample" in step.operation.function:
        return step.delta
    n = max(1.0, prod(came) / max(1, prod(step.operation.shape)))
    signal = step.passage.signals[step.index]
    over_positions = signal is not None and _positions(step.operation) <= 1
    if step.operation.function == "mean" and signal is not None:
        labels = {
            signal.axes[int(a)] for a in step.operation.option("axes") if int(a) < len(signal.axes)
        }
        over_positions = labels == {POSITION}
    return Delta(square=step.delta.square / n, alike=1.0 if over_positions else step.delta.alike)


def _positions(operation: Operation) -> int:
    """How many positions a result has, beside samples and units."""
    unit = 1 if operation.unit_axis is None else operation.unit_axis
    return prod(n for axis, n in enumerate(operation.shape) if axis not in (0, unit))


def _composite(step: Step) -> Delta | None:
    if step.operation.function != "scaled_dot_product_attention":
        return None
    found = keys_of(step.operation, step.passage)
    if found is None or step.operand > 2:
        return None
    query, key, value, squares, scale, width = found
    if step.operand == 2:
        passed = squares * (1 - step.delta.alike) + step.delta.alike
        return Delta(square=step.delta.square * passed, alike=step.delta.alike / max(passed, 1e-30))
    different = max(0.0, value.square - value.positions)
    other = (key.square - key.positions) if step.operand == 0 else query.square
    return Delta(
        square=step.delta.square * scale**2 * width * max(0.0, other) * squares * different
    )


def _softmax(step: Step) -> Delta | None:
    """p_j (δ_j − Σ p δ): each logit gets its own weight times what its value adds."""
    signal = step.passage.signals[step.operation.index]
    if signal is None:
        return None
    count = step.operation.shape[int((step.operation.option("axes") or (-1.0,))[0])]
    return Delta(square=step.delta.square * signal.square * max(0.0, 1 - signal.square * count))


def _other(step: Step) -> Delta | None:
    made = step.passage.made(step.operation)
    if step.operation.function in ("matmul", "bmm", "mm", "baddbmm") and len(made) == 2:
        return _product(step.delta, step.passage, step.operand, made)
    if step.operation.function == "sum":
        return step.delta.times(
            prod(step.passage.shape(step.index)) / max(1, prod(step.operation.shape))
        )
    if step.operation.function in ("detach", "zeros_like", "ones_like", "randn_like", "new_zeros"):
        return Delta(square=0.0)
    hides = step.operation.function == "where" and step.operation.option("inverse_visible")
    if hides or step.operation.function in ("type_as", "masked_fill", "repeat_interleave"):
        return step.delta
    if len(made) > 1:
        return _multiplied(step) if (step.operation.function in ("mul", "imul")) else None
    if step.operation.function in ("add", "radd", "iadd", "sub", "isub", "rsub"):
        return step.delta
    signal, result = step.passage.signals[step.index], step.passage.signals[step.operation.index]
    if step.operation.function in ("mul", "rmul", "imul", "div", "truediv"):
        if signal is None or result is None or signal.square <= 0:
            return None
        return step.delta.times(result.square / signal.square)
    function = elementwise_of(step.operation, step.passage)
    return (
        None
        if function is None
        else _through(_slope(function), step.delta, step.passage, step.index)
    )


def _product(delta: Delta, passage: Passage, operand: int, made: list[int]) -> Delta | None:
    """δ_a = δ bᵀ, δ_b = aᵀ δ."""
    signals = [passage.signals[i] for i in made]
    left, right = signals
    if left is None or right is None:
        return None
    if operand == 0:
        different = right.square
        if left.axes and left.axes[-1] == KEY:
            different = max(0.0, right.square - right.positions)
        return Delta(square=delta.square * different * passage.shape(made[0])[-1])
    count = passage.shape(made[0])[-1]
    if left.axes and left.axes[-1] == KEY:
        passed = left.square * count * (1 - delta.alike) + delta.alike
        return Delta(square=delta.square * passed, alike=delta.alike / max(passed, 1e-30))
    return Delta(square=delta.square * left.square * count)


_RULES: dict[str, Rule] = {
    "weighted": _weighted,
    "activation": _activation,
    "add": _copied,
    "multiply": _multiplied,
    "dropout": _dropped,
    "concatenate": _concatenated,
    "shape": _moved,
    "norm": _normalized,
    "pool": _pooled,
    "composite": _composite,
    "softmax": _softmax,
}
