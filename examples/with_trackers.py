"""A checkup in TensorBoard, W&B (offline) and MLflow (in a folder)."""

import os
import tempfile
from pathlib import Path

import mlflow
import torch
import wandb
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import firstlight as fl
from firstlight.integrations.trackers import log_to_mlflow, log_to_tensorboard, log_to_wandb

if __name__ == "__main__":
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    checkup = fl.check(model, torch.randn(128, 8), target=torch.arange(128) % 2)
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(Path(folder, "tensorboard")) as writer:
            log_to_tensorboard(writer, checkup)
        with wandb.init(mode="offline", dir=folder, project="starts") as run:
            log_to_wandb(run, checkup)
        mlflow.set_tracking_uri(Path(folder, "mlflow").as_uri())
        with mlflow.start_run():
            log_to_mlflow(checkup)
        print(*sorted(path.name for path in Path(folder).iterdir()))
