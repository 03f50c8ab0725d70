"""A model as plain data: layouts of parameters, operations, and how they are joined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

from firstlight.errors import BadInputError

STACKS = ("group", "head", "expert", "gate", "qkv", "stack")
"""Axes that count independent matrices; their index goes into the address, not the counter."""

AXIS_ROLES = ("index", "out", "in", "kernel", *STACKS)

Task = Literal["classification", "binary", "regression", "unknown"]

Options = tuple[tuple[str, tuple[float, ...]], ...]
"""Numbers by name."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a stored tensor is to be understood: which axis does what.

    Args:
        shape: the tensor as stored.
        view: the same elements with fused axes split, ``(3E, E)`` as ``(3, E, E)``.
        roles: one of `AXIS_ROLES` for each axis of ``view``.
    """

    shape: tuple[int, ...]
    view: tuple[int, ...]
    roles: tuple[str, ...]

    def __post_init__(self) -> None:
        if prod(self.shape) != prod(self.view) or len(self.view) != len(self.roles):
            raise BadInputError(
                f"Layout: view {self.view} with roles {self.roles} does not fit shape {self.shape}"
            )
        wrong = [role for role in self.roles if role not in AXIS_ROLES]
        if wrong:
            raise BadInputError(f"Layout: unknown axis role {wrong[0]!r}; known: {AXIS_ROLES}")

    def _product(self, role: str) -> int:
        return prod(n for n, r in zip(self.view, self.roles, strict=True) if r == role)

    @property
    def out(self) -> int:
        """Output features of one stacked matrix."""
        return self._product("out")

    @property
    def in_(self) -> int:
        """Input features of one stacked matrix."""
        return self._product("in")

    @property
    def kernel(self) -> tuple[int, ...]:
        """Kernel sizes, empty for a dense weight."""
        return tuple(n for n, r in zip(self.view, self.roles, strict=True) if r == "kernel")

    @property
    def stacks(self) -> tuple[tuple[str, int], ...]:
        """Name and size of each stacked axis, in storage order."""
        return tuple((r, n) for n, r in zip(self.view, self.roles, strict=True) if r in STACKS)

    @property
    def order(self) -> tuple[int, ...]:
        """The permutation from ``view`` to the logical order: stacks, index, out, in, kernel."""
        rank = {"index": 1, "out": 2, "in": 3, "kernel": 4}
        return tuple(sorted(range(len(self.view)), key=lambda i: (rank.get(self.roles[i], 0), i)))

    @property
    def logical(self) -> tuple[int, ...]:
        """The shape in logical order."""
        return tuple(self.view[i] for i in self.order)

    @property
    def matrix(self) -> tuple[int, int, int]:
        """(stacked matrices, rows, columns): rows are the first logical axis, columns the rest."""
        stacked = prod(n for _, n in self.stacks)
        plain = self.logical[len(self.stacks) :]
        rows = plain[0] if plain else 1
        return stacked, rows, prod(plain[1:])


def plain_layout(shape: tuple[int, ...]) -> Layout:
    """The layout of a tensor stored as (out, in, kernel …); a vector is (out,)."""
    names = ("out", "in") + ("kernel",) * max(0, len(shape) - 2)
    return Layout(shape=shape, view=shape, roles=names[: len(shape)])


@dataclass(frozen=True, kw_only=True)
class Fans:
    """Numbers of terms in a sum: what the variance must be divided by.

    Args:
        forward: terms in one element of the output (the effective fan_in).
        backward: terms in one element of the input's gradient (the effective fan_out).
    """

    forward: float
    backward: float


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One trainable or frozen tensor of the model.

    Args:
        name: canonical name (wrapper prefixes stripped, first name of a tie in sorted order).
        kind: what it is: weight, recurrent, bias, norm-scale, norm-shift, embedding, magnitude (the
            scale of a weight norm), other.
        module: class of the module that owns it (``Linear``, ``Conv2d`` …).
        layout: its axes.
        fans: None for vectors and what has no fans.
        dtype: the framework's name, ``float32``.
        trainable: whether gradients are wanted.
        ties: further names of the same tensor.
        padding_index: the row of an embedding that must stay zero, if any.
        parametrization: what makes the weight from this tensor: ``weight_norm``, ``spectral_norm``
            or the name of a class; None where the tensor is the weight.
        address: the name that its numbers are drawn under, where that is another: ``fc1.weight``
            for Keras's and Flax's ``fc1.kernel``, so that one seed gives one network everywhere.
        loaded: whether it was loaded from a checkpoint, and says so: transformers'
            ``_is_hf_initialized``.
    """

    name: str
    kind: Literal[
        "weight", "recurrent", "bias", "norm-scale", "norm-shift", "embedding", "magnitude", "other"
    ]
    module: str
    layout: Layout
    fans: Fans | None = None
    dtype: str = "float32"
    trainable: bool = True
    ties: tuple[str, ...] = ()
    padding_index: int | None = None
    parametrization: str | None = None
    address: str | None = None
    loaded: bool = False


