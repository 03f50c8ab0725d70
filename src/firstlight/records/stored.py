"""What a file of weights has to hold of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """One tensor of a model's state.

    Args:
        name: as in ``state_dict``.
        shape: of it.
        kind: safetensors' word for its type.
        parameter: canonical name of the parameter that it is; None for a buffer.
        read: its values as bytes of that type, a copy; None where it has none.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    parameter: str | None
    read: Callable[[], NDArray[Any]] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """All tensors of a model's state, each memory once.

    Args:
        tensors: in the order of ``state_dict``.
        ties: further names of stored tensors, ``(stored, other)``.
        left_out: buffers without values that nothing can rebuild, and rebuilt or not those that
            ``state_dict`` leaves out and that are without values.
    """

    tensors: tuple[Stored, ...]
    ties: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
