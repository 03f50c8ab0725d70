"""The demo: its data, and the whole story at a small scale."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from firstlight.exhibits.first_light import run_demo
from firstlight.exhibits.mnist import mnist
from firstlight.records.race import Race
from firstlight.reporting.files import load


def test_the_images_are_the_5000_of_mnist():
    images = mnist()
    assert images.inputs.shape == (4000, 784)
    assert images.held_out_inputs.shape == (1000, 784)
    labels = np.concatenate([images.targets, images.held_out_targets])
    assert np.bincount(labels).tolist() == [500] * 10
    assert images.inputs.mean() == pytest.approx(0, abs=1e-4)
    assert images.inputs.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_the_story_is_told_and_written(tmp_path):
    story = run_demo(tmp_path, seeds=2, steps=100, console=Console(quiet=True))
    assert story.before is not None
    assert not story.before.healthy
    assert story.before.findings[0].kind == "backward-vanishing"
    assert story.after is not None
    assert story.after.healthy
    race = load(tmp_path / "race.json")
    assert isinstance(race, Race)
    # A hundred steps: the default still guesses, the plan is far above it.
    assert race["default"].mean < 0.2
    assert race["plan"].mean > 0.7
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in ("What was wrong", "The signal map", "The prescription", "The proof"):
        assert part in page
