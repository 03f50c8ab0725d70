"""The command line as a user meets it: output, exit status, one line for wrong use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from firstlight.cli.app import run
from firstlight.records.checkup import Checkup
from firstlight.records.codec import from_json
from firstlight.records.plan import Audit, Plan, Receipt

MODELS = """
import torch
from torch import nn

def deep():
    sizes = [16] + [32] * 20
    layers = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(32, 4))

def small():
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

def tokens():
    return nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(32, 3))

def batch():
    return torch.randn(128, 16, generator=torch.Generator().manual_seed(0))

def labels():
    return torch.arange(128) % 4

def raising():
    raise RuntimeError("no\\nway")

def nothing():
    return nn.ReLU()

ready = small()
number = 3
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "text.npz").write_text("no archive")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_says_what_is_wrong_and_exits_1(models, capsys):
    status = run(["check", "models.py:deep", "--input", "batch", "--target", "labels"])
    out = capsys.readouterr().out
    assert status == 1
    assert out.startswith("Sequential is not healthy at step zero")
    assert "backward-vanishing" in out
    assert "model = firstlight.initialize(model, batch, seed=0).model" in out


def test_check_of_a_healthy_model_exits_0(models, capsys):
    assert run(["check", "models.py:small", "--input", "128x16", "--seed", "0"]) == 0
    assert "is healthy at step zero" in capsys.readouterr().out


def test_a_ready_made_model_and_a_dotted_module(models, capsys):
    assert run(["check", "models.py:ready", "--input", "64x16"]) == 0
    sys.modules.pop("models", None)
    assert run(["check", "models:ready", "--input", "64x16"]) == 0


