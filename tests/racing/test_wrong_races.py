"""Races asked wrongly: each one line that says what came and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_races
import torch
from small_races import short
from torch import nn

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError

X, Y, HELD_OUT_X, HELD_OUT_Y = small_races.data()
ONE = {"learning_rates": (0.1,), "seeds": 2, "steps": 2}


def said(error: type[FirstlightError], factory: Any = small_races.build, **options: Any) -> str:
    with pytest.raises(error) as caught:
        short(factory, **{**ONE, **options})
    words = str(caught.value)
    assert "\n" not in words
    return words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": True}, "steps must be an integer of at least 1, got True"),
        ({"seeds": 10**9}, "seeds must be at most 1000000, got 1000000000"),
        ({"seeds": (2**70,)}, "each of seeds must be at most 9223372036854775807"),
        ({"momentum": 1.5}, "momentum must be a number of at least 0 and below 1, got 1.5"),
        ({"momentum": float("nan")}, "momentum must be a number of at least 0 and below 1"),
        ({"momentum": "a"}, "momentum must be a number of at least 0 and below 1, got 'a'"),
        ({"clip_norm": 0}, "clip_norm must be a number above 0, got 0; None clips nothing"),
        ({"clip_norm": float("nan")}, "clip_norm must be a number above 0, got nan"),
        ({"techniques": None}, "techniques: expected names, 'plan' or 'he_normal', got NoneType"),
        ({"optimizers": 3}, "optimizers: expected names, 'sgd' or 'adam', got int"),
        ({"folder": 3}, "folder: expected a path or None, got 3"),
        ({"folder": ""}, "folder: expected a path or None, got ''"),
        ({"watch": 3}, "watch: expected a function or None, got int"),
    ],
)
def test_options(options: dict[str, Any], words: str) -> None:
    assert said(BadInputError, **options).startswith(f"race: {words}")


def test_more_looks_than_steps_are_a_look_at_each_step() -> None:
    assert short(**{**ONE, "looks": 10**9}).looks == (1, 2)


def test_a_set_that_raises_is_named() -> None:
    class Broken(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            raise OSError("no\nfile")

    words = said(BadInputError, data=(Broken(), Broken()))
    assert words.startswith("data: reading the training set raised OSError: no file; try")


@pytest.mark.parametrize(
    ("error", "data", "words"),
    [
        (ModelRaisedError, (X.double(), Y, X.double(), Y), "; the inputs are float64: give them"),
        (ModelRaisedError, (X.long(), Y, X.long(), Y), "; the inputs are int64: give them in"),
        (BadInputError, (X, Y.float(), X, Y.float()), "; give classes as integers (y.astype("),
        (BadInputError, (X, Y[:, None], X, Y[:, None]), "; give classes as one integer each"),
        (BadInputError, (X, Y + 5, X, Y + 5), "Target 5 is out of bounds"),
        (BadInputError, (X, Y, X, Y + 5), "held-out targets go up to 6, the model gives 2 classes"),
    ],
)
def test_data_that_the_model_cannot_take(
    error: type[FirstlightError], data: tuple[Any, ...], words: str
) -> None:
    found = said(error, data=data)
    assert words in found and "step=" not in found


@pytest.mark.parametrize("kind", [torch.int32, torch.bool])
def test_labels_of_any_whole_type_race_alike(kind: torch.dtype) -> None:
    wanted = short(**ONE)
    labels = [part.to(kind) for part in (Y, HELD_OUT_Y)]
    assert short(data=(X, labels[0], HELD_OUT_X, labels[1]), **ONE) == wanted
    arrays = [part.numpy() for part in (X, labels[0], HELD_OUT_X, labels[1])]
    assert isinstance(arrays[1], np.ndarray) and short(data=arrays, **ONE) == wanted


def counting(after: int, then: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    calls = 0

    def build() -> nn.Module:
        nonlocal calls
        calls += 1
        return small_races.build() if calls <= after else then()

    return build


def test_a_factory_that_changes_its_mind() -> None:
    def refuse() -> nn.Module:
        raise ValueError("not\nagain")

    assert said(ModelRaisedError, counting(4, refuse)) == (
        "race: build raised ValueError: not again"
    )
    other = counting(4, lambda: nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)))
    assert said(BadInputError, other).startswith(
        "build: must return the same kind of model each time; under seed "
    )


@pytest.mark.usefixtures("_undecided")
def test_nothing_to_train() -> None:
    words = said(BadInputError, lambda: small_races.build().requires_grad_(False))
    assert words.startswith("model: Sequential has no trainable parameter")


def test_a_class_is_a_factory() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_races.build()

        def forward(self, x: torch.Tensor) -> Any:
            return self.inner(x)

    assert short(Own, **ONE)["default"].runs == short(**ONE)["default"].runs
    assert said(ModelRaisedError, nn.Linear).startswith("race: build raised TypeError: ")


def test_when_all_diverge_the_verdict_says_so() -> None:
    race = short(**{**ONE, "learning_rates": (1e30,), "steps": 20}, clip_norm=None)
    assert race.verdict == "All runs of default and he_normal diverged."


@pytest.mark.parametrize("text", ["", '{"half": ', "[]", '{"jobs": 3, "runs": [1]}'])
def test_a_damaged_part_says_which_file_to_delete(tmp_path: Path, text: str) -> None:
    wanted = short(folder=tmp_path, **ONE)
    part = next(tmp_path.glob("units/*"))
    part.write_text(text)
    words = said(BadInputError, folder=tmp_path)
    assert words.startswith(f"{part}: ") and "; delete it to train its runs again" in words
    part.unlink()
    assert short(folder=tmp_path, **ONE) == wanted


def test_a_damaged_or_missing_spec_and_another_version(tmp_path: Path) -> None:
    short(folder=tmp_path, **ONE)
    spec = tmp_path / "spec.json"
    whole = json.loads(spec.read_text())
    for text in ("3", "[1]", '{"spec": 3, "together": 4}', '{"spec": {}, "together": {"sgd": 0}}'):
        spec.write_text(text)
        assert "not the spec of a race" in said(BadInputError, folder=tmp_path)
    whole["spec"]["versions"]["firstlight"] = "9"
    spec.write_text(json.dumps(whole))
    assert "versions.firstlight (9 there, " in said(BadInputError, folder=tmp_path)
    spec.unlink()
    assert "(units) and no race's spec.json" in said(BadInputError, folder=tmp_path)
    assert list(tmp_path.glob("units/*"))


def test_a_folder_that_goes_away_is_one_line(tmp_path: Path) -> None:
    def leave(_: Any) -> None:
        for part in (tmp_path / "race" / "units").iterdir():
            part.unlink()
        (tmp_path / "race" / "units").rmdir()

    words = said(BadInputError, folder=tmp_path / "race", watch=leave)
    assert "cannot be written (No such file or directory); choose a folder" in words
