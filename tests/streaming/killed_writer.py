"""Streams a middle-sized model; its parent kills it at a random moment."""

from __future__ import annotations

from multiprocessing.connection import Connection

import torch
from torch import nn

import firstlight as fl
from firstlight.streaming import drawing, writing


def model() -> nn.Module:
    """About 20 MB, with an orthogonal matrix and several files."""
    with torch.device("meta"):
        layers = [nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU()]
        return nn.Sequential(nn.Embedding(3000, 1024), *layers, nn.Linear(1024, 500))


def run(folder: str, plan: str, told: Connection) -> None:
    """Tell the parent how much is done, again and again."""
    torch.set_num_threads(1)
    writing.FLUSH = 1 << 20
    drawing.boxes.__defaults__ = (1 << 16,)
    fl.stream(
        model(),
        folder,
        plan=fl.load(plan),
        seed=9,
        shard_size="9MB",
        progress=lambda done, _: told.send(done),
    )
    told.send(-1)
