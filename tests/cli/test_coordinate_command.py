"""``firstlight coordinate-check`` as a user meets it."""

from __future__ import annotations

import json

import pytest

from firstlight.cli.app import run
from firstlight.records.codec import from_json

MODELS = """
import torch
from torch import nn

def build(n):
    return nn.Sequential(nn.Linear(8, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 4))

def broken(n):
    raise OSError("no such width")

ready = build(8)

def target():
    return torch.arange(32) % 4
"""

SHORT = ["--input", "32x8", "--target", "target", "--widths", "32", "64", "128", "--seeds", "2"]


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_wrong_ones_exit_with_one_and_right_ones_with_zero(models, capsys):
    assert run(["coordinate-check", "models.py:build", *SHORT, "--html", "check.html"]) == 1
    assert "does not train alike" in capsys.readouterr().out
    assert "fl-chart" in (models / "check.html").read_text(encoding="utf-8")
    assert run(["coordinate-check", "models.py:build", *SHORT, "--base", "32", "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)
    assert from_json(printed).base == 32


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("models.py:ready", "takes a width, got a model"),
        ("models.py:target", "as def build(width); too many positional arguments"),
        ("models.py:broken", "OSError: no such width"),
        ("models.py:absent", "has no 'absent'"),
        ("models.py", "expected file.py:factory"),
    ],
)
def test_wrong_use_is_one_line_and_two(model, words, capsys):
    assert run(["coordinate-check", model, *SHORT]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
