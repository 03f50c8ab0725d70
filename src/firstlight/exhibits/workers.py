"""Many tasks over a few processes of one thread each; none takes the others down with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from firstlight.errors import said

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Event:
    """What happened to a task: it started, is done (with its result), or failed (why)."""

    name: str
    kind: Literal["started", "done", "failed"]
    value: Any = None


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(
    task: Callable[[str], Any], names: Iterable[str], workers: int
) -> Generator[Event, None, None]:
    """Run ``task(name)`` for each name and tell what happens, as it happens.

    Processes are spawned, not forked: a fork of a process in which torch has started threads may
    hang. A task that raises, or whose process dies, is told as failed and the rest goes on. When
    the iterator is closed (an exception, Ctrl-C) the processes are ended.

    Args:
        task: a function that can be pickled, and so its results.
        names: what to call it with, in this order.
        workers: processes, at least 1.
    """
    waiting, idle = deque(names), list[_Worker]()
    busy: dict[Connection, tuple[_Worker, str]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker, name = idle.pop() if idle else _hire(task), waiting.popleft()
                busy[worker.pipe] = worker, name
                with suppress(OSError):  # one that died idle: its pipe has ended, as read below
                    worker.pipe.send(name)
                yield Event(name, "started")
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker, name = busy[pipe]
                try:
                    good, value = pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    value = f"its process ended with status {worker.process.exitcode}"
                    good = False
                else:
                    idle.append(worker)
                del busy[pipe]
                yield Event(name, "done" if good else "failed", value)
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.pipe.close()
            worker.process.terminate()
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.process.join()


def _hire(task: Callable[[str], Any]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, task), daemon=True)
    with _for_children():
        process.start()
    theirs.close()  # or its end would not be seen when the process dies
    return _Worker(process, ours)


@contextmanager
def _for_children() -> Iterator[None]:
    """What processes inherit: one thread, and deafness to Ctrl-C, which is the parent's to hear."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    main = threading.current_thread() is threading.main_thread()
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if heard is not None:
            signal.signal(signal.SIGINT, heard)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(pipe: Connection, task: Callable[[str], Any]) -> None:
    """Answer each name with (whether it went well, result or reason) until the other end closes."""
    with suppress(EOFError, OSError):
        while True:
            name = pipe.recv()
            try:
                answer = True, task(name)
            except Exception as error:
                words = said(error)
                answer = False, f"{type(error).__name__}: {words}"
            pipe.send(answer)
