"""The GitHub action, the hook and the workflow on the page do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MODELS = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))

def broken():
    model = build()
    nn.init.zeros_(model[0].weight)
    return model

def labels():
    return torch.arange(128) % 3
"""


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def run_step(step, inputs, folder):
    """One step of a composite action as the runner has it: inputs in the environment, bash."""
    filled = {
        key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs[m[1]], value)
        for key, value in step["env"].items()
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, **filled, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_action_fails_for_a_broken_model_and_writes_its_files(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    action = read("action.yml")
    given = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
    given["arguments"] = "--input 128x20 --target labels"
    _, check = action["runs"]["steps"]
    for factory, status in (("build", 0), ("broken", 1)):
        done = run_step(check, given | {"model": f"models.py:{factory}"}, tmp_path)
        assert done.returncode == status, done.stderr
        for name in ("sarif", "junit"):
            written = tmp_path / given[name]
            assert written.stat().st_size
            written.unlink()


def test_what_a_user_gives_the_action_is_no_code(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    action = read("action.yml")
    given = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
    hostile = 'models.py:build"; touch owned; echo "'
    done = run_step(action["runs"]["steps"][1], given | {"model": hostile}, tmp_path)
    assert done.returncode == 2
    assert not (tmp_path / "owned").exists()


def test_the_workflow_and_the_hook_on_the_page_name_what_there_is():
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    hook, workflow = (
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.S)
    )
    (wanted,) = (one["id"] for one in hook["repos"][0]["hooks"])
    assert wanted in {one["id"] for one in read(".pre-commit-hooks.yaml")}
    steps = workflow["jobs"]["healthy"]["steps"]
    ours = next(step for step in steps if "firstlight@" in step.get("uses", ""))
    action = read("action.yml")
    assert set(ours["with"]) <= set(action["inputs"])
    assert {n for n, one in action["inputs"].items() if one.get("required")} <= set(ours["with"])
    upload = next(step for step in steps if "upload-sarif" in step.get("uses", ""))
    assert upload["with"]["sarif_file"] == action["inputs"]["sarif"]["default"]


def test_the_hook_runs_its_entry(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    (hook,) = read(".pre-commit-hooks.yaml")
    command = [
        *hook["entry"].split(),
        "models.py:broken",
        "--input",
        "128x20",
        "--target",
        "labels",
    ]
    command[0] = str(Path(sys.executable).parent / command[0])
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    assert not done.stdout
