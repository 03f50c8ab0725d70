"""Audits of files: read one tensor at a time, axes guessed by a stated rule, no code run."""

from __future__ import annotations

import collections
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor, nn

import firstlight as fl
from firstlight.frameworks.files import open_weights
from firstlight.records.codec import from_json, to_json


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(60, 32)
        self.conv = nn.Conv2d(8, 24, 3)
        self.transposed = nn.ConvTranspose2d(16, 24, 3)
        self.attention = nn.MultiheadAttention(32, 4)
        self.lstm = nn.LSTM(16, 24)
        self.norm = nn.BatchNorm2d(24)
        self.head = nn.Linear(32, 60)
        self.head.weight = self.embed_tokens.weight
        self.first, self.second = nn.Linear(48, 64), nn.Linear(48, 64)
        self.second.load_state_dict(self.first.state_dict())


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return Everything().state_dict()


def apart(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def sharded(state: dict[str, Tensor], folder: Path) -> Path:
    folder.mkdir()
    names = list(state)
    files = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({n: state[n].clone() for n in names if files[n] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return index


def plain(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save(state, folder / "w.pt")
    return folder / "w.pt"


def legacy(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save(state, folder / "w.pth", _use_new_zipfile_serialization=False)
    return folder / "w.pth"


def nested(state: dict[str, Tensor], folder: Path) -> Path:
    inner = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "model": inner, "optimizer": {"lr": 0.1}}, folder / "w.ckpt")
    return folder / "w.ckpt"


def safe(state: dict[str, Tensor], folder: Path) -> Path:
    save_file(apart(state), folder / "w.safetensors")
    return folder / "w.safetensors"


def in_bfloat16(state: dict[str, Tensor], folder: Path) -> Path:
    floating = {n: t.bfloat16() if t.is_floating_point() else t for n, t in apart(state).items()}
    save_file(floating, folder / "w.safetensors")
    return folder / "w.safetensors"


FORMS: dict[str, Callable[[dict[str, Tensor], Path], Path]] = {
    "safetensors": safe,
    "bfloat16": in_bfloat16,
    "an index of shards": lambda state, folder: sharded(state, folder / "shards"),
    "a folder of shards": lambda state, folder: sharded(state, folder / "shards").parent,
    "a folder with one": lambda state, folder: safe(state, folder).parent,
    "state dict": plain,
    "legacy": legacy,
    "nested": nested,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_numbers(
    form: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    audit = fl.audit(FORMS[form](state, tmp_path))
    tied = form in ("state dict", "legacy", "nested")
    wanted = {
        n
        for n in state
        if n.split(".")[-1] not in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert {e.name for e in audit} == wanted - ({"head.weight"} if tied else set())
    for entry in audit:
        tensor = state[entry.name]
        digits = 1e-2 if form == "bfloat16" else 1e-5
        assert entry.std == pytest.approx(float(tensor.std(correction=0)), rel=digits, abs=1e-9)
        assert entry.laws, entry.name
        assert entry.intended is None and entry.agrees is None
    words = {entry.name: entry.laws[0].words for entry in audit}
    assert words["embed_tokens.weight"] == "N(0, 1)"
    assert words["first.weight"] == words["conv.weight"] == "U(±1/√fan_in)"
    assert words["lstm.weight_ih_l0"] == "U(±1/√hidden)" == words["lstm.bias_hh_l0"]
    assert words["first.bias"] == "U(±1/√fan_in of its weight)"
    assert "packed" in words["attention.in_proj_weight"]
    kinds = {e.name: {r.kind for r in e.remarks} for e in audit if e.remarks}
    assert kinds.pop("attention.in_proj_weight") == {"packed-fans"}
    if tied:
        assert audit.network.parameter("head.weight").name == "embed_tokens.weight"
    else:
        assert kinds.pop("head.weight") == {"cloned"}
    assert kinds == {"second.weight": {"cloned"}, "second.bias": {"cloned"}}
    assert audit.remarks[0].startswith("A file knows no layers")
    assert "Passed over: 3 buffers" in audit.remarks[1]
    assert from_json(to_json(audit)) == audit


def test_layouts_follow_the_stated_rule(tmp_path: Path) -> None:
    shapes = {
        "h.0.attn.c_attn.weight": (32, 96), "h.0.attn.c_attn.bias": (96,),
        "up.weight": (16, 24, 3, 3), "up.bias": (24,),
        "conv.weight": (24, 16, 3, 3), "conv.bias": (24,),
        "wte.weight": (100, 32), "pos_embed": (1, 17, 32), "norm.weight": (32,),
        "rnn.weight_ih_l0": (96, 16), "rnn.weight_hh_l0": (96, 32), "rnn.bias_ih_l0": (96,),
        "layer.lora_A.default.weight": (4, 32), "scale": (),
    }  # fmt: skip
    save_arrays({n: np.ones(s, np.float32) for n, s in shapes.items()}, tmp_path / "w.safetensors")
    network = open_weights(str(tmp_path / "w.safetensors")).network
    read = {p.name: (p.kind, p.layout.roles) for p in network.parameters}
    assert read == {
        "h.0.attn.c_attn.weight": ("weight", ("in", "out")),
        "h.0.attn.c_attn.bias": ("bias", ("out",)),
        "up.weight": ("weight", ("in", "out", "kernel", "kernel")),
        "up.bias": ("bias", ("out",)),
        "conv.weight": ("weight", ("out", "in", "kernel", "kernel")),
        "conv.bias": ("bias", ("out",)),
        "wte.weight": ("embedding", ("index", "out")),
        "pos_embed": ("other", ("index", "out", "out")),
        "norm.weight": ("norm-scale", ("out",)),
        "rnn.weight_ih_l0": ("weight", ("gate", "out", "in")),
        "rnn.weight_hh_l0": ("recurrent", ("gate", "out", "in")),
        "rnn.bias_ih_l0": ("bias", ("gate", "out")),
        "layer.lora_A.default.weight": ("weight", ("out", "in")),
        "scale": ("other", ()),
    }
    assert network.parameter("rnn.bias_ih_l0").layout.view == (3, 32)


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    tensors = {f"{i}.weight": torch.randn(5, 7).bfloat16() for i in range(3)}
    save_file(tensors, tmp_path / "w.safetensors")
    read = dict(open_weights(str(tmp_path / "w.safetensors")).values())
    for name, tensor in tensors.items():
        assert np.array_equal(read[name], tensor.float().numpy())


def test_one_tensor_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    save_file({f"{i}.weight": torch.randn(40, 40) for i in range(6)}, tmp_path / "w.safetensors")
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    from firstlight.frameworks import files

    read = files._Reader.__call__

    def counting(self: files._Reader) -> np.ndarray:
        nonlocal most
        values = read(self).view()
        alive.append(weakref.ref(values))
        most = max(most, sum(ref() is not None for ref in alive))
        return values

    monkeypatch.setattr(files._Reader, "__call__", counting)
    fl.audit(tmp_path / "w.safetensors")
    assert len(alive) == 6 and most <= 2  # the last one, while the next is read


class Harmful:
    def __reduce__(self):
        return (print, ("code of the file ran",))


def _save(value: object, name: str) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        torch.save(value, folder / name)
        return folder / name

    return save


def _write(content: bytes, name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _cut(name: str) -> Callable[[Path], Path]:
    def cut(folder: Path) -> Path:
        path = folder / name
        tensors = {"weight": torch.randn(300, 30)}
        save_file(tensors, path) if name.endswith("safetensors") else torch.save(tensors, path)
        path.write_bytes(path.read_bytes()[:5000])
        return path

    return cut


def _arrays(arrays: dict[str, np.ndarray]) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        save_arrays(arrays, folder / "w.safetensors")
        return folder / "w.safetensors"

    return save


def _lost_shard(folder: Path) -> Path:
    index = sharded({"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}, folder / "s")
    (index.parent / "part-1.safetensors").unlink()
    return index


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "no.safetensors", "no such file or folder"),
    "missing pt": (lambda folder: folder / "no.pt", "no such file or folder"),
    "of another kind": (_write(b"a", "w.onnx"), "expected .safetensors, a folder of them"),
    "empty": (_write(b"", "w.safetensors"), "an empty file"),
    "empty pt": (_write(b"", "w.pt"), "an empty file"),
    "text": (_write(b"once upon a time", "w.safetensors"), "not a safetensors file"),
    "text pt": (_write(b"once upon a time", "w.pt"), "not a file that torch.save wrote"),
    "cut short": (_cut("w.safetensors"), "not a safetensors file"),
    "cut short pt": (_cut("w.pt"), "not a file that torch.save wrote"),
    "a pickle": (_write(pickle.dumps(Harmful()), "w.pt"), "w.pt': "),
    "a whole model": (_save(nn.Linear(2, 2), "w.pt"), "weights_only=True refuses to run its code"),
    "harmful": (_save({"weight": Harmful()}, "w.pt"), "weights_only=True refuses to run its code"),
    "no tensors": (_arrays({}), "holds no floating tensors"),
    "integers": (_arrays({"weight": np.ones((2, 2), np.int64)}), "holds no floating tensors"),
    "no tensors pt": (_save({"epoch": 1}, "w.pt"), "no tensors by name at its top, nor under"),
    "a list": (_save([1, 2], "w.pt"), "it holds a list"),
    "a counter": (_save(collections.OrderedDict(lr=1), "w.pt"), "it holds lr"),
    "an empty folder": (lambda folder: folder, "a folder with 0 .safetensors files"),
    "no index": (_write(b"[]", "model.safetensors.index.json"), "not an index of shards"),
    "an index of nothing": (
        _write(b'{"weight_map": {}}', "model.safetensors.index.json"), "names no files",
    ),
    "a lost shard": (_lost_shard, "names part-1.safetensors, which is not there"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_one_clear_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = BAD[case]
    path = make(tmp_path)
    with pytest.raises(fl.BadInputError) as caught:
        fl.audit(str(path))
    message = str(caught.value)
    assert words in message and "\n" not in message and len(message) < 400
    assert message.startswith("weights '")
    assert "code of the file ran" not in capsys.readouterr().out


def test_layers_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [f"{i}.weight" for i in (0, 2, 10)]
    save_file({name: torch.randn(4, 4) for name in names}, tmp_path / "w.safetensors")
    assert [entry.name for entry in fl.audit(str(tmp_path / "w.safetensors"))] == names
