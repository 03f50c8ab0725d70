"""Units over executors: equal results, nothing lost with a worker, one line when they are gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import small_races
from small_races import short
from torch import nn

from firstlight.errors import BadInputError, ModelRaisedError, WorkerLostError
from firstlight.records.codec import to_json


def served(workers: int) -> ProcessPoolExecutor:
    """Forks of a server that has torch and no threads: this process may have JAX's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["firstlight", "torch"])
    return ProcessPoolExecutor(workers, mp_context=context)


def with_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def test_threads_and_processes_give_the_race_of_one_process(tmp_path: Path) -> None:
    """Threads share torch's random state, so dropout and ``default`` would show a mistake."""
    alone = to_json(short(with_dropout, optimizers=("sgd", "adam")))
    with ThreadPoolExecutor(4) as threads:
        threaded = short(with_dropout, optimizers=("sgd", "adam"), executor=threads)
    with served(2) as processes:
        spread = short(
            with_dropout, optimizers=("sgd", "adam"), executor=processes, folder=tmp_path
        )
    assert to_json(threaded) == alone
    assert to_json(spread) == alone


@pytest.mark.slow
def test_spawned_processes_take_lambdas() -> None:
    """They import all from nothing, as workers on another machine do."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as spawned:
        race = short(
            lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), executor=spawned
        )
    assert to_json(race) == to_json(short())


class Backwards(Executor):
    """Runs what it was given when asked for a result, the last first."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def submit(self, function: Any, /, *args: Any, **keywords: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.insert(0, (future, function, args))
        if len(self.waiting) == UNITS:
            for waiting, call, arguments in self.waiting:
                waiting.set_result(call(*arguments))
            self.waiting.clear()
        return future


UNITS = 3


def test_the_order_of_results_does_not_matter(tmp_path: Path) -> None:
    options: dict[str, Any] = {"learning_rates": (0.1,), "seeds": UNITS, "folder": tmp_path}
    backwards = to_json(short(executor=Backwards(), **options))
    for unit in tmp_path.glob("units/*"):
        unit.unlink()
    assert to_json(short(**options)) == backwards


def test_a_worker_that_dies_is_one_line_and_the_rest_is_kept(tmp_path: Path) -> None:
    flag = tmp_path / "die"

    def build() -> nn.Module:
        """Dies once two units are kept, in a worker only."""
        kept = len(list(tmp_path.glob("race/units/*")))
        if os.getpid() != here and kept >= 2 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return small_races.build()

    here, options = os.getpid(), {"seeds": 8, "folder": tmp_path / "race"}
    with served(1) as processes, pytest.raises(WorkerLostError) as caught:
        short(build, executor=processes, **options)
    message = str(caught.value)
    assert message.startswith("race: a worker process died (BrokenProcessPool: ")
    assert message.endswith(f"kept in {tmp_path / 'race'}; the same call goes on from there")
    assert "\n" not in message
    assert len(list(tmp_path.glob("race/units/*"))) >= 2
    assert to_json(short(build, **options)) == to_json(short(seeds=8))


def test_an_error_of_the_model_comes_back_from_a_worker_as_it_is() -> None:
    here = os.getpid()

    def build() -> nn.Module:
        return nn.Linear(8, 2) if os.getpid() == here else nn.Linear(3, 2)

    with served(1) as processes, pytest.raises(ModelRaisedError) as caught:
        short(build, techniques=("default",), executor=processes)
    assert str(caught.value).startswith("race: training raised RuntimeError: mat1 and mat2")


def test_what_is_no_executor_is_refused() -> None:
    class Client:
        def get_executor(self) -> None: ...

    for wrong, words in (
        (4, "got int; give a ProcessPoolExecutor"),
        (Client(), "got Client; give client.get_executor()"),
        (ThreadPoolExecutor, "got type; give a"),
    ):
        with pytest.raises(BadInputError) as caught:
            short(executor=wrong)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_travel_is_one_line() -> None:
    lock = threading.Lock()

    def build() -> nn.Module:
        with lock:
            return small_races.build()

    with ThreadPoolExecutor(1) as threads, pytest.raises(BadInputError) as caught:
        short(build, executor=threads)
    assert "cannot be sent to other processes" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_closed_executor_is_one_line() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    with pytest.raises(
        WorkerLostError, match=r"^race: the executor failed \(RuntimeError: .*folder"
    ):
        short(executor=threads)
