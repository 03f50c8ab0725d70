"""Keras decides its backend when it is first imported; the suite is run once for each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.append(str(Path(__file__).parents[1] / "zoo"))  # for `pictures`

# Doctests are looked for in every module, by importing it; these want a framework each.
collect_ignore_glob = ["networks_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one network one after another: what JAX compiled for the first serves the others."""

    def network(item: pytest.Item) -> str:
        call = getattr(item, "callspec", None)
        if call is None or "tests/frameworks" not in item.path.as_posix():
            return ""
        framework, subject = call.params.get("framework"), call.params.get("network")
        subject = subject or getattr(call.params.get("plant"), "network", "mlp")
        return f"{getattr(framework, 'name', '')} {subject}"

    own = [i for i, item in enumerate(items) if network(item)]
    for place, item in zip(own, sorted((items[i] for i in own), key=network), strict=True):
        items[place] = item
