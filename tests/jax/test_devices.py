"""One, two and eight devices: the same bits under every sharding, each part drawn once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@cache
def outcome(devices: int) -> dict[str, Any]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    program = str(Path(__file__).with_name("devices.py"))
    done = subprocess.run(
        [sys.executable, program], check=False, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("devices", [2, 8])
def test_the_same_bits_on_every_number_of_devices(devices):
    alone, many = outcome(1)["bits"], outcome(devices)["bits"]
    assert len(alone) > 250
    assert {name for name in alone if alone[name] != many[name]} == set()


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_the_same_bits_under_every_sharding(devices):
    bits = outcome(devices)["bits"]
    places = ("rows", "columns", "both", "replicated")
    for name, found in bits.items():
        for place in places:
            if f" {place}" in name and not name.startswith("jit"):
                assert found == bits[name.replace(f" {place}", " replicated")], name


def test_each_part_is_drawn_once():
    found = outcome(8)
    assert found["drawn"] == found["whole"]
    assert found["parts"] == 9  # four of each matrix on a mesh of 4 × 2, and the vector
