"""Records in real trackers, offline, read back as their users would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.integrations.trackers import (
    log_to_mlflow,
    log_to_tensorboard,
    log_to_wandb,
    numbers,
)

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 2


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


@pytest.fixture(scope="module")
def checkup():
    return fl.check(net(), X, target=Y)


@pytest.fixture(scope="module")
def watched():
    watch = fl.Watch(net(), X, target=Y, every=1, alarm="none")
    for _ in range(3):
        watch.step()
    return watch.history


def test_numbers_are_those_of_the_record(checkup, watched):
    found = {name: value for name, value, _ in numbers(checkup)}
    layer = checkup.layers[0]
    assert found[f"firstlight/second_moment/{layer.name}"] == layer.second_moment.value
    assert found["firstlight/loss"] == checkup.observation.loss
    assert found["firstlight/errors"] == 0
    steps = [step for name, _, step in numbers(watched) if name == "firstlight/loss"]
    assert steps == [0, 1, 2]
    receipt = fl.initialize(net(), X, target=Y, seed=0)
    assert dict.fromkeys(name for name, *_ in numbers(receipt))
    assert not list(numbers(receipt.plan))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(checkup, watched, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        log_to_tensorboard(writer, checkup)
        log_to_tensorboard(writer, watched)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    wanted = {name for name, *_ in numbers(checkup)} | {name for name, *_ in numbers(watched)}
    assert set(events.Tags()["scalars"]) == wanted
    name = f"firstlight/second_moment/{checkup.layers[0].name}"
    value = events.Scalars(name)[0].value
    assert value == pytest.approx(checkup.layers[0].second_moment.value, rel=1e-6)
    text = events.Tensors("firstlight/checkup/text_summary")[0].tensor_proto.string_val[0]
    assert b"healthy" in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wandb_offline(checkup, watched, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    settings = wandb.Settings(mode="offline", console="off", root_dir=str(tmp_path))
    with wandb.init(project="starts", dir=str(tmp_path), settings=settings) as run:
        log_to_wandb(run, checkup)
        log_to_wandb(run, watched)
        summary = dict(run.summary)
        folder = Path(run.dir)
    assert summary["firstlight/loss"] == watched.glances[-1].loss
    assert summary[f"firstlight/delta/{checkup.layers[0].name}"] == pytest.approx(
        checkup.layers[0].delta_square_per_sample.value
    )
    pages = [p for p in folder.rglob("*.html") if "checkup" in p.name]
    assert "<html" in pages[0].read_text(encoding="utf-8")
    assert list(folder.parent.glob("*.wandb"))


@pytest.mark.filterwarnings("ignore")
def test_mlflow_file_store(checkup, watched, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with pytest.raises(fl.BadInputError, match="no active run"):
        log_to_mlflow(checkup)
    with mlflow.start_run() as run:
        log_to_mlflow(checkup)
        log_to_mlflow(watched)
    client = mlflow.MlflowClient()
    metrics = client.get_run(run.info.run_id).data.metrics
    assert metrics["firstlight/errors"] == 0
    history = client.get_metric_history(run.info.run_id, "firstlight/loss")
    assert sorted(m.step for m in history) == [0, 0, 1, 2]
    names = {item.path for item in client.list_artifacts(run.info.run_id, "firstlight")}
    assert names == {
        f"firstlight/{n}{s}" for n in ("checkup", "watched") for s in (".html", ".json")
    }
    saved = client.download_artifacts(run.info.run_id, "firstlight/checkup.json", str(tmp_path))
    assert json.loads(Path(saved).read_text(encoding="utf-8"))


def test_wrong_records_are_one_line():
    with pytest.raises(fl.BadInputError, match="record: expected a Checkup"):
        log_to_tensorboard(None, {"loss": 1})
