"""Fail a test when a model starts unhealthy: put this into your own test suite."""

import torch
from torch import nn

import firstlight as fl


def build() -> nn.Module:
    """Your model; here a small one."""
    return nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
    )


def test_model_starts_healthy() -> None:
    torch.manual_seed(0)
    batch, labels = torch.randn(128, 20), torch.randint(3, (128,))
    fl.check(build(), batch, target=labels).assert_healthy()


if __name__ == "__main__":
    test_model_starts_healthy()
    print("healthy")
