"""Which tensors of a checkpoint still are as they were drawn?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError, near_names
from firstlight.laws.addresses import canonical_name, checked_seed
from firstlight.laws.draw import draw
from firstlight.laws.holding import is_elementwise
from firstlight.laws.parts import draw_part
from firstlight.records.compared import Compared, ComparedTensor, Standing
from firstlight.records.law import Constant
from firstlight.records.plan import Plan, PlanEntry
from firstlight.streaming.drawing import MEMORY
from firstlight.streaming.layout import SIZES
from firstlight.streaming.reading import Kept, tensors_in

_ROWS, _ROW = 32, 64
"""So many rows of a tensor are looked at, and so many numbers of each: 2,048 in all."""


def audit_checkpoint(
    path: str | os.PathLike[str], plan: Plan, *, seed: int, namespace: str = ""
) -> Compared:
    """Compare a checkpoint with the start of a plan and a seed, by samples drawn anew.

    Of each tensor some rows are read, spread over it, and what the plan draws there is computed
    again: elementwise laws draw these numbers alone. Equal means equal bits, in the stored type or
    in a narrower one that the model was drawn in.

    Args:
        path: a safetensors file, an index, or a folder with either.
        plan: what the model was drawn from.
        seed: that it was drawn with.
        namespace: likewise.

    Returns:
        A `Compared`: ``.untrained`` names what nothing has trained or loaded since.

    Raises:
        BadInputError: no such checkpoint, or none with a name or shape of this plan.

    Example:
        >>> import tempfile, firstlight as fl
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> plan = fl.plan(model)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = fl.stream(model, folder, plan=plan, seed=0)
        ...     found = fl.audit_checkpoint(folder, plan, seed=0)
        ...     other = fl.audit_checkpoint(folder, plan, seed=1)
        >>> found.untrained, other.untrained
        (('0.weight', '2.weight'), ())
    """
    if not isinstance(plan, Plan):
        raise BadInputError(f"plan: expected a Plan, got {type(plan).__name__}")
    chosen, where = checked_seed(seed), Path(path)
    kept = list(tensors_in(where))
    stored = _by_name(kept, {entry.name for entry in plan})
    if not stored:
        first = next(iter(plan)).name
        near = near_names(first, [tensor.name for tensor in kept])
        raise BadInputError(
            f"{where}: holds none of the plan's parameters ({first}, …){near}; pass the plan of"
            " this model"
        )
    entries = [_compared(entry, stored.get(entry.name), chosen, namespace) for entry in plan]
    known = {entry.name for entry in plan} | {t for p in plan.network.parameters for t in p.ties}
    extra = (
        ComparedTensor(name=tensor.name, standing="extra")
        for tensor in kept
        if _plain(tensor.name, known) not in known
    )
    return Compared(path=str(where), seed=chosen, namespace=namespace, entries=(*entries, *extra))


def _plain(name: str, planned: set[str]) -> str:
    """A stored name as the plan has it: without the prefix that a wrapper or trainer added."""
    name = canonical_name(name)
    while name not in planned and "." in name:
        name = name.partition(".")[2]
    return name


def _by_name(kept: list[Kept], planned: set[str]) -> dict[str, Kept]:
    """The first tensor of each planned name."""
    found: dict[str, Kept] = {}
    for tensor in kept:
        name = _plain(tensor.name, planned)
        if name in planned:
            found.setdefault(name, tensor)
    return found


def _compared(entry: PlanEntry, tensor: Kept | None, seed: int, namespace: str) -> ComparedTensor:
    if entry.law is None:
        return ComparedTensor(name=entry.name, standing="not drawn")
    if tensor is None:
        return ComparedTensor(name=entry.name, standing="missing")
    if tensor.shape != entry.layout.shape:
        raise BadInputError(
            f"{entry.name}: the plan has shape {entry.layout.shape}, the checkpoint {tensor.shape};"
            " pass the plan of this model"
        )
    constant = isinstance(entry.law, Constant)
    best: list[tuple[int, int]] = []  # equal and all numbers of each row
    for kind in _kinds(tensor.kind):
        rows = [
            (int((mine == theirs).sum()), mine.size)
            for mine, theirs in _samples(entry, tensor, kind, seed, namespace)
        ]
        best = max(best, rows, key=lambda each: sum(n for n, _ in each)) if best else rows
    total = sum(size for _, size in best)
    equal = sum(n for n, _ in best) / total if total else 0.0
    standing: Standing = "changed"
    if equal == 1:
        standing = "initial"
    elif not constant and any(n == size for n, size in best):
        standing = "partly initial"
    return ComparedTensor(
        name=entry.name, standing=standing, samples=total, equal=equal, constant=constant
    )


def _kinds(kind: str) -> tuple[str, ...]:
    """Types that a tensor may have been drawn in: its own, or a narrower one."""
    wide = {"F64": ("F64", "F32", "BF16", "F16"), "F32": ("F32", "BF16", "F16")}
    return wide.get(kind, (kind,) if kind in MEMORY else ())


def _samples(
    entry: PlanEntry, tensor: Kept, kind: str, seed: int, namespace: str
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Initial and stored numbers of some rows, as float64."""
    assert entry.law is not None
    shape, size, memory = tensor.shape, SIZES[tensor.kind], np.dtype(MEMORY[kind])
    to: dict[str, Any] = {
        "name": entry.address or entry.name,
        "seed": seed,
        "namespace": namespace,
    }
    whole = None
    if not is_elementwise(entry.law):
        whole = draw(entry.law, entry.layout, **to, out=np.empty(shape, memory))
    rows = tensor.rows()
    first, last = entry.rows or (0, len(rows))
    chosen = {int(row) for row in np.linspace(first, last - 1, _ROWS)} if last > first else set()
    for row in sorted(chosen - {entry.zero_row}):
        box = [range(row, row + 1), *_start_of(shape[1:])] if shape else []
        if whole is None:
            out = np.empty(tuple(map(len, box)), memory)
            draw_part(entry.law, entry.layout, box, **to, out=out)
        else:
            out = whole[tuple(slice(run.start, run.stop) for run in box)].copy()
        raw = np.array(rows[row, : out.size * size]).view(MEMORY[tensor.kind])
        yield _wide(out.reshape(-1), kind), _wide(raw, tensor.kind)


def _start_of(shape: tuple[int, ...]) -> list[range]:
    """A box at the beginning of a row whose numbers follow each other, of at most `_ROW`."""
    box: list[range] = []
    room = _ROW
    for axis in reversed(shape):
        taken = min(axis, max(1, room))
        box.insert(0, range(taken))
        room = room // axis if taken == axis else 0
    return box


def _wide(values: NDArray[Any], kind: str) -> NDArray[np.float64]:
    if kind == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.astype(np.float64)
