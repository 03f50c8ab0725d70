"""Race over Ray: an executor in a few lines, since Ray's own objects are futures already."""

import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import torch
from torch import nn

import firstlight as fl


class RayExecutor(Executor):
    """Runs each call as a Ray task on one core; Ray starts it again if its worker dies."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        if not ray.is_initialized():
            ray.init()

    def submit(self, function: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        """A future of the call."""
        task = self._ray.remote(function).options(num_cpus=1, max_retries=3)
        future: Future[Any] = task.remote(*args, **keywords).future()
        return future


def build() -> nn.Module:
    """Your model; here a small one."""
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


def race(executor: Executor | None) -> Any:
    """A short race of two starts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=generator)
    y = (x.sum(dim=1) > 0).long()
    data = (x[:128], y[:128], x[128:], y[128:])
    return fl.race(
        build, data, techniques=("default", "plan"), seeds=4, steps=20, executor=executor
    )


if __name__ == "__main__":
    try:
        import ray  # noqa: F401 - only to see whether it is there
    except ImportError:
        print("Ray is not installed: pip install 'firstlight[ray]'")
        sys.exit()
    over_ray = race(RayExecutor())
    assert over_ray == race(None)
    print(over_ray)
