"""Trainings of the networks of `zoo.deep`."""

from __future__ import annotations

import copy
import math
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional

from zoo.deep import CLASSES, Network
from zoo.deep_starts import KNOWN, STARTS
from zoo.starts import limited

BATCH, CLIP, SECONDS = 32, 1.0, 60
Key = tuple[str, str, int, float, int]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training.

    Args:
        network: its name.
        start: its name.
        seed: of the model, the start and the order of the data.
        rate: learning rate.
        steps: how many were asked for.
        accuracy: on held-out data; chance where it diverged or did not start.
        diverged: whether the loss became no number.
        failed: what the start raised.
        seconds: of the processor.
    """

    network: str
    start: str
    seed: int
    rate: float
    steps: int
    accuracy: float
    diverged: bool = False
    failed: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What makes it unique."""
        return self.network, self.start, self.seed, self.rate, self.steps


@lru_cache(maxsize=1)  # a search asks for the same start at every rate
def _started(network: Network, start: str, seed: int) -> tuple[nn.Module, str]:
    """The model at step zero, and what the start raised."""
    x, y = network.data()[:2]
    known = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:KNOWN]
    torch.manual_seed(seed)
    model = network.build()
    try:
        with limited(SECONDS):
            STARTS[start](model, x[known], y[known], seed)
    except Exception as error:  # listed by name, scored as chance
        return model, f"{type(error).__name__}: {error}".partition("\n")[0]
    return model, ""


def trained(network: Network, start: str, seed: int, rate: float, steps: int) -> Trial:
    """Build, start, train, score. Two trials of one seed see the same batches."""
    begin = time.process_time()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, failed = _started(network, start, seed)
        model = copy.deepcopy(first)
        optimizer = _optimizer(network, model, rate)
        finite = not failed and _trains(model, optimizer, network, seed, steps)
        accuracy = _accuracy(model, network) if finite else 1 / CLASSES
    return Trial(
        network=network.name,
        start=start,
        seed=seed,
        rate=rate,
        steps=steps,
        accuracy=round(accuracy, 5),
        diverged=not failed and not finite,
        failed=failed,
        seconds=round(time.process_time() - begin, 2),
    )


def _trains(
    model: nn.Module, optimizer: torch.optim.Optimizer, network: Network, seed: int, steps: int
) -> bool:
    """Whether the loss stays a number to the end."""
    x, y = network.data()[:2]
    order = torch.Generator().manual_seed(~seed)
    for _ in range(steps):
        drawn = torch.randint(len(x), (BATCH,), generator=order)
        loss = functional.cross_entropy(model(x[drawn]), y[drawn])
        if not math.isfinite(loss.item()):
            return False
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    return True


@torch.no_grad()
def _accuracy(model: nn.Module, network: Network) -> float:
    x, y = network.data()[2:]
    return float((model(x).argmax(dim=1) == y).float().mean())


def _optimizer(network: Network, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    if network.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    return torch.optim.Adam(model.parameters(), lr=rate)
