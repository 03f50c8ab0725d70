"""Normalizations written out by hand, as RMSNorm mostly is: x · rsqrt(mean(x²) + ε)."""

from __future__ import annotations

from firstlight.records.network import Network, Operation

_AVERAGES = frozenset(("mean", "var", "std", "norm", "linalg_vector_norm", "vector_norm"))
_ELEMENTWISE = ("pow", "square", "abs", "add", "radd", "clamp", "clamp_min", "maximum")
_ROOTS = ("rsqrt", "sqrt", "reciprocal", "to", "float", "type_as")
_STATISTICS = _AVERAGES.union(_ELEMENTWISE, _ROOTS)
_QUOTIENTS = frozenset(("div", "truediv", "true_divide", "divide"))
_KEEPING = frozenset(("sub", "to", "float", "type", "type_as", "half", "bfloat16"))


def norms_by_hand(network: Network) -> frozenset[int]:
    """The products and quotients in which a signal is divided by its own size.

    Args:
        network: read by an adapter, with operations.

    Returns:
        Indices of the operations whose results are normalized.
    """
    operations = network.operations
    return frozenset(op.index for op in operations if _divides_by_itself(op, operations))


def _divides_by_itself(operation: Operation, operations: tuple[Operation, ...]) -> bool:
    if len(operation.inputs) != 2:
        return False
    sides: tuple[tuple[int, ...], ...]
    if operation.kind == "multiply":
        sides = (operation.inputs, operation.inputs[::-1])
    elif operation.function in _QUOTIENTS:
        sides = (operation.inputs,)
    else:
        return False
    for signal, size in sides:
        source = _measured(size, operations)
        if source is not None and _kept(source, operations) & _kept(signal, operations):
            return True
    return False


def _measured(index: int, operations: tuple[Operation, ...]) -> int | None:
    """What a statistic was taken of, if this is one that averages."""
    averaged = False
    while (op := operations[index]).function in _STATISTICS and len(op.inputs) == 1:
        averaged = averaged or op.function in _AVERAGES
        index = op.inputs[0]
    return index if averaged else None


def _kept(index: int, operations: tuple[Operation, ...]) -> set[int]:
    """A signal and what it was made of by centring and casting."""
    found, stack = {index}, [index]
    while stack:
        op = operations[stack.pop()]
        if op.function in _KEEPING:
            stack.extend(i for i in op.inputs if i not in found)
            found.update(op.inputs)
    return found
