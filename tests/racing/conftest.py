"""Races here train in pairs, so that small ones have many parts to keep, send and lose."""

from __future__ import annotations

import pytest

from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.records.race import Together


@pytest.fixture(autouse=True)
def _in_pairs(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "_undecided" in request.fixturenames:
        return
    pairs = Together(count=2, reason="up to 2 are trained as one network")
    monkeypatch.setattr(TorchAdapter, "together", lambda *_: pairs)


@pytest.fixture
def _undecided() -> None:
    """Leave it to the framework how many train as one."""
