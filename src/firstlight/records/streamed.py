"""What was written to files, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.records.late import Shown


def size_in_words(size: float) -> str:
    """Bytes in the unit that fits.

    >>> size_in_words(13_476_839_424), size_in_words(8_090)
    ('13.5 GB', '8.09 kB')
    """
    unit = next((u for u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= u[0]), (1, "bytes"))
    return f"{size / unit[0]:.3g} {unit[1]}"


@dataclass(frozen=True, kw_only=True)
class Streamed(Shown):
    """What `stream` wrote.

    Args:
        folder: where to.
        files: their names, in order.
        tensors: how many.
        parameters: how many numbers in them.
        size: bytes of all tensors.
        kept: bytes of them that an earlier, interrupted call had finished.
        seconds: of this call.
        seed: with the same seed, names and namespace the weights return.
        namespace: keeps models with equal names apart.
        dtype: of the floating tensors; None if each has its parameter's own.
        left_out: buffers without values that stand in no file; whoever loads it must fill them.
        ties: further names of tensors that are stored once, ``(stored, other)``.
    """

    folder: str
    files: tuple[str, ...]
    tensors: int
    parameters: int
    size: int
    kept: int
    seconds: float
    seed: int
    namespace: str
    dtype: str | None
    left_out: tuple[str, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()

    @property
    def rate(self) -> float:
        """Bytes a second that this call wrote."""
        return (self.size - self.kept) / self.seconds if self.seconds else 0.0
