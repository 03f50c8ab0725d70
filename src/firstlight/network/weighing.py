"""Moments of what reads weights: dense layers, convolutions, embeddings; and of the inputs."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from firstlight.network import mixing
from firstlight.network.axes import BATCH, POSITION, UNIT
from firstlight.network.passage import Passage
from firstlight.network.prescribed import Prescribed
from firstlight.network.signals import Signal
from firstlight.records.network import Operation, Parameter

_PRODUCTS = frozenset({"linear", "matmul", "addmm", "mm", "mv"})


def entered(operation: Operation, passage: Passage) -> Signal | None:
    """An input as it was measured."""
    reading = passage.inputs.get(operation.index)
    if reading is None:
        return None
    rank = len(operation.shape)
    at = _reader(operation, passage)
    unit = (min(1, rank - 1), rank - 1, rank)[at]
    return Signal(
        mean=reading.mean,
        square=reading.second_moment,
        near=reading.near[at],
        positions=reading.positions[at],
        samples=reading.samples[at],
        place=reading.uneven[at],
        tails=3 * (1 + reading.uneven[at]),
        axes=tuple(
            UNIT if a == unit else BATCH if a == 0 and rank > 1 else POSITION for a in range(rank)
        ),
    )


def _reader(operation: Operation, passage: Passage) -> int:
    """How an input is read: 0 with channels first, 1 with features last, 2 as positions alone.

    The first two are what convolutions and dense layers read; the last is what gets an axis of
    one channel before a convolution.
    """
    rank = len(operation.shape)
    stack, seen = [(operation.index, tuple(range(rank)))], {operation.index}
    while stack:
        index, axes = stack.pop(0)
        for user in passage.consumers[index]:
            found = passage.network.operations[user]
            if found.kind == "weighted":
                convolution = found.function.startswith("conv")
                if convolution and found.unit_axis == rank - 1 == len(found.shape) - 1:
                    return 1  # channels last
                if convolution and len(found.shape) == rank + 1:
                    return 2
                if not convolution or rank <= 2:
                    return 1
                # Images with channels last may be turned before they are convolved.
                unit = 1 if found.unit_axis is None else found.unit_axis
                return 1 if unit < len(axes) and axes[unit] == rank - 1 else 0
            if found.kind in ("shape", "other", "dropout", "norm") and user not in seen:
                seen.add(user)
                stack.append((user, _turned(axes, found)))
    return 0 if rank > 3 else 1


def _turned(axes: tuple[int, ...], operation: Operation) -> tuple[int, ...]:
    """Which axis of the input each axis is, after a change of shape; −1 for new ones."""
    order = [int(a) for a in operation.option("order")]
    if not order or max(order) >= len(axes):
        return axes
    return tuple(axes[a] if a >= 0 else -1 for a in order)


def terms_of(operation: Operation, passage: Passage) -> tuple[Prescribed, float, float] | None:
    """The weight of a weighted operation, and how many products one output sums.

    Returns:
        The weight; the mean number of products; the mean number that two distant outputs have both
        (at a border of zeros some are lost). None if the operation is not understood.
    """
    weights = passage.parameters(operation, "weight", "recurrent", "embedding", "other")
    made = passage.made(operation)
    weight = _weight(weights, passage) if len(made) == 1 else None
    if weight is None:
        return None
    parameter, came, name = weights[0], passage.shape(made[0]), operation.function
    if name.startswith("conv"):
        if not parameter.layout.kernel:
            return None
        inside, pairs = mixing.taps(parameter.layout, operation, came, centred=weight.centred)
        return weight, parameter.layout.in_ * inside, parameter.layout.in_ * pairs
    if name in _PRODUCTS:
        data_first = name in ("linear", "addmm") or passage.place(operation, 0) == made[0]
        terms = float(came[-1] if data_first or len(came) < 2 else came[-2])
        return weight, terms, terms
    if parameter.fans is not None:
        return weight, parameter.fans.forward, parameter.fans.forward
    return None


def weighed(operation: Operation, passage: Passage) -> Signal | None:
    """What a weight makes of its input, and its bias."""
    found = terms_of(operation, passage)
    signal = passage.signals[passage.made(operation)[0]] if found else None
    if found is None or signal is None:
        return None
    weight, inside, pairs = found
    if operation.function.startswith("conv"):
        signal = _strided(signal, operation)
    axes = _axes(operation, signal, passage)
    result = mixing.weighted(signal, weight, inside, pairs, axes)
    for bias in passage.parameters(operation, "bias"):
        value = passage.weight(bias)
        if value is None:
            return None
        result = mixing.shifted(result, value)
    return result


def _axes(operation: Operation, signal: Signal, passage: Passage) -> tuple[str, ...]:
    rank = len(operation.shape)
    if operation.function.startswith("conv"):
        lead = rank - int(operation.function[-2]) - 1
        unit = lead if operation.unit_axis is None else operation.unit_axis
        return tuple(UNIT if a == unit else BATCH if a < lead else POSITION for a in range(rank))
    if operation.function in _PRODUCTS and len(signal.axes) == rank:
        return (*signal.axes[:-1], UNIT)
    return passage.default_axes(operation)


def _strided(signal: Signal, operation: Operation) -> Signal:
    """Neighbours after a stride were ``stride`` positions apart before it."""
    stride = max(operation.option("stride") or (1.0,))
    spread = signal.square - signal.positions
    if stride <= 1 or spread <= 0 or "transpose" in operation.function:
        return signal
    alike = max(0.0, (signal.near - signal.positions) / spread)
    return replace(signal, near=signal.positions + spread * alike**stride)


def _weight(weights: list[Parameter], passage: Passage) -> Prescribed | None:
    """The weight that an operation multiplies by, weight-normalised ones put together."""
    if len(weights) == 1:
        return passage.weight(weights[0])
    if len(weights) != 2:
        return None
    names = [w.name for w in weights]
    lengths = [i for i, n in enumerate(names) if n.endswith(("original0", "weight_g"))]
    if len(lengths) != 1:
        return None
    length, direction = weights[lengths[0]], weights[1 - lengths[0]]
    g = passage.weight(length)
    weights[:] = [direction]
    if g is None:
        return None
    rows = prod(length.layout.shape)
    return Prescribed(mean=0.0, square=g.square * rows / prod(direction.layout.shape))


def embedded(operation: Operation, passage: Passage) -> Signal | None:
    """Rows of a table: alike where two places look up the same one."""
    tables = passage.parameters(operation, "weight", "embedding", "other")
    weight = passage.weight(tables[0]) if tables else None
    if weight is None:
        return None
    padded = operation.option("padded")
    seen = 1 - (padded[0] if padded else 0.0)
    near, positions, samples = operation.option("same") or (0.0, 0.0, 0.0)
    square, common = seen * weight.square, (seen * weight.mean) ** 2
    rest = max(0.0, square - common)
    hidden = 1 - seen  # two places that both are padding are equal, and zero
    alike = [max(0.0, s - hidden**2) if hidden else s for s in (near, positions, samples)]
    return Signal(
        mean=seen * weight.mean,
        square=square,
        near=common + rest * alike[0],
        positions=common + rest * alike[1],
        samples=common + rest * alike[2],
        axes=passage.default_axes(operation),
    )
