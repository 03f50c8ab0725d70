"""A model's start straight to files, without ever holding the model."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.laws.addresses import checked_seed
from firstlight.records.codec import to_json
from firstlight.records.plan import Plan, PlanEntry
from firstlight.records.stored import State, Stored
from firstlight.records.streamed import Streamed
from firstlight.streaming.drawing import MEMORY, blocks_of
from firstlight.streaming.layout import Piece, Shard, shards_of
from firstlight.streaming.writing import write
from firstlight.verbs.adapters import adapter_for
from firstlight.verbs.apply import check_fits
from firstlight.verbs.plan import plan as make_plan

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def stream(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    plan: Plan | None = None,
    batch: Any = None,
    technique: str | None = None,
    seed: int | None = None,
    namespace: str = "",
    dtype: str | None = None,
    shard_size: int | str = "5GB",
    progress: Callable[[int, int], None] | None = None,
) -> Streamed:
    """Write a model's start to sharded safetensors, as `apply` would draw it, bit for bit.

    Peak memory beyond the model's: one block (32 MB in sixteen bits, two of them) for elementwise
    laws, one tensor for the others. A model on the meta device has no memory at all.

    Args:
        model: a torch module, on the meta device or real; its own weights stay as they are.
        folder: is made if need be. Files are named as transformers and safetensors read them:
            ``model.safetensors``, or ``model-00001-of-00003.safetensors`` … with an index.
        plan: what to draw; None makes one, ``fl.plan(model, batch, technique=technique)``.
        batch: for that plan.
        technique: for that plan.
        seed: integer in [0, 2⁶⁴); None takes the framework's own seed.
        namespace: keeps models with equal names apart.
        dtype: of all floating tensors, ``"bfloat16"``; None leaves each its own. Numbers are drawn
            in float32 and rounded once.
        shard_size: most bytes of a file, or ``"5GB"``.
        progress: called with the bytes that are done and their total.

    Whatever stops it, the same call goes on where it was, and the files are the same to the byte. A
    file gets its name when it is whole and on disk.

    Returns:
        A `Streamed`: files, bytes, seconds, GB/s, what was left out.

    Raises:
        BadInputError: the plan keeps a parameter that has no values; the folder holds another
            start, is full or cannot be written to.

    Example:
        >>> import tempfile, torch, firstlight as fl
        >>> from torch import nn
        >>> with torch.device("meta"):
        ...     model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = fl.stream(model, folder, seed=0, dtype="bfloat16")
        >>> written.files, written.tensors, written.size
        (('model.safetensors',), 4, 37392)
    """
    adapter = adapter_for(model)
    state_of = getattr(adapter, "state", None)
    if state_of is None:
        raise BadInputError(
            f"stream: expected a torch module, got {type(model).__name__}; build such models by"
            " shards with firstlight.initialize"
        )
    chosen = adapter.initial_seed() if seed is None else checked_seed(seed)
    if plan is None:
        plan = make_plan(model, batch, technique=technique)
    check_fits(adapter, model, plan, namespace)
    most = _bytes(shard_size)
    state: State = state_of(model, dtype)
    mark = _mark(plan, chosen, namespace, state, most)
    entries = {entry.name: entry for entry in plan}
    pieces = [_piece(stored, entries, chosen, namespace) for stored in state.tensors]
    shards: Sequence[Shard] = shards_of(pieces, most, mark)
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise BadInputError(f"folder: '{target}' is a file; name a folder")
    begin = time.perf_counter()
    there = write(target, shards, progress)
    size = sum(piece.size for piece in pieces)
    return Streamed(
        folder=str(target),
        files=tuple(shard.name for shard in shards),
        tensors=len(pieces),
        parameters=sum(prod(piece.shape) for piece in pieces),
        size=size,
        kept=min(there, size),
        seconds=time.perf_counter() - begin,
        seed=chosen,
        namespace=namespace,
        dtype=dtype,
        left_out=state.left_out,
        ties=state.ties,
    )


def _bytes(size: int | str) -> int:
    """A size in bytes from a number, or from ``"5GB"``."""
    number: float = 0
    if isinstance(size, str):
        unit = next((u for u in _UNITS if size.upper().endswith(u)), "")
        try:
            number = float(size[: len(size) - len(unit)]) * _UNITS.get(unit, 1)
        except ValueError:
            number = 0
    elif isinstance(size, int) and not isinstance(size, bool):
        number = size
    if not number >= 1:
        raise BadInputError(
            f"shard_size: expected bytes or a size like '5GB' or '500MB', got {size!r}"
        )
    return int(number)


def _mark(plan: Plan, seed: int, namespace: str, state: State, most: int) -> str:
    """What tells this start from every other, in sixteen hexadecimal digits."""
    parts = [str(seed), namespace, str(most)]
    parts += [f"{s.name} {s.shape} {s.kind} {s.parameter}" for s in state.tensors]
    parts += [to_json(entry) for entry in plan]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _piece(stored: Stored, entries: Mapping[str, PlanEntry], seed: int, namespace: str) -> Piece:
    entry = entries.get(stored.parameter or "")
    blocks: Callable[[], Iterator[NDArray[Any]]]
    if entry is not None and entry.law is not None and stored.kind in MEMORY:
        if entry.rows is None:
            blocks = partial(blocks_of, entry, stored.kind, seed, namespace)
        else:
            blocks = partial(_with_rows, entry, stored, seed, namespace)
    else:
        blocks = partial(_read, stored)
    if stored.read is None and (entry is None or entry.law is None or entry.rows is not None):
        raise BadInputError(
            f"{stored.name}: kept by the plan, but on the meta device it has no values; load it, or"
            " plan without keep= and only="
        )
    return Piece(name=stored.name, shape=stored.shape, kind=stored.kind, blocks=blocks)


def _read(stored: Stored) -> Iterator[NDArray[Any]]:
    assert stored.read is not None
    yield stored.read()


def _with_rows(
    entry: PlanEntry, stored: Stored, seed: int, namespace: str
) -> Iterator[NDArray[Any]]:
    """The model's own values, with the rows drawn that are new."""
    assert stored.read is not None and entry.rows is not None
    values = stored.read().view(MEMORY[stored.kind]).reshape(stored.shape)
    drawn = np.concatenate(list(blocks_of(entry, stored.kind, seed, namespace)))
    first, last = entry.rows
    values[first:last] = drawn[first:last]
    yield values
