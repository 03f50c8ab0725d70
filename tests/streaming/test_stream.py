"""Streamed files are what `apply` draws: names, types, ties, shards, rows, kept values."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.records.codec import from_json, to_json
from firstlight.streaming import drawing
from firstlight.streaming.drawing import boxes


class Small(nn.Module):
    """An embedding tied to the head, a norm with statistics, a buffer that is in no file."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(31, 16, padding_idx=2)
        self.body = nn.Sequential(nn.Linear(16, 48), nn.BatchNorm1d(48), nn.ReLU())
        self.out = nn.Linear(48, 16)
        self.head = nn.Linear(16, 31, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.full((3,), 2.0), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.embed(tokens).mean(dim=1)
        return self.head(self.out(self.body(h)))


BATCH = torch.randint(31, (16, 5), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def plan():
    torch.manual_seed(0)
    return fl.plan(Small(), BATCH)


def everything(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def applied(plan, dtype: torch.dtype = torch.float32) -> nn.Module:
    model = Small().to(dtype)
    fl.apply(model, plan, seed=5)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("size", ["5GB", 3000])
def test_equals_what_apply_draws(plan, dtype, size, tmp_path):
    with torch.device("meta"):
        meta = Small()
    written = fl.stream(meta, tmp_path, plan=plan, seed=5, dtype=dtype, shard_size=size)
    model = applied(plan, getattr(torch, dtype))
    found = everything(tmp_path)
    state = model.state_dict()
    assert "embed.weight" in found and "head.weight" not in found
    assert written.ties == (("embed.weight", "head.weight"),)
    assert written.left_out == ("scale",)
    assert set(found) == set(state) - {"head.weight"}
    for name, tensor in found.items():
        assert tensor.dtype == state[name].dtype and torch.equal(tensor, state[name]), name
    assert not found["embed.weight"][2].any()
    assert len(written.files) == (1 if size == "5GB" else len(list(tmp_path.glob("model-*"))))
    assert written.size == sum(t.numel() * t.element_size() for t in found.values())
    assert not list(tmp_path.glob(".*"))  # nothing of the work is left
    assert all(meta_tensor.is_meta for meta_tensor in meta.parameters())


def test_the_index_is_what_transformers_reads(plan, tmp_path):
    written = fl.stream(Small(), tmp_path, plan=plan, seed=5, shard_size=3000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(written.files)
    assert index["metadata"]["total_size"] == written.size
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / file, "pt") as opened:
            assert name in opened.keys()  # noqa: SIM118 - no mapping


def test_a_transformer_loads_it(tmp_path):
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=32,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        meta = transformers.LlamaForCausalLM(config)
    written = fl.stream(meta, tmp_path, seed=1, shard_size=20_000)
    assert len(written.files) > 2
    config.save_pretrained(tmp_path)
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    real = transformers.LlamaForCausalLM(config)
    fl.apply(real, fl.plan(meta), seed=1)
    for (name, a), b in zip(loaded.named_parameters(), real.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_a_real_model_stays_and_gives_what_the_plan_keeps(tmp_path):
    model = Small()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    plan = fl.plan(model, BATCH, keep=["out.*"])
    fl.stream(model, tmp_path, plan=plan, seed=5)
    found = everything(tmp_path)
    assert torch.equal(found["out.weight"], before["out.weight"])
    assert not torch.equal(found["body.0.weight"], before["body.0.weight"])
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_added_rows_beside_those_that_stay(tmp_path):
    model = Small()
    plan = fl.plan(model, BATCH, only=["embed.weight[20:]"])
    fl.stream(model, tmp_path, plan=plan, seed=5)
    found, old = everything(tmp_path)["embed.weight"], model.embed.weight.detach().clone()
    fl.apply(model, plan, seed=5)
    assert torch.equal(found, model.embed.weight)
    assert torch.equal(found[:20], old[:20]) and not torch.equal(found[20:], old[20:])


def test_blocks_of_any_size(plan, monkeypatch, tmp_path):
    monkeypatch.setattr(drawing.boxes, "__defaults__", (50,))
    fl.stream(Small(), tmp_path, plan=plan, seed=5)
    state = applied(plan).state_dict()
    assert all(torch.equal(t, state[name]) for name, t in everything(tmp_path).items())


def test_boxes_follow_each_other():
    for shape in ((), (7,), (3, 5), (2, 3, 4), (1, 11), (4, 0)):
        cells = np.arange(int(np.prod(shape))).reshape(shape)
        for most in (1, 3, 7, 100):
            parts = [
                cells[tuple(slice(r.start, r.stop) for r in box)] for box in boxes(shape, most)
            ]
            assert np.array_equal(np.concatenate([p.ravel() for p in parts]), cells.ravel())
            assert all(p.size <= most for p in parts)


def test_the_record_tells_and_returns_from_json(plan, tmp_path):
    told = []
    written = fl.stream(
        Small(),
        tmp_path,
        plan=plan,
        seed=5,
        progress=lambda done, total: told.append((done, total)),
    )
    assert from_json(to_json(written)) == written
    assert "5 tensors" not in str(written) and f"{written.tensors} tensors" in str(written)
    assert told[0][0] == 0 and told[-1][0] == told[-1][1]
    again = fl.stream(Small(), tmp_path, plan=plan, seed=5)
    assert again.kept == again.size


def test_what_cannot_be_is_one_line(plan, tmp_path):
    with torch.device("meta"):
        meta = Small()
    kept = fl.plan(Small(), BATCH, keep=["out.weight"])
    lines = {
        "out.weight: kept by the plan": lambda: fl.stream(meta, tmp_path, plan=kept, seed=0),
        "dtype: expected float64": lambda: fl.stream(meta, tmp_path, plan=plan, dtype="int8"),
        "shard_size: expected bytes": lambda: fl.stream(
            meta, tmp_path, plan=plan, shard_size="big"
        ),
        "is a file; name a folder": lambda: fl.stream(meta, __file__, plan=plan, seed=0),
        "the plan has shape": lambda: fl.stream(nn.Linear(2, 2), tmp_path, plan=plan, seed=0),
    }
    for words, call in lines.items():
        with pytest.raises(BadInputError) as raised:
            call()
        assert words in str(raised.value) and "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_another_start_in_the_folder_stays(plan, tmp_path):
    fl.stream(Small(), tmp_path, plan=plan, seed=5)
    before = (tmp_path / "model.safetensors").read_bytes()
    for other in ({"seed": 6}, {"seed": 5, "dtype": "bfloat16"}, {"seed": 5, "namespace": "b"}):
        with pytest.raises(BadInputError, match="holds another start"):
            fl.stream(Small(), tmp_path, plan=plan, **other)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def _mounted(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")


@pytest.mark.parametrize("known", [True, False], ids=["seen beforehand", "seen in the midst"])
def test_a_full_disk(plan, tmp_path, monkeypatch, known):
    folder = tmp_path / "small"
    folder.mkdir()
    _mounted(folder, "size=8k")
    try:
        if not known:
            from firstlight.streaming import writing

            free = lambda _: type("Usage", (), {"free": 1 << 40})()  # noqa: E731
            monkeypatch.setattr(writing.shutil, "disk_usage", free)
        with pytest.raises(BadInputError) as raised:
            fl.stream(Small(), folder, plan=plan, seed=5)
        assert ("are free; make room" if known else "No space left") in str(raised.value)
        assert "\n" not in str(raised.value)
        assert not list(folder.glob("model*"))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_target(plan, tmp_path):
    folder = tmp_path / "sealed"
    folder.mkdir()
    _mounted(folder, "ro")
    try:
        with pytest.raises(BadInputError, match="Read-only file system; name a folder"):
            fl.stream(Small(), folder, plan=plan, seed=5)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
