"""Which activation a run of elementwise steps is: one of the table's, or one of the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from firstlight.frameworks.torch.replay import Program, derivative_of, function_of
from firstlight.frameworks.torch.steps import Scalar, Step
from firstlight.records.network import ActivationRef
from firstlight.theory.recognizing import recognized

_OPERATOR = {
    f"{way}{name}": {"truediv": "div", "multiply": "mul", "subtract": "sub"}.get(name, name)
    for name in ("add", "sub", "mul", "div", "truediv", "pow", "multiply", "subtract")
    for way in ("", "r", "i")
}
_MOST_NAMES = 6


@lru_cache(maxsize=512)
def reference(program: Program, module: str | None) -> ActivationRef | None:
    """The activation that some steps compute; a new one is made known to the theory.

    Args:
        program: the steps.
        module: the class of the module that does just this, if there is one.

    Returns:
        What `recognized` says of them, by the module's class or the functions' names.
    """
    learned = {o for step in program for o in _scalars(step) if o.parameter is not None}
    return recognized(
        function_of(program),
        derivative_of(program),
        module or _functions(program),
        learned=next(iter(learned)).value if len(learned) == 1 else None,
    )


def _scalars(step: Step) -> Iterator[Scalar]:
    for operand in step.operands:
        if isinstance(operand, Scalar):
            yield operand
        elif isinstance(operand, Step):
            yield from _scalars(operand)


def _functions(program: Program) -> str:
    """``sin·pow·add``; a single function with its numbers, ``hardtanh(-2, 2)``."""
    names = [_OPERATOR.get(step.name, step.name) for step in program]
    if len(names) == 1:
        numbers = ", ".join(f"{number:g}" for number in _numbers(program[0]))
        return f"{names[0]}({numbers})" if numbers else names[0]
    more = "…" if len(names) > _MOST_NAMES else ""
    return "·".join(names[:_MOST_NAMES]) + more


def _numbers(step: Step) -> Iterator[float]:
    for operand in step.operands:
        value: Any = operand.value if isinstance(operand, Scalar) else operand
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value)
