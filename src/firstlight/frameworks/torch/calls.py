"""One call of a torch function, as the tracer sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from firstlight.frameworks.torch.steps import Step


@dataclass(frozen=True)
class Call:
    """One call of a torch function, and what its operands are.

    Args:
        func: what was called.
        name: its plain name.
        args: positional arguments.
        keywords: named ones.
        operands: the tensors among both, in order.
        makers: the operation that made each of them, if one did.
        parameters: names of the parameters that they are or stem from.
        in_place: whether the call overwrites its first operand.
        step: the call written down so that it can be run again, if it is elementwise.
        unit_axis: of its result, where that is known beforehand.
    """

    func: Any
    name: str
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    operands: list[Tensor]
    makers: list[int | None]
    parameters: tuple[str, ...]
    in_place: bool
    step: Step | None = None
    unit_axis: int | None = None

    @property
    def sources(self) -> tuple[int, ...]:
        """The operations that made the operands."""
        return tuple(dict.fromkeys(maker for maker in self.makers if maker is not None))

    @property
    def data(self) -> tuple[Tensor, ...]:
        """The operands that operations made."""
        return tuple(
            t for t, maker in zip(self.operands, self.makers, strict=True) if maker is not None
        )
