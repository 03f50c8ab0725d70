"""The plugin as a user's pytest run sees it, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SUITE = """
import pytest, torch
from torch import nn

def model(std=None):
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
    )
    if std is not None:
        nn.init.constant_(made[0].weight, std)
    return made

X, Y = torch.randn(64, 20, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 3

def test_good(assert_healthy):
    checkup = assert_healthy(model(), X, target=Y)
    assert checkup.healthy

def test_bad(assert_healthy):
    assert_healthy(model(), X, target=Y)
    assert_healthy(model(0.01), X, target=Y)

@pytest.mark.firstlight(allow=["symmetric-units"])
def test_allowed(assert_healthy):
    assert not assert_healthy(model(0.01), X, target=Y).healthy

@pytest.mark.firstlight(allow="symetric")
def test_unknown(assert_healthy):
    assert_healthy(model(), X, target=Y)

def test_other():
    pass
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "test_starts.py").write_text(SUITE)
    return tmp_path


def pytest_run(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_verdicts_reports_and_summary(suite):
    done = pytest_run(suite, "--firstlight-report", "reports", "--strict-markers")
    assert "2 failed, 3 passed" in done.stdout, done.stdout
    assert "symmetric-units at 0" in done.stdout
    assert "cure:" in done.stdout
    assert "allow= names unknown kinds ['symetric']" in done.stdout
    names = {path.name for path in (suite / "reports").iterdir()}
    assert "test_starts.py-test_bad-2.html" in names
    assert json.loads((suite / "reports" / "test_starts.py-test_good.json").read_text())
    assert "healthy: reports" in done.stdout
    assert "error: reports" in done.stdout


def test_in_several_processes(suite):
    done = pytest_run(suite, "--firstlight-report", "reports", "-n", "2")
    assert "2 failed, 3 passed" in done.stdout, done.stdout
    assert "healthy: reports" in done.stdout


def test_only_these(suite):
    done = pytest_run(suite, "-m", "firstlight", "-k", "good or other")
    assert "1 passed, 4 deselected" in done.stdout, done.stdout


def test_others_pay_nothing(tmp_path):
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\ndef test_plain():\n"
        "    assert 'firstlight.records' not in sys.modules and 'torch' not in sys.modules\n"
    )
    done = pytest_run(tmp_path)
    assert done.returncode == 0, done.stdout
