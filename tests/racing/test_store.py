"""A folder keeps a race: through kill -9 and Ctrl-C, and against mistakes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import small_races
import torch
from small_races import short
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError, RaceInterruptedError
from firstlight.records.codec import to_json
from firstlight.records.race import Race

LONG: dict[str, Any] = {"seeds": 6, "steps": 30, "optimizers": ("sgd", "adam")}


def finished(folder: Path) -> int:
    return len(list(folder.glob("units/*.json")))


def _race_in(folder: Path) -> None:
    short(folder=folder, **LONG)


def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    # Forks of a server that has no threads: this process may have JAX's.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["firstlight", "torch"])
    whole = to_json(short(**LONG))
    dice, kills, folder = random.Random(1), 0, tmp_path / "race"
    for _ in range(5):
        seen = finished(folder)
        process = context.Process(target=_race_in, args=(folder,))
        process.start()
        wanted = seen + dice.randint(1, 3)
        while finished(folder) < wanted and process.is_alive():
            time.sleep(0.001)
        time.sleep(dice.random() * 0.02)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 2 and finished(folder) >= 2
    assert to_json(short(folder=folder, **LONG)) == whole
    before = {path: path.stat().st_mtime_ns for path in folder.glob("units/*")}
    assert to_json(short(folder=folder, **LONG)) == whole
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("units/*")}


def interrupted(after: int, **options: Any) -> RaceInterruptedError:
    """What Ctrl-C after some finished parts raises."""
    parts = 0

    def stop(_: Any) -> None:
        nonlocal parts
        parts += 1
        if parts == after:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        short(watch=stop, **options)
    assert isinstance(caught.value, RaceInterruptedError)
    return caught.value


def test_ctrl_c_with_a_folder_says_how_to_go_on(tmp_path: Path) -> None:
    whole = short()
    stopped = interrupted(1, folder=tmp_path)
    assert f"runs are finished and kept in {tmp_path}; the same call goes on from" in str(stopped)
    assert "\n" not in str(stopped)
    seen = finished(tmp_path)
    assert seen >= 1
    assert short(folder=tmp_path) == whole


def test_ctrl_c_without_a_folder_hands_over_what_is_done() -> None:
    whole = short(learning_rates=(0.1,), seeds=5)
    stopped = interrupted(3, learning_rates=(0.1,), seeds=5)
    assert "name a folder to be able to go on" in str(stopped)
    race = stopped.race
    assert isinstance(race, Race) and race.remarks[0].startswith("Stopped early: ")
    for start in race.starts:
        assert 2 <= len(start.runs) < 5 and start.runs == whole[start.name].runs[: len(start.runs)]


def test_another_race_in_the_folder_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    short(folder=tmp_path)

    def wider() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 2))

    x, y, *held_out = small_races.data()
    moved = x.clone()
    moved[3, 3] += 1e-6
    for options, words in (
        ({"steps": 11}, "steps (10 there, 11 here)"),
        ({"seeds": 4}, "seeds (0, 1, 2 there, 0, 1, 2, 3 here)"),
        ({"techniques": ("default",)}, "techniques (default, he_normal there, default here)"),
        ({"learning_rates": (0.03,)}, "learning_rates"),
        ({"data": (moved, y, *held_out)}, "data ("),
        ({"factory": wider}, "build ("),
        ({"loss": "cross_entropy"}, "loss (None there, cross_entropy here)"),
    ):
        with pytest.raises(BadInputError) as caught:
            short(folder=tmp_path, **options)
        message = str(caught.value)
        assert message.startswith(f"folder {tmp_path}: holds another race: ") and words in message
        assert "\n" not in message


def test_a_target_is_no_other_race(tmp_path: Path) -> None:
    assert short(folder=tmp_path)["default"].reach is None
    assert short(folder=tmp_path, target=0.5)["default"].reach is not None


def test_a_closure_with_other_values_is_another_race(tmp_path: Path) -> None:
    def factory(activation: str) -> Any:
        def make() -> nn.Module:
            torch.nn.init.calculate_gain(activation)
            return small_races.build()

        return make

    short(factory("relu"), folder=tmp_path)
    with pytest.raises(BadInputError, match="build"):
        short(factory("tanh"), folder=tmp_path)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(BadInputError, match=r"holds other files \(thesis\.tex\) and no race"):
        short(folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(BadInputError, match="cannot be made"):
        short(folder=tmp_path / "thesis.tex")
    broken = tmp_path / "broken"
    short(folder=broken)
    unit = min(broken.glob("units/*.json"))
    unit.write_text(unit.read_text()[:100])
    with pytest.raises(
        BadInputError, match=r"units/.*json: damaged \(not JSON .*; delete it to train"
    ):
        short(folder=broken)
    unit.unlink()
    assert short(folder=broken) == short()
    (broken / "spec.json").write_text("[]")
    with pytest.raises(BadInputError, match="not the spec of a race"):
        short(folder=broken)


def test_a_folder_keeps_its_groups(tmp_path: Path) -> None:
    """A machine that would group otherwise goes on with the groups of the first."""
    short(folder=tmp_path)
    spec = json.loads((tmp_path / "spec.json").read_text())
    assert set(spec["together"]) == {"sgd"}
    spec["together"]["sgd"] = 4
    other = tmp_path / "other"
    other.mkdir()
    (other / "spec.json").write_text(json.dumps(spec))
    short(folder=other)
    jobs = [len(fl.load(path)["jobs"]) for path in other.glob("units/*.json")]
    assert sorted(jobs) == [3, 3, 4]
