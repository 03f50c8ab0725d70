"""The suite runs once per backend: KERAS_BACKEND=torch (the default) or jax."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # read once, when Keras is imported

keras = pytest.importorskip("keras")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keras's own way from torch to NumPy warns."""
    for item in items:
        if "tests/keras" in str(item.path):
            known = "ignore:__array__ implementation:DeprecationWarning"
            item.add_marker(pytest.mark.filterwarnings(known))


@pytest.fixture(autouse=True)
def _keras_seeded() -> Iterator[None]:
    """No test depends on the names and numbers of those before it."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)
