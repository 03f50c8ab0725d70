"""Where all frameworks are installed, importing one of them still never imports another."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from alone import WAYS, programs

STEPS = [
    (key, what, program)
    for key in WAYS
    for what, program in programs(key[0]).items()
    if key == ("torch",) or what != "import firstlight"
]


@pytest.mark.parametrize(
    ("key", "what", "program"), STEPS, ids=[f"{'-'.join(key)}: {what}" for key, what, _ in STEPS]
)
def test_only_what_was_asked_for_is_loaded(
    key: tuple[str, ...], what: str, program: str, tmp_path: Path
) -> None:
    for framework in key:
        if what != "import firstlight" and find_spec(framework) is None:
            pytest.skip(f"{framework} not installed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if len(key) > 1:
        environment["KERAS_BACKEND"] = key[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
