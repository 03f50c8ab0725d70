"""Shards to disk, so that whatever stops it, the same call goes on where it was.

A shard grows under a temporary name and gets its own when it is whole and on disk. Beside it stands
how many of its bytes are on disk for certain; after a crash those are kept and the rest is drawn
again, which gives the same bytes. Nothing under a final name is ever written to.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.records.streamed import size_in_words
from firstlight.streaming.layout import INDEX, Shard, index_of

FLUSH = 1 << 28
"""Bytes after which what has been written is made certain: 256 MB."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and their total."""


def _growing(folder: Path, shard: Shard) -> tuple[Path, Path]:
    """The temporary file, and the one that says how much of it is certain."""
    return folder / f".{shard.name}.growing", folder / f".{shard.name}.certain"


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _begins_with(path: Path, header: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _is_whole(folder: Path, shard: Shard) -> bool:
    """Whether the shard is there under its own name; something else there is refused."""
    path = folder / shard.name
    if not path.exists():
        return False
    if path.stat().st_size == shard.size and _begins_with(path, shard.header):
        return True
    raise BadInputError(
        f"{path}: holds another start (of another plan, seed, dtype or shard size), which stays as"
        " it is; name another folder, or delete it"
    )


def _certain(folder: Path, shard: Shard) -> int:
    """Bytes of the growing file that an earlier call has made certain."""
    growing, certain = _growing(folder, shard)
    if not (growing.exists() and certain.exists()):
        return 0
    mark, _, number = certain.read_text(encoding="utf-8").partition(" ")
    if mark != shard.mark:
        raise BadInputError(
            f"{growing}: a start that was interrupted, of another plan, seed, dtype or shard size;"
            " finish it with the arguments it had, or delete it"
        )
    done = int(number)
    return done if done <= growing.stat().st_size else 0


def finished(folder: Path, shards: Sequence[Shard]) -> list[int]:
    """Bytes of each shard that are there already.

    Raises:
        BadInputError: the folder holds another start.
    """
    own = {shard.name for shard in shards}
    own |= {path.name for shard in shards for path in _growing(folder, shard)}
    own |= {f"{name}.new" for name in (*own, INDEX)}  # killed while one was written
    others = [p for p in folder.glob("*model*.safetensors*") if p.name not in own]
    others += [p for p in folder.glob(".model*.safetensors.*") if p.name not in own]
    index = folder / INDEX
    if (
        index in others
        and len(shards) > 1
        and index.read_text(encoding="utf-8") == index_of(shards)
    ):
        others.remove(index)
    if others:
        raise BadInputError(
            f"{others[0]}: holds another start (of another plan, seed, dtype or shard size), which"
            " stays as it is; name another folder, or delete it"
        )
    return [s.size if _is_whole(folder, s) else _certain(folder, s) for s in shards]


@contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        todo = (
            "make room and call again: what is finished is kept"
            if full
            else "name a folder that can be written to"
        )
        raise BadInputError(f"{folder}: {error.strerror or error}; {todo}") from error


class _File:
    """A growing file: blocks are written by a thread of its own while the next are drawn."""

    def __init__(self, folder: Path, shard: Shard, done: int) -> None:
        self.path, self.certain = _growing(folder, shard)
        self.shard, self.at, self.made_certain = shard, done, done
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self.handle, done)
        self.pool = ThreadPoolExecutor(1)
        self.pending: Future[None] | None = None

    def put(self, raw: NDArray[np.uint8]) -> int:
        """Write what comes next; returns how many bytes."""
        self.wait()
        self.pending = self.pool.submit(self._write, raw, self.at)
        self.at += len(raw)
        if self.at - self.made_certain >= FLUSH:
            self.settle()
        return len(raw)

    def _write(self, raw: NDArray[np.uint8], at: int) -> None:
        while len(raw):
            written = os.pwrite(self.handle, raw.data, at)
            raw, at = raw[written:], at + written

    def wait(self) -> None:
        """Until the last block is written."""
        if self.pending is not None:
            self.pending.result()
            self.pending = None

    def settle(self) -> None:
        """Make certain what has been written, then say so."""
        self.wait()
        os.fsync(self.handle)
        _replace(self.certain, f"{self.shard.mark} {self.at}")
        self.made_certain = self.at

    def close(self) -> None:
        """Let go of the file."""
        try:
            self.wait()
        finally:
            self.pool.shutdown()
            os.close(self.handle)


def _raw(block: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(block).reshape(-1).view(np.uint8)


def _write_shard(folder: Path, shard: Shard, done: int, tell: Callable[[int], None]) -> None:
    file = _File(folder, shard, done)
    try:
        at = 0
        for whole, blocks in _parts(shard):
            if at + whole <= done:  # certain: not even drawn
                at += whole
                continue
            for block in blocks():
                raw = _raw(block)
                skipped = min(max(done - at, 0), len(raw))
                at += len(raw)
                if skipped < len(raw):
                    tell(file.put(raw[skipped:]))
        file.settle()
    finally:
        file.close()
    growing, certain = _growing(folder, shard)
    growing.replace(folder / shard.name)
    certain.unlink(missing_ok=True)
    certain.with_name(f"{certain.name}.new").unlink(missing_ok=True)


def _parts(shard: Shard) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Bytes and blocks of what a file consists of."""
    yield len(shard.header), lambda: [np.frombuffer(shard.header, np.uint8)]
    for piece in shard.pieces:
        yield piece.size, piece.blocks


def write(folder: Path, shards: Sequence[Shard], progress: Progress | None = None) -> int:
    """Write what is missing of these files; returns the bytes that were there already.

    Raises:
        BadInputError: the folder holds another start, cannot be written to, or is full.
    """
    with _in_one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        there = finished(folder, shards)
        total, done = sum(s.size for s in shards), sum(there)
        needed, free = total - done, shutil.disk_usage(folder).free
        if needed > free:
            raise BadInputError(
                f"{folder}: {size_in_words(needed)} are needed and {size_in_words(free)} are free;"
                " make room, or name a folder on another disk"
            )
        told = done

        def tell(written: int) -> None:
            nonlocal told
            told += written
            if progress is not None:
                progress(told, total)

        tell(0)
        for shard, has in zip(shards, there, strict=True):
            if has < shard.size or not (folder / shard.name).exists():
                _write_shard(folder, shard, has, tell)
        if len(shards) > 1:
            _replace(folder / INDEX, index_of(shards))
    return done
