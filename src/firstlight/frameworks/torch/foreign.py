"""Models of other libraries that compute with torch: what this room asks of them.

Such a model is wrapped in a `Foreign`, a module by its outside. The readers of this room take its
names, records and paths from it in place of `named_parameters` and `named_modules`, and let it say
which of its layers are one operation and which calls of torch stand for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from firstlight.records.network import OperationKind, Parameter


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A layer that is told as one operation.

    Args:
        function: torch's name of it.
        kind: of the operation.
        operands: tensors that it read, parameters included.
        keywords: what it was told, in torch's words.
        unit_axis: of its result.
    """

    function: str
    kind: OperationKind
    operands: Sequence[Tensor]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    unit_axis: int | None = None


@dataclass(frozen=True)
class Instead:
    """A call of torch to make in place of another."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)


class Following(Protocol):
    """Whoever follows a model as it runs."""

    def used(self, operand: Tensor) -> tuple[str, ...]:
        """The parameters that an operand is, or was computed from."""

    def derive(self, func: Callable[..., Tensor], tensor: Tensor) -> Tensor:
        """A function of one tensor; if that is a parameter, so is known what the result is of."""


class Foreign(nn.Module):
    """A model of another library, as this room reads it; a subclass for each library.

    Its class bears the name of the model's own class, which messages show.
    """

    framework = "torch"

    def tensors(self) -> dict[str, nn.Parameter]:
        """The tensor behind each canonical name."""
        raise NotImplementedError

    def described(self) -> tuple[Parameter, ...]:
        """Every parameter once, in the order of `tensors`."""
        raise NotImplementedError

    def swapped(self, values: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
        """Inside, the model computes with these tensors in place of its own, by name."""
        raise NotImplementedError

    def paths(self) -> dict[int, str]:
        """The path of each layer, by its identity."""
        raise NotImplementedError

    def named(
        self, path: str, function: str, kind: OperationKind, parameters: Sequence[str]
    ) -> str:
        """What an operation inside the layer at ``path`` is called."""
        raise NotImplementedError

    def is_closed(self, module: nn.Module) -> bool:
        """Whether a layer is told as one operation, by `closed`."""
        raise NotImplementedError

    def closed(self, module: nn.Module, inputs: Sequence[Any], result: Tensor) -> Closed:
        """What a closed layer did."""
        raise NotImplementedError

    def instead(
        self, func: Any, args: Sequence[Any], keywords: Mapping[str, Any], following: Following
    ) -> Instead | Tensor | None:
        """What to call in place of a function, or what it gives without a call; None for as it is.

        The result must be the same, to rounding.
        """
        raise NotImplementedError