def test_integer_input_reaches_an_embedding(models, capsys):
    assert run(["check", "models.py:tokens", "--input", "64x4:50", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_npz_input_brings_its_target(models, capsys):
    x = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    np.savez("batch.npz", x=x, y=np.arange(64) % 4)
    assert run(["check", "models.py:small", "--input", "batch.npz", "--json"]) == 0
    checkup = from_json(capsys.readouterr().out)
    assert isinstance(checkup, Checkup)
    assert checkup.observation.task == "classification"
    assert checkup.observation.samples == 64


def test_json_and_html_hold_the_record(models, capsys):
    arguments = ["check", "models.py:deep", "--input", "64x16", "--json", "--html", "report.html"]
    assert run(arguments) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["firstlight"] == 1
    page = Path("report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "backward vanishing" in page


def test_audit_names_torchs_default(models, capsys):
    assert run(["audit", "models.py:small", "--json"]) == 0
    record = from_json(capsys.readouterr().out)
    assert isinstance(record, Audit)
    assert record["0.weight"].laws[0].words == "U(±1/√fan_in)"
    assert record["0.weight"].agrees


def test_plan_written_then_drawn_equals_init(models, capsys):
    assert run(["plan", "models.py:deep", "--input", "batch", "--out", "plan.json"]) == 0
    assert "mirrored chain" in capsys.readouterr().out
    assert isinstance(from_json(Path("plan.json").read_text()), Plan)
    first = ["init", "models.py:deep", "--out", "a.safetensors", "--plan", "plan.json"]
    assert run([*first, "--seed", "3", "--quiet"]) == 0
    second = ["init", "models.py:deep", "--out", "b.safetensors", "--input", "batch"]
    assert run([*second, "--no-calibrate", "--seed", "3", "--json"]) == 0
    receipt = from_json(capsys.readouterr().out)
    assert isinstance(receipt, Receipt)
    assert receipt.seed == 3
    assert receipt.after is not None
    assert receipt.after.healthy
    a, b = load_file("a.safetensors"), load_file("b.safetensors")
    assert sorted(a) == sorted(b)
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_compare_measures_and_tells(models, capsys):
    asked = ["models.py:deep", "--input", "batch", "--seed", "3"]
    assert run(["plan", *asked, "--compare", "he_normal", "--compare", "orthogonal"]) == 0
    out = capsys.readouterr().out
    assert "4 starts measured by one draw each, with seed 3" in out
    assert out.count("(measured)") == 4 and out.count("(theory)") == 2
    drawing = ["init", *asked, "--out", "a.safetensors", "--compare", "usual"]
    assert run(drawing) == 0
    out = capsys.readouterr().out
    assert out.count("(measured)") == 6 and "(theory)" not in out


def test_techniques_lists_and_tells(capsys):
    assert run(["techniques"]) == 0
    assert "he_normal" in capsys.readouterr().out
    assert run(["techniques", "kaiming_normal"]) == 0
    assert "Delving deep into rectifiers" in capsys.readouterr().out
    assert run(["techniques", "idinit"]) == 0
    assert "W[i, j] = gain" in capsys.readouterr().out  # brackets are no markup


WRONG_USE = {
    "unknown command": (["chek"], 'Unknown command "chek". Did you mean "check"?'),
    "no colon": (["check", "models.py"], "expected file.py:factory or package.module:factory"),
    "unknown file": (["check", "nofile.py:build"], "nofile.py: no such file"),
    "unknown module": (["check", "no_such_module:build"], "no module of this name"),
    "unknown factory": (["check", "models.py:smal"], "has no 'smal'; did you mean 'small'"),
    "raising factory": (["check", "models.py:raising"], "the factory raised RuntimeError: no way"),
    "not a model": (["check", "models.py:number"], "builtins.int is not a model"),
    "no parameters": (["check", "models.py:nothing", "--input", "2x2"], "has no parameters"),
    "wrong shape": (["check", "models.py:small", "--input", "8x3"], "raised RuntimeError"),
    "zero size": (["check", "models.py:small", "--input", "0x3"], "sizes must be at least 1"),
    "strange input": (["check", "models.py:small", "--input", "8 x 3"], "expected a shape"),
    "missing npz": (["check", "models.py:small", "--input", "b.npz"], "no such file"),
    "unknown input": (["check", "models.py:small", "--input", "bach"], "did you mean 'batch'"),
    "unknown loss": (
        ["check", "models.py:small", "--input", "batch", "--target", "labels", "--loss", "cross"],
        "loss: unknown name 'cross'",
    ),
    "unknown technique": (
        ["plan", "models.py:small", "--technique", "he_norml"],
        "did you mean 'he_normal'",
    ),
    "unknown rival": (
        ["plan", "models.py:small", "--input", "batch", "--compare", "he_norml"],
        "compare: none is called 'he_norml'; did you mean 'he_normal'",
    ),
    "compare to a given plan": (
        ["init", "models.py:small", "--out", "w.safetensors", "--plan", "p", "--compare", "usual"],
        "compare: a plan is given, so nothing is chosen",
    ),
    "unmatched keep": (["plan", "models.py:small", "--keep", "enc.*"], "matches none"),
    "bad seed": (["init", "models.py:small", "--out", "w.safetensors", "--seed", "x"], "seed"),
    "negative seed": (
        ["init", "models.py:small", "--out", "w.safetensors", "--seed", "-1"],
        "seed",
    ),
    "huge seed": (["check", "models.py:small", "--seed", "9" * 20], "seed: expected an integer"),
    "too large": (["check", "models.py:small", "--input", "99999999999x20"], "too large"),
    "no demo": (["demo", "--seeds", "0"], "seeds and steps must be at least 1"),
    "text as npz": (["check", "models.py:small", "--input", "text.npz"], "numpy.savez"),
    "wrong suffix": (["init", "models.py:small", "--out", "w.pt"], "expected a .safetensors file"),
    "missing out": (["init", "models.py:small"], "out"),
    "missing plan": (
        ["init", "models.py:small", "--out", "w.safetensors", "--plan", "p.json"],
        "no such file",
    ),
    "unwritable": (
        ["init", "models.py:small", "--out", "missing/dir/w.safetensors"],
        "missing/dir",
    ),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_gets_one_line_and_exit_2(case, models, capsys):
    arguments, words = WRONG_USE[case]
    before = sorted(p.name for p in models.iterdir() if p.name != "__pycache__")
    status = run(arguments)
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.startswith("firstlight: ")
    assert captured.err.count("\n") == 1, captured.err
    after = sorted(p.name for p in models.iterdir() if p.name != "__pycache__")
    assert before == after


def test_the_installed_command_runs_and_its_reader_may_leave(models):
    command = [sys.executable, "-m", "firstlight", "techniques"]
    whole = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "he_normal" in whole.stdout
    pipe = subprocess.run(
        f"{sys.executable} -m firstlight techniques | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in pipe.stderr
