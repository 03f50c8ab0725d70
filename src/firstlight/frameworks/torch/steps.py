"""Elementwise calls written down, so that they can be run again on other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

MASKS = frozenset(
    {
        "gt",
        "lt",
        "ge",
        "le",
        "ne",
        "eq",
        "greater",
        "less",
        "greater_equal",
        "less_equal",
        "not_equal",
        "logical_and",
        "logical_or",
        "logical_not",
        "logical_xor",
        "and",
        "or",
        "xor",
        "invert",
        "bitwise_and",
        "bitwise_or",
        "bitwise_not",
    }
)
"""They give truth values, which operations may choose by."""

CASTS = frozenset(
    {
        "float",
        "double",
        "half",
        "bfloat16",
        "to",
        "type",
        "type_as",
    }
)
"""Of masks alone: a cast of a signal is a step of its own, and ends an elementwise run."""

OPERATORS = frozenset(
    f"{way}{name}" for name in ("add", "sub", "mul", "div", "truediv") for way in ("", "r", "i")
)
"""The four operations, reversed and in place."""

_ARITHMETIC = frozenset(
    {
        "subtract",
        "multiply",
        "divide",
        "true_divide",
        "float_power",
        "square",
        "sqrt",
        "rsqrt",
        "reciprocal",
        "neg",
        "negative",
        "positive",
        "abs",
        "absolute",
        "sign",
        "sgn",
        "exp",
        "exp2",
        "expm1",
        "log",
        "log1p",
        "log2",
        "log10",
        "sinc",
        "lerp",
        "addcmul",
        "addcdiv",
        "clamp",
        "clamp_min",
        "clamp_max",
        "clip",
        "maximum",
        "minimum",
        "max",
        "min",
        "fmax",
        "fmin",
        "where",
        "masked_fill",
        "fmod",
        "remainder",
        "frac",
        "hypot",
    }
)

_SPECIAL = frozenset(
    {
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "arcsinh",
        "atan2",
        "erf",
        "erfc",
        "erfinv",
        "expit",
        "logit",
        "ndtr",
        "log_ndtr",
        "xlogy",
        "i0",
        "i0e",
        "i1",
        "i1e",
    }
)

_ACTIVATIONS = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "hardsigmoid",
        "hardtanh",
        "softplus",
        "softsign",
        "sigmoid",
        "logsigmoid",
        "log_sigmoid",
        "tanhshrink",
        "softshrink",
        "hardshrink",
        "threshold",
    }
)
"""The random ones are not among them."""

ELEMENTWISE = (
    MASKS | CASTS | OPERATORS | {"pow", "rpow", "ipow"} | _ARITHMETIC | _SPECIAL | _ACTIVATIONS
)
"""Functions whose result at a place depends on their operands at that place alone."""


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