@dataclass(frozen=True, kw_only=True)
class ActivationRef:
    """An activation by name, with its parameter (a leaky slope, say) where it has one.

    Args:
        name: of a table, or ``custom:`` and what a model computes (``custom:Snake``).
        parameter: where it has one.
        digest: of the values of a custom one, so that two of the same name stay apart.
    """

    name: str
    parameter: float | None = None
    digest: str | None = None

    @property
    def is_custom(self) -> bool:
        """Whether it was read from a model and is in no table."""
        return self.name.startswith("custom:")

    def __str__(self) -> str:
        return self.name if self.parameter is None else f"{self.name}({self.parameter:g})"


OperationKind = Literal[
    "input",
    "weighted",
    "activation",
    "add",
    "multiply",
    "norm",
    "softmax",
    "dropout",
    "pool",
    "shape",
    "concatenate",
    "embedding",
    "composite",
    "loss",
    "other",
]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One step of the forward pass, in the order in which it ran.

    Args:
        index: its place in `Network.operations`.
        name: the module's path, with ``#2`` for a second call; functional calls get the path of
            the module around them and the function's name (``blocks.0.relu``).
        function: the framework's name of what was called.
        inputs: indices of the operations whose results it used.
        parameters: names of the parameters that it used directly.
        shape: shape of its result.
        unit_axis: the axis of the result that counts units (channels, features), or None.
        activation: for kind activation, which one.
        in_place: whether it overwrote its input.
        rate: for kind dropout, the share of values that it drops; 0 where it does nothing.
        opaque: whether more happens inside than was looked at.
        operands: of an activation that is written out in several operations, what this last one of
            them read; its ``inputs`` are those of the activation.
        part_of: the activation that this operation is a step towards: nothing else reads it.
        score_scale: of attention in one function: what query · key is multiplied with before the
            softmax, in units of 1/√d; None for everything else.
        options: what the call was told besides its tensors, as far as it decides the moments of
            the result: ``stride``, ``padding``, ``axes``, ``order``, ``constant`` …
    """

    index: int
    name: str
    kind: OperationKind
    function: str
    inputs: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    unit_axis: int | None = None
    activation: ActivationRef | None = None
    in_place: bool = False
    rate: float | None = None
    opaque: bool = False
    operands: tuple[int, ...] = ()
    part_of: int | None = None
    score_scale: float | None = None
    options: Options = ()

    def option(self, name: str) -> tuple[float, ...]:
        """The numbers of one option; empty if the call was not told them."""
        return next((numbers for key, numbers in self.options if key == name), ())

    @property
    def units(self) -> int:
        """Number of units of the result."""
        return 1 if self.unit_axis is None else self.shape[self.unit_axis]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Everything that was read of a model.

    Args:
        name: the model's class.
        framework: torch, keras, jax.
        operations: in the order of execution; empty if the model was not run.
        parameters: each tensor once.
        outputs: indices of the operations whose results the model returned.
        not_looked_into: operations that stayed closed, by name.
    """

    name: str
    framework: str
    operations: tuple[Operation, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    outputs: tuple[int, ...] = ()
    not_looked_into: tuple[str, ...] = ()

    def parameter(self, name: str) -> Parameter:
        """The parameter of this name or of a name tied to it."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        # A name of its own comes before one that another parameter is tied to.
        tied = {tie: parameter for parameter in self.parameters for tie in parameter.ties}
        return tied | {parameter.name: parameter for parameter in self.parameters}

    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """For each operation, the operations that used its result; parts of others do not count."""
        uses: list[list[int]] = [[] for _ in self.operations]
        for operation in self.operations:
            if operation.part_of is not None:
                continue
            for source in dict.fromkeys(operation.inputs):
                uses[source].append(operation.index)
        return tuple(tuple(u) for u in uses)

    def weighted(self) -> Iterator[Operation]:
        """The operations that multiply by a weight, in order."""
        return (op for op in self.operations if op.kind == "weighted")
