"""What has been trained since: found by samples, under wrappers' names, in other types."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import firstlight as fl
from firstlight.cli.app import run
from firstlight.errors import BadInputError
from firstlight.records.codec import from_json, to_json


def build() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(24, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 40), nn.Linear(40, 3)]
    return nn.Sequential(nn.Embedding(50, 24, padding_idx=0), *layers)


@pytest.fixture(scope="module")
def plan():
    return fl.plan(build(), torch.zeros(4, dtype=torch.long), overrides={"4.weight": "orthogonal"})


@pytest.fixture
def state(plan):
    model = build()
    fl.apply(model, plan, seed=3)
    return {name: t.clone() for name, t in model.state_dict().items()}


WEIGHTS = {"0.weight", "1.weight", "4.weight", "5.weight"}


def compared(state, plan, tmp_path, seed=3):
    save_file(state, tmp_path / "model.safetensors")
    return fl.audit_checkpoint(tmp_path / "model.safetensors", plan, seed=seed)


def test_a_fresh_start_is_untrained(state, plan, tmp_path):
    found = compared(state, plan, tmp_path)
    assert set(found.untrained) == WEIGHTS
    assert {e.standing for e in found} == {"initial"}
    assert set(compared(state, plan, tmp_path, seed=4).named("changed")) == WEIGHTS


def test_what_was_trained_is_changed_and_rows_are_told(state, plan, tmp_path):
    state["1.weight"] += 1e-3 * torch.randn(40, 24)
    state["4.weight"][:] = torch.eye(40)
    state["0.weight"][:25] += 1.0
    found = compared(state, plan, tmp_path)
    assert set(found.named("changed")) == {"1.weight", "4.weight"}
    assert found.untrained == ("5.weight",)
    (partly,) = found.named("partly initial")
    assert partly == "0.weight" and found[partly].equal == pytest.approx(0.5, abs=0.05)
    text = str(found)
    assert "1 of" in text and "0.weight: 5" in text
    assert from_json(to_json(found)) == found


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_names_of_wrappers(state, plan, tmp_path, prefix):
    named = {prefix + name: tensor for name, tensor in state.items()}
    assert set(compared(named, plan, tmp_path).untrained) == WEIGHTS


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types(plan, tmp_path, dtype):
    model = build().to(dtype)
    fl.apply(model, plan, seed=3)
    assert set(compared(model.state_dict(), plan, tmp_path).untrained) == WEIGHTS
    wider = {name: t.float() for name, t in model.state_dict().items()}
    assert set(compared(wider, plan, tmp_path).untrained) == WEIGHTS


def test_missing_and_extra(state, plan, tmp_path):
    del state["5.weight"]
    state["lora.weight"] = torch.ones(3)
    found = compared(state, plan, tmp_path)
    assert found.named("missing") == ("5.weight",) and found.named("extra") == ("lora.weight",)
    assert "not in the checkpoint: 5.weight" in str(found)


def test_shards(plan, tmp_path):
    written = fl.stream(build(), tmp_path, plan=plan, seed=3, shard_size=4000)
    assert len(written.files) > 1
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        assert set(fl.audit_checkpoint(path, plan, seed=3).untrained) == WEIGHTS


def test_the_command(state, plan, tmp_path, capsys):
    plan.save(tmp_path / "plan.json")
    folder = tmp_path / "shards"
    (tmp_path / "models.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def net():\n    with torch.device('meta'):\n"
        "        return nn.Sequential(nn.Embedding(50, 24, padding_idx=0), nn.Linear(24, 40),"
        " nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 40), nn.Linear(40, 3))\n"
    )
    command = ["stream", f"{tmp_path}/models.py:net", str(folder)]
    command += ["--plan", f"{tmp_path}/plan.json", "--dtype", "bfloat16"]
    assert run([*command, "--shard-size", "5KB", "--seed", "3"]) == 0
    assert "tensors" in capsys.readouterr().out
    asked = ["audit", "--checkpoint", str(folder), "--plan", f"{tmp_path}/plan.json"]
    assert run([*asked, "--seed", "3"]) == 0
    assert "4 of 9 tensors are at the start of seed 3" in capsys.readouterr().out
    assert run([*asked, "--seed", "4", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["content"]["entries"]
    assert {e["standing"] for e in entries if e["name"] in WEIGHTS} == {"changed"}
    assert run(asked) == 2
    assert "give --plan plan.json and --seed" in capsys.readouterr().err
    assert run([*command, "--seed", "4"]) == 2
    assert "holds another start" in capsys.readouterr().err
    assert run(["audit"]) == 2


def test_bad_checkpoints_are_one_line(plan, tmp_path):
    (tmp_path / "text.safetensors").write_text("no header at all, just some words")
    save_file({"other": torch.ones(2)}, tmp_path / "other.safetensors")
    save_file({"1.weight": torch.ones(2, 2)}, tmp_path / "shape.safetensors")
    (tmp_path / "empty").mkdir()
    lines = {
        "text.safetensors": "not a safetensors file",
        "other.safetensors": "holds none of the plan's parameters",
        "shape.safetensors": r"1.weight: the plan has shape (40, 24), the checkpoint (2, 2)",
        "empty": "no .safetensors file in this folder",
        "nowhere": "no such file or folder",
    }
    for name, words in lines.items():
        with pytest.raises(BadInputError) as raised:
            fl.audit_checkpoint(tmp_path / name, plan, seed=0)
        assert words in str(raised.value) and "\n" not in str(raised.value)
