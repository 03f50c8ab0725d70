"""One operation as it is found in a flat list of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firstlight.frameworks.jax.flat import Atom
from firstlight.records.network import ActivationRef, OperationKind, Options


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """An operation before it has an index and a name.

    Args:
        result: the value that it makes.
        kind: of the operation.
        function: torch's name of what is computed; planning and verdicts read it.
        operands: what goes in: signals, and constants and parameters where theory asks for them.
        parameters: names of the parameters that it uses.
        unit_axis: the axis of units where the operation decides it.
        order: for each axis of the result the axis of the operand that it is, −1 for a new one.
        activation: which one.
        rate: of a dropout.
        opaque: whether more happens inside than was looked at.
        options: as the record has them; or a function of the axis of units that gives them.
        asks: what has to be computed for the options: their name and of what.
        also: further results of the same step.
        product: of a weighted operation with a bias: the value before it.
        bias: what is added to that.
        weight: of a weighted operation or a lookup: what it multiplies by or reads.
    """

    result: int
    kind: OperationKind
    function: str
    operands: tuple[Atom, ...] = ()
    parameters: tuple[str, ...] = ()
    unit_axis: int | None = None
    order: tuple[int, ...] | None = None
    activation: ActivationRef | None = None
    rate: float | None = None
    opaque: bool = False
    options: Options | Callable[[int | None], Options] = ()
    asks: tuple[tuple[str, Atom], ...] = ()
    also: tuple[int, ...] = ()
    product: int | None = None
    bias: Atom | None = None
    weight: Atom | None = None


def several(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """Names of several groups, each once."""
    return tuple(dict.fromkeys(name for group in groups for name in group))


def numbers(values: object) -> tuple[float, ...]:
    """Sizes, axes or strides as an option has them."""
    return tuple(float(v) for v in values)  # type: ignore[attr-defined]
