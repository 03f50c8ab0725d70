"""A race over Dask: scheduler and workers are processes that talk over loopback."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_races import short

from firstlight.records.codec import to_json

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.slow,
    # Tornado and asyncio tell of sockets that a killed worker leaves open.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    # Workers start from nothing and have no path to this folder.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    )
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_dask_gives_the_race_of_one_process_though_a_worker_is_killed(client: Any) -> None:
    pids = client.run(os.getpid)
    assert len({*pids.values(), os.getpid()}) == 3
    options: dict[str, Any] = {"seeds": 12, "steps": 40}
    killed: list[int] = []
    done_then = 0

    def kill(standings: Any) -> None:
        """Kills a worker once some runs are back and many are not."""
        nonlocal done_then
        done = sum(standing.done for standing in standings)
        if not killed and done >= 3:
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)
            done_then = done

    race = short(executor=client.get_executor(), watch=kill, **options)
    assert killed and done_then < 2 * (2 + 12)
    assert to_json(race) == to_json(short(**options))
    assert killed[0] not in client.run(os.getpid).values()
