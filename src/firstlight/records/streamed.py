"""What was written to files, and what it took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Streamed:
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
    def gigabytes_per_second(self) -> float:
        """Of what this call wrote."""
        return (self.size - self.kept) / 1e9 / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        files = self.files[0] if len(self.files) == 1 else f"{len(self.files)} files"
        lines = [
            f"{self.folder}: {self.tensors} tensors, {self.parameters:,} numbers,"
            f" {self.size / 1e9:.3g} GB in {files}",
            f"seed {self.seed}{f', namespace {self.namespace}' if self.namespace else ''};"
            f" {self.seconds:.1f} s, {self.gigabytes_per_second:.2f} GB/s",
        ]
        if self.kept:
            lines.append(f"{self.kept / 1e9:.3g} GB were there from an earlier call")
        if self.left_out:
            lines.append(f"without values, in no file: {', '.join(self.left_out)}")
        return "\n".join(lines)
