"""Fail a test when a model starts unhealthy, with the plugin's fixture; run by pytest below."""

import pytest
import torch
from torch import nn


def test_model_starts_healthy(assert_healthy):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
    assert_healthy(model, torch.randn(128, 20), target=torch.randint(3, (128,)))


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-p", "no:cacheprovider"]))
