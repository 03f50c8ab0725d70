"""Keras on JAX under its distribution API: the same bits on one, two and eight devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax")


@cache
def outcome(devices: int) -> dict[str, Any]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    own = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax"}
    program = str(Path(__file__).with_name("keras_devices.py"))
    done = subprocess.run(
        [sys.executable, program], check=False, env=os.environ | own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == devices
    return found


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_every_distribution_gives_the_bits_of_one_device(devices):
    alone, bits = outcome(1)["bits"], outcome(devices)["bits"]
    assert len(bits) == 3 * 2 * 6
    for name, found in bits.items():
        assert found == alone["alone," + name.partition(",")[2]], name


def test_a_model_stays_spread_over_its_devices():
    spread = outcome(8)["spread"]
    assert {number for name, number in spread.items() if name.startswith("model")} == {8}


def test_each_part_is_drawn_alone():
    """Of fc1 (16 × 32), fc2 (32 × 16) and head (16 × 8), split over the outputs; the rest whole."""
    regions = outcome(8)["regions"]
    assert regions["model, initializer"] == [64] * 16  # the head is orthogonal: drawn whole
    assert sum(regions["model, applied"]) == 16 * 32 + 32 * 16 + 16 * 8 + 32 + 16 + 8
    assert max(regions["model, applied"]) == 64
    assert regions["data, initializer"] == [512, 512]  # copies: once, not for each device
