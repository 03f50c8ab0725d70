"""Shared by all tests: where the zoo of models is, and a known random state for each test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# `tests/torch` cannot be a package (it would stand before the real torch), so its zoo is a plain
# module; added here, ``import models`` works in each of pytest's import modes.
sys.path.append(str(Path(__file__).parent / "torch"))

# Small networks run once: the time goes into compiling them. A third of it is saved.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


@pytest.fixture(autouse=True, scope="session")
def _hears_ctrl_c() -> None:
    """A shell's background jobs ignore SIGINT, and so would every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_go() -> Iterator[None]:
    """JAX keeps all that it compiled: gigabytes by the end of the tests."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """No test depends on those that ran before it, and none loads torch that does not need it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
        # A warning that torch gives once in a process would fail whichever test came first.
        sys.modules["torch"].set_warn_always(True)
