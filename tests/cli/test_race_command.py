"""``firstlight race`` as a user meets it: output, files, workers, Ctrl-C, wrong use."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import firstlight as fl
from firstlight.cli.app import run
from firstlight.cli.race import standings_table
from firstlight.cli.race_data import race_data
from firstlight.racing.standing import Standing
from firstlight.records.codec import from_json
from firstlight.records.race import Race

MODELS = """
import time, torch
from torch import nn

def small():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = small()

    def forward(self, x):
        time.sleep(0.02)
        if float(x.sum()) > 1e9:  # so that it trains alone
            x = x + 1
        return self.inner(x)

def samples():
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    y = (x.sum(dim=1) > 0).long()
    return x[:128], y[:128], x[128:], y[128:]
"""

SHORT = ["--techniques", "default", "plan", "--seeds", "2", "--steps", "5", "--search-seeds", "1"]


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_race_prints_its_verdict_and_writes_files(models, capsys):
    command = ["race", "models.py:small", "--data", "samples", *SHORT, "--folder", "kept"]
    assert run([*command, "--html", "race.html", "--out", "race.json"]) == 0
    text = capsys.readouterr().out
    record = fl.load("race.json")
    assert isinstance(record, Race) and [s.name for s in record.starts] == ["default", "plan"]
    words = " ".join(text.split())
    assert words.startswith(record.verdict) and "best learning rate" in words
    assert "Paired differences" in Path("race.html").read_text()
    assert run([*command, "--json"]) == 0
    assert from_json(capsys.readouterr().out) == record
    assert run([*command[:-2], "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    # Another file of the same name is another race.
    Path("models.py").write_text(
        MODELS.replace("Linear(8, 8)", "Linear(8, 9)").replace("(8, 2)", "(9, 2)")
    )
    assert run(command) == 2
    assert "kept: holds another race: " in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_one_line_that_says_how_to_go_on(models):
    command = [sys.executable, "-m", "firstlight", "race", "models.py:Slow", "--data", "samples"]
    command += ["--techniques", "default", "--learning-rates", "0.1", "--seeds", "6"]
    command += ["--steps", "10", "--folder", "kept", "--looks", "0"]
    # The child must import this package, whatever its folder is.
    paths = [str(Path(fl.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    while not list(models.glob("kept/units/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.count("\n") == 1 and err.startswith("firstlight: race: interrupted; ")
    assert err.endswith(
        " of 6 runs are finished and kept in kept; the same call goes on from there\n"
    )
    assert 1 <= len(list(models.glob("kept/units/*.json"))) < 6


@pytest.mark.slow
def test_workers_give_the_same_race(models, capsys):
    command = ["race", "models.py:small", "--data", "samples", *SHORT, "--json"]
    assert run(command) == 0
    alone = capsys.readouterr().out
    assert run([*command, "--workers", "2"]) == 0
    assert capsys.readouterr().out == alone


def test_data_by_name(models):
    x, y, held_out_x, held_out_y = race_data("digits", "models.py:small")
    assert x.shape == (1437, 64) and held_out_x.shape == (360, 64)
    assert x.max() == 1.0 and set(y.tolist()) == set(held_out_y.tolist()) == set(range(10))
    np.savez("both.npz", x=np.arange(10.0)[:, None], y=np.arange(10))
    x, y, held_out_x, held_out_y = race_data("both.npz", "models.py:small")
    assert sorted([*y, *held_out_y]) == list(range(10)) and len(held_out_y) == 2
    assert (x[:, 0] == y).all() and (held_out_x[:, 0] == held_out_y).all()
    np.savez("all.npz", x=x, y=y, held_out_x=x + 1, held_out_y=y)
    assert race_data("all.npz", "models.py:small")[2][0] == x[0] + 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "nothing.npz"], "data 'nothing.npz': no such file"),
        (["--data", "odd.npz"], "data 'odd.npz': has z; expected x and y, or x, y, held_out_x"),
        (["--data", "few.npz"], "x has shape (3, 1), y (3,); expected as many of each, at least 5"),
        (["--data", "what?"], "data 'what?': expected digits, a file.npz, the name of a factory"),
        (["--data", "sampels"], "has no 'sampels'; did you mean 'samples'?"),
        (["--data", "samples", "--workers", "0"], "workers: must be at least 1, got 0"),
        (["--data", "samples", "--optimizers", "sgdd"], "no optimizer 'sgdd'; did you mean 'sgd'?"),
        (["--data", "samples", "--steps", "0"], "steps must be an integer of at least 1, got 0"),
        ([], "--data"),
    ],
)
def test_wrong_use_is_one_line(models, options, words, capsys):
    np.savez("odd.npz", z=np.zeros(3))
    np.savez("few.npz", x=np.zeros((3, 1)), y=np.zeros(3))
    assert run(["race", "models.py:small", *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err


def test_the_live_table_tells_each_start():
    at = Standing(technique="plan", optimizer="sgd", runs=6, done=4, diverged=1, best=0.91)
    file = io.StringIO()
    Console(file=file, width=80).print(
        standings_table((at, Standing(technique="plan", optimizer="adam", runs=6)))
    )
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert lines[1] == ["plan,", "sgd", "4", "of", "6", "0.91", "1"]
    assert lines[2] == ["plan,", "adam", "0", "of", "6", "–", "0"]
    assert json.dumps(lines)
