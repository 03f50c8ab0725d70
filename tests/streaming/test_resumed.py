"""Killed twenty times at random moments and called again: the files are those of one quiet call."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import killed_writer
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.streaming import writing

KILLS = 20


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture
def paced(monkeypatch):
    """Much is made certain, so that there is much to go on from."""
    monkeypatch.setattr(writing, "FLUSH", 1 << 20)


def test_killed_twenty_times(tmp_path):
    plan = fl.plan(killed_writer.model(), torch.zeros(4, dtype=torch.long), prefer="orthogonal")
    plan.save(tmp_path / "plan.json")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    fl.stream(killed_writer.model(), whole, plan=plan, seed=9, shard_size="9MB")
    total = sum(path.stat().st_size for path in whole.glob("model-*"))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        [
            "torch",
            "firstlight.verbs.stream",
            "firstlight.frameworks.torch.adapter",
            "firstlight.reporting.files",
            "scipy.linalg",
            "llvmlite.binding",
        ]
    )
    chance, begun_at = random.Random(0), []

    def started() -> tuple[Any, Any]:
        here, there = processes.Pipe(duplex=False)
        arguments = (str(resumed), str(tmp_path / "plan.json"), there)
        child = processes.Process(target=killed_writer.run, args=arguments)
        child.start()
        there.close()
        return child, here

    for _ in range(KILLS):
        child, told = started()
        begun_at.append(told.recv())
        # At a random moment of the next tenth, so that all twenty find something to do.
        stop = begun_at[-1] + chance.random() * 0.1 * total
        while (done := told.recv()) != -1 and done < stop:
            pass
        time.sleep(chance.random() * 0.005)
        child.kill()
        child.join()
        if done == -1:  # it was faster: begin anew
            for path in resumed.iterdir():
                path.unlink()
    assert sum(at > 0 for at in begun_at) > KILLS / 2  # they went on from what was there
    child, told = started()
    child.join()
    assert child.exitcode == 0
    assert files(resumed) == files(whole)


def test_only_what_is_missing_is_drawn(tmp_path, paced, monkeypatch):
    """Stopped in the midst of a shard, the second call begins at what was made certain."""
    model = nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 8))
    plan = fl.plan(model, technique="lecun_normal")
    monkeypatch.setattr("firstlight.streaming.drawing.boxes.__defaults__", (1 << 18,))
    real, calls = writing.os.pwrite, []

    def stopping(handle, data, at):
        calls.append(at)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(handle, data, at)

    monkeypatch.setattr(writing.os, "pwrite", stopping)
    with pytest.raises(KeyboardInterrupt):
        fl.stream(model, tmp_path, plan=plan, seed=0)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []
    monkeypatch.setattr(writing.os, "pwrite", real)
    second = fl.stream(model, tmp_path, plan=plan, seed=0)
    assert 1 << 20 < second.kept < second.size
    quiet = tmp_path / "quiet"
    fl.stream(model, quiet, plan=plan, seed=0)
    name = "model.safetensors"
    assert (tmp_path / name).read_bytes() == (quiet / name).read_bytes()


def test_an_interrupted_start_of_another_seed_is_refused(tmp_path, paced, monkeypatch):
    model = nn.Linear(1024, 1024)
    plan = fl.plan(model)

    def full(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.Path, "replace", full)
    with pytest.raises(KeyboardInterrupt):
        fl.stream(model, tmp_path, plan=plan, seed=0)
    monkeypatch.undo()
    growing = tmp_path / ".model.safetensors.growing"
    assert growing.exists()
    (tmp_path / ".model.safetensors.certain").write_text("0123456789abcdef 4096")
    with pytest.raises(BadInputError, match="was interrupted, of another plan"):
        fl.stream(model, tmp_path, plan=plan, seed=1)
    assert growing.exists()
