"""The same architecture under the same names: in Keras and in PyTorch the same numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("side by side in one process", allow_module_level=True)

import torch
from keras import layers
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.verbs.adapters import adapter_for


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8, eps=1e-3)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.depthwise = nn.Conv2d(8, 16, 3, groups=8)
        self.up = nn.ConvTranspose2d(16, 6, 3)
        self.fc = nn.Linear(6, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.bn(self.stem(x)))
        h = functional.relu(self.grouped(h))
        h = functional.relu(self.depthwise(h))
        h = functional.relu(self.up(h)).mean(dim=(2, 3))
        return self.head(functional.gelu(self.fc(h)))


def keras_net() -> Any:
    given = keras.Input((10, 10, 3))
    h = layers.Conv2D(8, 3, padding="same", name="stem")(given)
    h = layers.ReLU()(layers.BatchNormalization(name="bn")(h))
    h = layers.Conv2D(8, 3, groups=2, activation="relu", name="grouped")(h)
    h = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="depthwise")(h)
    h = layers.Conv2DTranspose(6, 3, activation="relu", name="up")(h)
    h = layers.GlobalAveragePooling2D()(h)
    h = layers.Dense(12, activation="gelu", name="fc")(h)
    return keras.Model(given, layers.Dense(4, name="head")(h))


def _logical(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    adapter = adapter_for(model)
    network, found = adapter.inspect(model), dict(adapter.values(model))
    return {
        p.address or p.name: found[p.name].reshape(p.layout.view).transpose(p.layout.order)
        for p in network.parameters
    }


def test_one_seed_one_network() -> None:
    ours, theirs = keras_net(), TorchNet()
    batch = np.random.default_rng(0).standard_normal((32, 10, 10, 3)).astype(np.float32)
    turned = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()
    receipts = (
        fl.initialize(ours, batch, seed=5, calibrate=False),
        fl.initialize(theirs, turned, seed=5, calibrate=False),
    )
    plans = [
        {e.address or e.name: str(e.law) for e in receipt.plan if e.law is not None}
        for receipt in receipts
    ]
    assert plans[0] == plans[1]
    a, b = _logical(ours), _logical(theirs)
    assert set(a) == set(b)
    for name in a:
        assert np.array_equal(a[name], b[name]), name
    mine = ours(batch, training=True).detach().numpy()
    yours = theirs.train()(turned).detach().numpy()
    np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5)


def test_the_same_measurements() -> None:
    ours, theirs = keras_net(), TorchNet()
    batch = np.random.default_rng(0).standard_normal((32, 10, 10, 3)).astype(np.float32)
    turned = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()
    fl.initialize(ours, batch, seed=5, calibrate=False)
    fl.initialize(theirs, turned, seed=5, calibrate=False)
    target = np.arange(32) % 4
    seen = [
        fl.check(ours, batch, target=target).observation,
        fl.check(theirs, turned, target=torch.from_numpy(target)).observation,
    ]
    readings = [{o.name: s.reading(o.index) for o in s.network.weighted()} for s in seen]
    assert list(readings[0]) == list(readings[1])
    for name, mine in readings[0].items():
        yours = readings[1][name]
        assert mine is not None and yours is not None
        for what in ("second_moment", "delta_square_per_sample"):
            first, second = getattr(mine, what), getattr(yours, what)
            assert first.value == pytest.approx(second.value, rel=1e-4), (name, what)
    assert seen[0].loss == pytest.approx(seen[1].loss, rel=1e-5)


class TorchRecurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(12, 7, batch_first=True)
        self.head = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(self.lstm(x)[0])[0][:, -1])


def test_recurrent_weights_are_the_same() -> None:
    given = keras.Input((4, 5))
    h = layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="lstm")(given)
    ours = keras.Model(given, layers.Dense(2, name="head")(layers.GRU(7, name="gru")(h)))
    theirs = TorchRecurrent()
    for model in (ours, theirs):
        fl.apply(model, fl.plan(model, technique="orthogonal"), seed=1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "bias" in name:
                    parameter.zero_()
    a, b = _logical(ours), _logical(theirs)
    for name in a:
        if "weight" in name:
            assert np.array_equal(a[name], b[name]), name
    batch = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    mine = ours(batch).detach().numpy()
    yours = theirs(torch.from_numpy(batch)).detach().numpy()
    np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5)
