"""`firstlight audit` on models and files: text, JSON, a page; one line for what it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from firstlight.cli.app import run
from firstlight.records.codec import from_json
from firstlight.records.plan import Audit

MODEL = """
import torch
from torch import nn

def attention():
    torch.manual_seed(0)
    return nn.MultiheadAttention(48, 4)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    torch.manual_seed(0)
    state = nn.Linear(64, 48).state_dict()
    torch.save(state, "w.pt")
    save_file(state, "w.safetensors")
    Path("models.py").write_text(MODEL)
    Path("shards").mkdir()
    save_file(state, "shards/w.safetensors")
    return tmp_path


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "shards"])
def test_a_file_is_audited(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", name, "--html", "page.html"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{name}: 2 parameters, all named.")
    assert "U(±1/√fan_in) (torch_linear)" in text and "Note: A file knows no layers" in text
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "U(±1/√fan_in)" in page and "A file knows no layers" in page


def test_json_holds_the_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "w.safetensors", "--json"]) == 0
    record = from_json(capsys.readouterr().out)
    assert isinstance(record, Audit) and record["weight"].laws[0].technique == "torch_linear"


def test_remarks_are_shown_on_the_terminal_and_the_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "models.py:attention", "--html", "page"]) == 0
    text = capsys.readouterr().out
    assert "1 remark" in text.split("\n")[0]
    assert "packed-fans" in text and "q, k and v drawn as one packed matrix" in text
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "packed-fans" in page and "q, k and v drawn as one packed matrix" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no.safetensors"], "weights 'no.safetensors': no such file or folder"),
        (["no.pt"], "weights 'no.pt': no such file or folder"),
        (["empty.pt"], "weights 'empty.pt': an empty file"),
        (["w.pt", "--seed", "3"], "seed: 'w.pt' holds weights, so there is nothing to seed"),
        (["nothing"], "model 'nothing': expected file.py:factory"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.pt").touch()
    assert run(["audit", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"firstlight: {words}") and error.count("\n") == 1
