"""Eight devices: abstract models made where they belong, and starts drawn part by part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_every_case_is_what_one_device_gives():
    """Each technique and form of a model on 1, 2 and 8 devices, in one process that has eight."""
    flags = "--xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    program = str(Path(__file__).with_name("shards.py"))
    done = subprocess.run(
        [sys.executable, program], check=False, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["cases"] > 800
    assert found["wrong"] == []
