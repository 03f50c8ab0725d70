"""Units of work done here or by an executor; whatever happens, what is finished is kept."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import suppress
from typing import Any

from firstlight.errors import BadInputError, FirstlightError, WorkerLostError, said
from firstlight.racing.store import Store
from firstlight.racing.units import Unit
from firstlight.records.race import Run


def checked_executor(executor: Any) -> Executor | None:
    """An executor, or None for this process.

    Raises:
        BadInputError: something else.
    """
    if executor is None or isinstance(executor, Executor):
        return executor
    hint = (
        "give client.get_executor()"
        if hasattr(executor, "get_executor")
        else "give a ProcessPoolExecutor, the get_executor() of a dask.distributed.Client, or None"
    )
    raise BadInputError(
        f"executor: expected a concurrent.futures.Executor, got {type(executor).__name__}; {hint}"
    )


def packed(task: Any) -> bytes:
    """A task as bytes for other processes; lambdas and closures too, if cloudpickle is there.

    Raises:
        BadInputError: something in it cannot travel.
    """
    try:
        try:
            import cloudpickle
        except ImportError:
            return pickle.dumps(task)
        return bytes(cloudpickle.dumps(task))
    except Exception as error:
        words = " ".join(str(error).split())
        raise BadInputError(
            f"race: the model's factory, loss or data cannot be sent to other processes ({words});"
            " define them at the top of a module, or pip install 'firstlight[race]'"
        ) from error


def complete(
    units: Sequence[Unit],
    work: Callable[[Unit], Sequence[Run]],
    *,
    submit: Callable[[Unit], Future[Any]] | None = None,
    store: Store | None = None,
    finished: Callable[[Unit, tuple[Run, ...]], None],
) -> None:
    """Do every unit that the store does not hold yet.

    Args:
        units: what to do; the order in which they end does not matter.
        work: trains a unit in this process.
        submit: hands a unit to an executor instead.
        store: keeps each unit as soon as it is finished.
        finished: told of each unit, of those that the store held first.

    Raises:
        WorkerLostError: the executor lost its workers; all that came back before is kept.
    """
    left = []
    for unit in units:
        runs = None if store is None else store.load(unit)
        if runs is None:
            left.append(unit)
        else:
            finished(unit, runs)

    def done(unit: Unit, runs: Sequence[Run]) -> None:
        if store is not None:
            store.keep(unit, runs)
        finished(unit, tuple(runs))

    if submit is not None:
        _spread(left, submit, done)
        return
    for unit in left:
        done(unit, work(unit))


def _spread(
    units: Sequence[Unit],
    submit: Callable[[Unit], Future[Any]],
    done: Callable[[Unit, Sequence[Run]], None],
) -> None:
    """Hand over results as they come, and what came back before an error or Ctrl-C besides."""
    pending: dict[Future[Any], Unit] = {}
    try:
        for unit in units:
            try:
                pending[submit(unit)] = unit
            except Exception as error:
                raise _lost(error) from error
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                runs = _result(future)
                done(pending.pop(future), runs)
    except BaseException:
        _salvage(pending, done)
        raise


def _result(future: Future[Any]) -> tuple[Run, ...]:
    try:
        return tuple(future.result())
    except FirstlightError:
        raise
    except (Exception, CancelledError) as error:
        raise _lost(error) from error


def _salvage(pending: dict[Future[Any], Unit], done: Callable[[Unit, Sequence[Run]], None]) -> None:
    """Take back what is not begun, and keep what is finished."""
    for future in pending:
        future.cancel()
    for future, unit in pending.items():
        if future.done() and not future.cancelled() and future.exception() is None:
            with suppress(FirstlightError):
                done(unit, future.result())


def _lost(error: BaseException) -> WorkerLostError:
    words = said(error)
    what = "a worker process died" if isinstance(error, BrokenExecutor) else "the executor failed"
    return WorkerLostError(f"race: {what} ({type(error).__name__}: {words})")
