"""What one process holds of a tensor that several share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """The places of a tensor that are here, and the memory of their values.

    Args:
        shape: of the whole tensor.
        runs: along each stored axis the consecutive places that are here, in the order in which
            ``memory`` has them; several where a tensor is cut twice along one axis.
        memory: of their lengths; of the types that `firstlight.laws.draw.draw` writes to.
    """

    shape: tuple[int, ...]
    runs: tuple[tuple[range, ...], ...]
    memory: NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """A tensor whose parts are asked for one by one, each where it belongs.

    Args:
        shape: of the whole tensor.
        draw: (consecutive places along each stored axis, memory of their lengths): fills the memory
            with what the whole has there; None in the question, set in the answer.
    """

    shape: tuple[int, ...]
    draw: Callable[[Sequence[range], NDArray[Any]], object] | None = None
